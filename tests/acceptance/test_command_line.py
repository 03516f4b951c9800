"""Behaviour of the command line that needs no server."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

import pattern_metrics.schemas
from pattern_metrics.consumer.cli.app import app
from pattern_metrics.migrations.revisions import REVISIONS
from pattern_metrics.schemas.generate import JSON_SCHEMA_FILE
from tests.support.command import PROGRAM, CommandLine
from tests.support.letters import run_sql


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command and group of commands."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from paths(child, (*path, name))


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.mark.parametrize("path", list(paths(typer.main.get_command(app))), ids=" ".join)
async def test_each_command_has_a_help(command: CommandLine, path: tuple[str, ...]) -> None:
    shown = (await replace(command, is_warm=False).run(*path, "--help")).succeeded()

    assert " ".join(["pattern-metrics", *path]) in shown.stdout.decode()
    assert shown.stderr == ""


@pytest.mark.parametrize("path", list(paths(typer.main.get_command(app))), ids=" ".join)
async def test_help_wraps_once_and_shows_no_type_of_a_flag(
    command: CommandLine, path: tuple[str, ...]
) -> None:
    """A line is filled until the next word does not fit. Only a paragraph ends earlier."""
    narrow = (await command.run(*path, "--help", columns=80)).succeeded().stdout.decode()

    assert "<bool>" not in narrow
    prose = narrow.split("\nArguments:")[0].split("\nOptions:")[0].splitlines()
    for line, following in pairwise(prose):
        if line.startswith("  ") and following.startswith("  "):
            assert len(line) + 1 + len(following.split()[0]) > 78, line


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


AGENTS = {("demo",), ("score",), ("publish",), ("schema",), ("topic", "create"), ("migrate", "sql")}
"""Commands that use no database of the user."""

WITHOUT_REPORT = {
    *(("demo",), ("dashboard",), ("score",), ("schema",)),
    *(("migrate", "sql"), ("export",), ("dead-letters", "export")),
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
    }.get(path, [])
    refused = await command.run(
        *path, *needed, "--database-url", "mysql://there", database_url="postgresql://x@127.0.0.1:1/x"
    )

    assert refused.code == 2
    assert refused.stderr.startswith("error: --database-url: ")


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
    assert both.stderr.startswith(f"error: {broker}" if arguments == ["replay"] else f"error: {postgresql}")
    assert len(both.stderr.splitlines()) == 1
    if arguments in (["status"], ["replay"]):
        assert kafka.stderr.startswith(f"error: {broker}")


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
    ("change", "code", "told", "advice"),
    [
        ("DROP COLUMN version CASCADE", 2, "version must be text and is missing", "Alter these columns"),
        ("ADD COLUMN owner text NOT NULL", 1, 'null value in column "owner"', "Look for a"),
    ],
    ids=["a column missing", "a column too many"],
)
async def test_a_table_that_does_not_fit_is_reported_with_what_to_do_in_one_line(
    command: CommandLine, database_url: str, change: str, code: int, told: str, advice: str
) -> None:
    (await command.run("migrate", "up", database_url=database_url)).succeeded()
    await run_sql(
        database_url,
        f"DROP TABLE pattern_metrics_alembic_version; ALTER TABLE pattern_quality_metrics {change}",
    )

    refused = await command.run("migrate", "up", database_url=database_url, log_level="WARNING")

    assert refused.code == code
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert told in refused.stderr
    assert advice in refused.stderr
    assert "migrate up" not in refused.stderr


@pytest.mark.parametrize(
    ("parameter", "told"),
    [("foo=bar", '"foo"'), ("target_session_attrs=foo", "target_session_attrs must be")],
)
async def test_a_wrong_parameter_of_the_database_url_is_named_in_one_line(
    command: CommandLine, database_url: str, parameter: str, told: str
) -> None:
    refused = await command.run("migrate", "status", database_url=f"{database_url}?{parameter}")

    assert refused.code == 2
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert told in refused.stderr
    assert "DATABASE_URL" in refused.stderr
    assert "migrate" not in refused.stderr


async def test_a_command_does_its_work_where_standard_error_is_closed(command: CommandLine) -> None:
    ended = await command.run_program("/bin/sh", "-c", f"{PROGRAM} schema 2>&-")

    assert b"pattern_id" in ended.succeeded().stdout
