"""Behaviour of the command line that needs no server."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer

import pattern_metrics.schemas
from pattern_metrics.consumer.cli.app import app
from pattern_metrics.migrations.revisions import REVISIONS
from pattern_metrics.schemas.generate import JSON_SCHEMA_FILE
from tests.support.command import PROGRAM, CommandLine
from tests.support.letters import run_sql
from tests.support.pipeline import an_event


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command and group of commands."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from paths(child, (*path, name))


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.mark.parametrize("path", list(paths(typer.main.get_command(app))), ids=" ".join)
async def test_each_command_has_a_help_that_wraps_once_and_shows_no_type_of_a_flag(
    command: CommandLine, path: tuple[str, ...]
) -> None:
    """A line is filled until the next word does not fit. Only a paragraph ends earlier."""
    shown = (await command.run(*path, "--help", columns=80)).succeeded()
    narrow = shown.stdout.decode()

    assert " ".join(["pattern-metrics", *path]) in narrow
    assert shown.stderr == ""
    assert not re.findall(r"<bool>|^  [A-Z/|-]+ <.*", narrow, re.MULTILINE)
    prose = narrow.split("\nArguments:")[0].split("\nOptions:")[0].splitlines()
    for line, following in pairwise(prose):
        if line.startswith("  ") and following.startswith("  "):
            assert len(line) + 1 + len(following.split()[0]) > 78, line


async def test_a_dry_run_of_publish_asks_no_broker(command: CommandLine) -> None:
    valid = [an_event(number).to_json() for number in range(3)]
    lines = b"\n".join([*valid[:2], b"no event", valid[2]])
    nobody = {"kafka_bootstrap_servers": "127.0.0.1:1"}
    mixed = await command.run("publish", "--dry-run", "--json", "-", stdin=lines, **nobody)
    whole = await command.run("publish", "--dry-run", "-", stdin=b"\n".join(valid), **nobody)

    assert mixed.code == 1
    assert mixed.json == {"published": 3, "refused": 1, "unavailable": 0, "last_line": 4, "reached_end": True}
    assert mixed.report.startswith("line 3: invalid_json: ")
    assert whole.code == 0
    assert whole.stdout.decode() == ("would be: published 3 events, refused 0 lines; nothing was published\n")


async def test_the_version_is_that_of_the_installation(command: CommandLine) -> None:
    shown = (await command.run("--version")).succeeded()

    assert shown.stdout.decode() == f"pattern-metrics {version('pattern-metrics')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_a_shell_can_complete_the_commands(command: CommandLine, shell: str) -> None:
    detected: dict[str, Any] = (
        {} if shell == "bash" else {"_typer_complete_test_disable_shell_detection": "1"}
    )
    named = "" if shell == "bash" else shell
    asked = f"{PROGRAM} --show-completion {named} && {PROGRAM} --install-completion {named}"
    shown = (await command.run_program("/bin/bash", "-c", f"{asked} && true", **detected)).succeeded()
    words: dict[str, Any] = {
        "comp_words": "pattern-metrics dead-letters re",
        "comp_cword": 2,
        "_typer_complete_args": "pattern-metrics dead-letters re",
        "_typer_complete_fish_action": "get-args",
    }
    completed = await command.run(_pattern_metrics_complete=f"complete_{shell}", **words)

    assert b"_PATTERN_METRICS_COMPLETE" in shown.stdout
    assert f"{shell} completion installed" in shown.stdout.decode()
    assert "redrive" in completed.stdout.decode()


OUTBOX = {("outbox", name) for name in ("status", "flush", "export", "compact", "discard")}

AGENTS = OUTBOX | {
    ("demo",),
    ("gateway",),
    ("score",),
    ("publish",),
    ("retire",),
    ("schema",),
    ("topic", "create"),
    ("migrate", "sql"),
}
"""Commands that use no database of the user."""

WITHOUT_REPORT = {
    *(("demo",), ("dashboard",), ("gateway",), ("mcp",), ("score",), ("schema",)),
    *(("migrate", "sql"), ("export",), ("dead-letters", "export"), ("outbox", "export")),
}
"""Commands that print no result, or whose output is data for a program already."""


def commands() -> dict[tuple[str, ...], Any]:
    """Return each command without the groups."""
    found = {}
    for path in paths(typer.main.get_command(app)):
        one = typer.main.get_command(app)
        for word in path:
            one = one.commands[word]  # type: ignore[attr-defined]
        if not hasattr(one, "commands"):
            found[path] = one
    return found


def options_of(one: Any) -> set[str]:
    return {option for parameter in one.params for option in parameter.opts}


def test_a_program_may_read_what_every_command_reports() -> None:
    without = {path for path, one in commands().items() if "--json" not in options_of(one)}

    assert without == WITHOUT_REPORT


@pytest.mark.parametrize("path", sorted(commands().keys() - AGENTS), ids=" ".join)
async def test_the_option_goes_before_the_variable_of_the_database(
    command: CommandLine, path: tuple[str, ...]
) -> None:
    needed = {
        ("migrate", "down"): ["base"],
        ("backfill",): ["-"],
        ("dead-letters", "show"): ["t/0/0"],
        ("dead-letters", "redrive"): ["--all"],
        ("dead-letters", "discard"): ["--all", "--because", "x"],
        ("dead-letters", "export"): ["-"],
        ("dead-letters", "prune"): ["--older-than", "1d"],
        ("history", "prune"): ["--older-than", "1d"],
        ("retired", "prune"): ["--older-than", "1d"],
        ("skip",): ["--to", "latest", "--because", "x"],
        ("trace",): [str(UUID(int=1))],
    }.get(path, [])
    refused = await command.run(
        *path, *needed, "--database-url", "mysql://there", database_url="postgresql://x@127.0.0.1:1/x"
    )

    assert refused.code == 2
    if path == ("settings",):
        assert "--database-url\n    error: must have the form" in refused.stdout.decode()
    else:
        assert refused.stderr.startswith("error: --database-url: ")


CHANGES = {
    ("migrate", "up"): "database 127.0.0.1:1/metrics\n",
    ("migrate", "down", "base"): "database 127.0.0.1:1/metrics\n",
    ("replay", "--dry-run"): "database 127.0.0.1:1/metrics; topic a, b at 127.0.0.1:2\n",
    ("verify",): "database 127.0.0.1:1/metrics\n",
    ("verify", "--against-topic"): "database 127.0.0.1:1/metrics; topic a, b at 127.0.0.1:2\n",
    ("dead-letters", "redrive", "--all"): "database 127.0.0.1:1/metrics\n",
    ("dead-letters", "discard", "--all", "--because", "x"): "database 127.0.0.1:1/metrics\n",
    ("dead-letters", "prune", "--older-than", "1d"): "database 127.0.0.1:1/metrics\n",
    ("history", "prune", "--older-than", "1d"): "database 127.0.0.1:1/metrics\n",
    ("skip", "--to", "latest", "--because", "x"): (
        "database 127.0.0.1:1/metrics; topic a, b at 127.0.0.1:2\n"
    ),
    ("topic", "create"): "topic a, b at 127.0.0.1:2\n",
}


@pytest.mark.parametrize("arguments", CHANGES, ids=" ".join)
async def test_a_command_reports_first_where_it_goes_and_nothing_of_the_login(
    command: CommandLine, arguments: tuple[str, ...]
) -> None:
    url = "postgresql://hunter2:hunter2@127.0.0.1:1/metrics?sslpassword=hunter2"
    failed = await command.run(
        *arguments, database_url=url, kafka_topic="a, b", kafka_bootstrap_servers="127.0.0.1:2"
    )

    assert failed.code == 1, failed.stderr
    assert failed.stdout == b""
    assert failed.stderr.startswith(CHANGES[arguments])
    assert len(failed.report.splitlines()) == 1
    assert "hunter2" not in failed.stderr


@pytest.mark.parametrize("place", ["before", "between", "after", "as a variable"])
async def test_a_named_file_sets_what_the_environment_does_not(command: CommandLine, place: str) -> None:
    (command.directory / "our.env").write_text("PATTERN_METRICS_KAFKA_TOPIC=ours\nKAFKA_GROUP_ID=ours\n")
    (command.directory / ".env").write_text("KAFKA_TOPIC=theirs\nHTTP_PORT=1\n")
    arguments = {
        "before": ["--env-file", "our.env", "settings", "--json"],
        "between": ["settings", "--env-file=our.env", "--json"],
        "after": ["settings", "--json", "--env-file", "our.env"],
        "as a variable": ["settings", "--json"],
    }[place]
    variable = "our.env" if place == "as a variable" else ""
    shown = (
        await command.run(*arguments, kafka_group_id="environment", pattern_metrics_env_file=variable)
    ).succeeded()

    found = {one["name"]: (one["value"], one["source"]) for one in shown.json["settings"]}
    assert found["KAFKA_TOPIC"] == ("ours", "PATTERN_METRICS_KAFKA_TOPIC in our.env")
    assert found["KAFKA_GROUP_ID"] == ("environment", "KAFKA_GROUP_ID")
    assert found["HTTP_PORT"] == ("8080", "default")
    assert found["DATABASE_URL"] == (None, "not set")


async def test_a_file_that_cannot_be_read_is_told_in_one_line(command: CommandLine) -> None:
    for arguments, expected in (
        (["--env-file", "none", "schema"], "error: --env-file: none: No such file or directory\n"),
        (["topic", "create", "--env-file", "."], "error: --env-file: .: Is a directory\n"),
    ):
        refused = await command.run(*arguments)

        assert (refused.code, refused.stdout, refused.stderr) == (2, b"", expected)


async def test_the_settings_are_shown_with_what_is_wrong_and_without_a_secret(command: CommandLine) -> None:
    wrong: dict[str, Any] = {
        "kafka_sasl_mechanism": "hunter2",
        "kafka_sasl_password": "hunter2",
        "kafka_bootstrap_servers": "worker:hunter2@broker",
        "http_port": "80x",
        "kafka_topic": "a\x1b[31mb\a",
    }
    url = "postgresql://hunter2:hunter2@db:5433/metrics?sslmode=require&sslpassword=hunter2"
    shown = await command.run("settings", pattern_metrics_database_url=url, database_url="hunter2", **wrong)
    lines = shown.stdout.decode().splitlines()

    assert shown.code == 2
    assert "hunter2" not in shown.stdout.decode() + shown.stderr
    assert not {"\x1b", "\a"} & set(shown.stdout.decode())
    [database] = [line for line in lines if line.startswith("DATABASE_URL ")]
    assert "postgresql://db:5433/metrics?sslmode=require&sslpassword=***" in database
    assert database.endswith(" PATTERN_METRICS_DATABASE_URL")
    [place] = [number for number, line in enumerate(lines) if line.startswith("HTTP_PORT ")]
    assert "80x" in lines[place]
    assert lines[place + 1].startswith("    error: ")


async def test_faults_of_several_settings_together_are_shown(command: CommandLine) -> None:
    alone = await command.run("settings", kafka_security_protocol="sasl_plaintext")
    as_json = await command.run("settings", "--json", kafka_security_protocol="sasl_plaintext")

    assert (alone.code, as_json.code) == (2, 2)
    assert alone.stderr == "error: KAFKA_SASL_MECHANISM is needed with SASL_PLAINTEXT\n"
    assert as_json.json["errors"] == ["KAFKA_SASL_MECHANISM is needed with SASL_PLAINTEXT"]


async def test_the_settings_import_no_client_and_no_driver(command: CommandLine) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['pattern-metrics', 'settings']\n"
        "from pattern_metrics.consumer.cli.app import _run_command\n"
        "assert _run_command() == 0\n"
        "print(sorted({'aiokafka', 'asyncpg', 'rich', 'structlog'} & sys.modules.keys()))\n"
    )
    shown = (await command.run_program(sys.executable, "-c", code)).succeeded()

    assert shown.stdout.splitlines()[-1] == b"[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["replay"],
        ["verify"],
        ["migrate", "up"],
        ["export"],
        ["history", "prune", "--older-than", "1d"],
    ],
    ids=" ".join,
)
async def test_an_error_names_the_server_that_does_not_answer(
    command: CommandLine, database_url: str, arguments: list[str]
) -> None:
    """First both servers are down, then Kafka alone."""
    both = await command.run(
        *arguments, "--database-url", "postgresql://x@127.0.0.1:1/x", kafka_bootstrap_servers="127.0.0.1:2"
    )
    (await command.run("migrate", "up", "--json", database_url=database_url)).succeeded()
    kafka = await command.run(*arguments, database_url=database_url, kafka_bootstrap_servers="127.0.0.1:2")

    postgresql = "PostgreSQL at 127.0.0.1:1 (DATABASE_URL or --database-url): "
    broker = "Kafka at 127.0.0.1:2 (KAFKA_BOOTSTRAP_SERVERS): "
    assert both.report.startswith(f"error: {broker}" if arguments == ["replay"] else f"error: {postgresql}")
    assert len(both.report.splitlines()) == 1
    if arguments in (["status"], ["replay"]):
        assert kafka.report.startswith(f"error: {broker}")


@pytest.mark.parametrize("path", [(), ("migrate",), ("topic",)], ids=" ".join)
async def test_without_a_command_the_help_is_shown(command: CommandLine, path: tuple[str, ...]) -> None:
    shown = await command.run(*path)

    assert "Usage:" in shown.stdout.decode() + shown.stderr
    assert "Commands" in shown.stdout.decode() + shown.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        *([*path, "--nonsense"] for path in paths(typer.main.get_command(app))),
        ["nonsense"],
        ["migrate", "down"],
        ["backfill", "."],
        ["topic", "create", "--partitions", "0"],
        ["dead-letters", "list", "--reason", "none\nsuch"],
        ["replay", "--from", "yesterday"],
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_refused_in_one_line(command: CommandLine, wrong: list[str]) -> None:
    refused = await command.run(*wrong)

    assert refused.code == 2
    assert refused.stdout == b""
    assert refused.stderr.startswith("error: ")
    assert len(refused.stderr.splitlines()) == 1, refused.stderr


@pytest.mark.parametrize("reader", ["score", "publish"])
async def test_a_file_that_is_not_there_is_named(command: CommandLine, reader: str) -> None:
    refused = await command.run(reader, "missing")

    assert refused.code == 2
    assert "missing" in refused.stderr


async def test_the_module_runs_as_the_command_does(command: CommandLine) -> None:
    shown = (await command.run_program(sys.executable, "-m", "pattern_metrics", "--help")).succeeded()

    assert shown.stdout == (await command.run("--help")).stdout


async def test_the_schema_that_is_printed_is_the_one_that_is_checked_in(command: CommandLine) -> None:
    printed = (await command.run("schema")).succeeded()

    assert printed.stdout == Path(pattern_metrics.schemas.__file__).with_name(JSON_SCHEMA_FILE).read_bytes()


async def test_a_database_goes_up_and_down_and_says_where_it_is(
    command: CommandLine, database_url: str
) -> None:
    async def migrate(*arguments: str) -> tuple[int, str]:
        finished = await command.run("migrate", *arguments, database_url=database_url)
        assert "Traceback" not in finished.stderr
        return finished.code, finished.stdout.decode()

    empty = await command.run("migrate", "status", "--json", database_url=database_url)
    up = await migrate("up")
    again = await migrate("up")
    full = await command.run("migrate", "status", "--json", database_url=database_url)
    down = await migrate("down", "014")
    pending = await migrate("status")
    nowhere = await migrate("down", "999")

    head = REVISIONS[-1]
    assert empty.code == 1
    assert empty.json["pending"] == list(REVISIONS)
    assert up == (0, f"applied {', '.join(REVISIONS)}\n")
    assert again == (0, f"already at {head}\n")
    assert full.succeeded().json == {
        "current": head,
        "recognised": None,
        "head": head,
        "pending": [],
        "up_to_date": True,
    }
    assert down == (0, f"undone {', '.join(REVISIONS[REVISIONS.index('014') + 1 :][::-1])}\n")
    assert pending[0] == 1
    assert nowhere == (2, "")


async def test_the_script_for_a_dba_needs_no_database(command: CommandLine) -> None:
    script = (await command.run("migrate", "sql")).succeeded()

    assert b"CREATE TABLE" in script.stdout
    assert script.stderr == ""


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
@pytest.mark.parametrize("arguments", ["schema", "--help", "migrate status", "migrate sql", "score ."])
async def test_output_that_cannot_be_written_is_reported_in_one_line(
    command: CommandLine, migrated_database_url: str, tmp_path: Path, arguments: str, redirection: str
) -> None:
    (tmp_path / "module.py").write_text("def function(): ...\n")
    shell = ("/bin/sh", "-c", f"{PROGRAM} {arguments} {redirection}")

    failed = await command.run_program(*shell, database_url=migrated_database_url)

    assert failed.code == 1
    assert failed.stderr.startswith("error: standard output: [Errno ")
    assert len(failed.stderr.splitlines()) == 1, failed.stderr


@pytest.mark.parametrize("reader", ["publish", "backfill"])
async def test_a_closed_standard_input_is_reported_in_one_line(command: CommandLine, reader: str) -> None:
    shell = ("/bin/sh", "-c", f"{PROGRAM} {reader} - <&-")

    failed = await command.run_program(*shell, database_url="postgresql://127.0.0.1:1/none")

    assert failed.code == 1
    assert failed.stderr.startswith("error: standard input: [Errno ")
    assert len(failed.stderr.splitlines()) == 1, failed.stderr


@pytest.mark.parametrize("arguments", ["score .", "migrate sql", "schema"])
async def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word(
    command: CommandLine, tmp_path: Path, arguments: str
) -> None:
    (tmp_path / "module.py").write_text("def function(): ...\n" * 1000)

    ended = await command.run_program("/bin/sh", "-c", f"{PROGRAM} {arguments} | head -n 1")

    assert len(ended.succeeded().stdout.splitlines()) == 1
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("change", "code", "expected", "advice"),
    [
        (
            "DROP COLUMN quality_score CASCADE",
            2,
            "quality_score must be double precision and is missing",
            "Alter these columns",
        ),
        ("ADD COLUMN owner text NOT NULL", 1, 'null value in column "owner"', "Look for a"),
    ],
    ids=["a column missing", "a column too many"],
)
async def test_a_table_that_does_not_fit_is_reported_with_what_to_do_in_one_line(
    command: CommandLine, database_url: str, change: str, code: int, expected: str, advice: str
) -> None:
    (await command.run("migrate", "up", database_url=database_url)).succeeded()
    await run_sql(
        database_url,
        f"DROP TABLE pattern_metrics_alembic_version; ALTER TABLE pattern_quality_metrics {change}",
    )

    refused = await command.run("migrate", "up", database_url=database_url, log_level="WARNING")

    assert refused.code == code
    assert len(refused.report.splitlines()) == 1, refused.report
    assert expected in refused.report
    assert advice in refused.report
    assert "migrate up" not in refused.report


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [("foo=bar", '"foo"'), ("target_session_attrs=foo", "target_session_attrs must be")],
)
async def test_a_wrong_parameter_of_the_database_url_is_named_in_one_line(
    command: CommandLine, database_url: str, parameter: str, expected: str
) -> None:
    refused = await command.run("migrate", "status", database_url=f"{database_url}?{parameter}")

    assert refused.code == 2
    assert len(refused.report.splitlines()) == 1, refused.report
    assert expected in refused.report
    assert "DATABASE_URL" in refused.report
    assert "migrate" not in refused.report


async def test_a_command_does_its_work_where_standard_error_is_closed(command: CommandLine) -> None:
    ended = await command.run_program("/bin/sh", "-c", f"{PROGRAM} schema 2>&-")

    assert b"pattern_id" in ended.succeeded().stdout
