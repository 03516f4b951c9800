"""The abilities of `pip install pattern-metrics` alone, and each command's message about a missing extra."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer

from pattern_metrics.consumer.cli.app import app
from tests.support.command import PROGRAM, CommandLine, Finished, environment_of
from tests.support.kafka import Broker
from tests.support.pipeline import an_event, catch_up, expected_table, table, worker_settings

LIGHT = {"score", "publish", "retire", "schema", "settings", "topic create"} | {
    f"outbox {name}" for name in ("status", "flush", "export", "compact", "discard")
}

ARGUMENTS = {
    "backfill": ["-"],
    "dead-letters discard": ["--because", "it is old"],
    "dead-letters export": ["-"],
    "dead-letters prune": ["--older-than", "90d"],
    "dead-letters show": ["topic/0/0"],
    "history prune": ["--older-than", "90d"],
    "retire": ["shop:total", "--because", "deleted"],
    "retired prune": ["--older-than", "2y"],
    "migrate down": ["base"],
    "skip": ["--to", "latest", "--because", "broken"],
    "trace": ["00000000-0000-0000-0000-000000000001"],
}
"""Arguments that a command requires."""

OPTIONS = {
    "backfill": [["--dry-run", "-"], ["--database-url", "postgresql://u@127.0.0.1:1/d", "-"]],
    "consume": [["--check"], ["--until-caught-up"], ["--processes", "2"], ["--json"]],
    "dashboard": [],
    "dead-letters discard": [["--all", "--because", "it is old"]],
    "dead-letters export": [["-", "a/0/0"], ["file.jsonl"]],
    "dead-letters list": [["--json"], ["--status", "all"]],
    "dead-letters redrive": [["--all"], ["a/0/0"], ["--reason", "too_deep"]],
    "dead-letters show": [["--json", "topic/0/0"]],
    "export": [["--format", "csv"], ["--band", "good", "file.jsonl"]],
    "mcp": [["--read-only"], ["--http", "127.0.0.1:0"]],
    "migrate status": [["--json"]],
    "replay": [["--dry-run"], ["--partition", "0"]],
    "status": [["--watch"], ["--json"]],
    "verify": [["--against-topic", "--strict"], ["--json"]],
}


def commands(command: Any, *path: str) -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield " ".join(path)
        return
    for name, child in command.commands.items():
        yield from commands(child, *path, name)


COMMANDS = set(commands(typer.main.get_command(app)))


def advice(command: str, extra: str) -> str:
    return f"error: {command} needs the extra {extra}: pip install 'pattern-metrics[{extra}]'\n"


@pytest.fixture
def light_command(light: Path, tmp_path: Path) -> CommandLine:
    """Without any setting: a missing extra is reported before settings are checked."""
    return CommandLine(tmp_path, program=(light / "pattern-metrics",))


async def run(command: CommandLine, *arguments: str) -> Finished:
    return await command.run_program(*command.program, *arguments)


@pytest.mark.parametrize("name", sorted(COMMANDS - LIGHT))
async def test_a_command_names_the_extra_that_it_lacks(light_command: CommandLine, name: str) -> None:
    ways = [ARGUMENTS.get(name, []), *OPTIONS.get(name, [])]
    ended = [await run(light_command, *name.split(), *arguments) for arguments in ways]

    expected = advice(name, {"demo": "embedded", "mcp": "mcp"}.get(name, "worker"))
    assert [(one.code, one.stdout, one.stderr) for one in ended] == [(2, b"", expected)] * len(ways)
    assert not list(light_command.directory.iterdir())


def test_the_commands_that_are_called_are_commands_that_there_are() -> None:
    assert LIGHT | ARGUMENTS.keys() | OPTIONS.keys() <= COMMANDS


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["demo"], "embedded"),
        (["demo", "--keep"], "embedded"),
        (["export", "--format", "parquet"], "parquet"),
        (["mcp", "--read-only"], "mcp"),
        (["export", "--format", "parquet", "file.parquet"], "parquet"),
    ],
    ids=str,
)
async def test_the_worker_alone_names_what_an_option_needs(
    worker_only: Path, light: Path, tmp_path: Path, arguments: list[str], extra: str
) -> None:
    for programs in (worker_only, light):
        command = CommandLine(tmp_path, program=(programs / "pattern-metrics",))
        ended = await run(command, *arguments)

        assert (ended.code, ended.stdout, ended.stderr) == (2, b"", advice(arguments[0], extra))


async def test_the_worker_alone_names_the_extra_for_tracing(worker_only: Path, tmp_path: Path) -> None:
    environment = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
        "HTTP_PORT": "0",
    }
    command = CommandLine(tmp_path, environment, (worker_only / "pattern-metrics",))
    ended = await run(command, "consume", "--until-caught-up")

    assert (ended.code, ended.stderr) == (2, advice("OTEL_TRACES_EXPORTER:", "otel"))


async def test_an_agent_that_stores_without_kafka_is_reported_the_extra(light: Path, tmp_path: Path) -> None:
    for statement in ("from pattern_metrics import store_quality_metrics", "from pattern_metrics import *"):
        ended = await CommandLine(tmp_path).run_program(light / "python", "-c", statement)

        assert ended.code == 1
        assert ended.stderr.endswith(
            "store_quality_metrics needs the extra worker: pip install 'pattern-metrics[worker]'\n"
        )


async def test_the_help_of_each_command_needs_no_extra(light_command: CommandLine) -> None:
    groups = {name.rpartition(" ")[0] for name in COMMANDS}
    for name in sorted(COMMANDS | groups):
        helped = (await run(light_command, *name.split(), "--help")).succeeded()

        assert f"Usage: pattern-metrics {name}".strip() in helped.stdout.decode()


async def test_the_light_commands_score_publish_and_create_a_topic(
    light: Path, tmp_path: Path, migrated_database_url: str, embedded_broker: Broker
) -> None:
    topic = f"test-{uuid4().hex}"
    settings = worker_settings(embedded_broker.bootstrap_servers, topic, migrated_database_url)
    command = CommandLine(tmp_path, environment_of(settings), (light / "pattern-metrics",))
    tmp_path.joinpath("code.py").write_text("def f(): ...\n", encoding="utf-8")
    event = an_event()

    created = (await run(command, "topic", "create", "--partitions", "2")).succeeded()
    scored = (await run(command, "score", "code.py")).succeeded()
    schema = (await run(command, "schema")).succeeded()
    lines = scored.stdout + event.to_json() + b"\n{}\n"
    published = await command.run_program(*command.program, "publish", "--json", "-", stdin=lines)

    assert created.stdout.decode() == f"topic {topic} created\n"
    assert b'"quality_score"' in schema.stdout
    assert (published.code, published.json["published"], published.json["refused"]) == (1, 2, 1)
    assert published.report.startswith("line 3: missing_field: ")
    assert (await catch_up(settings)).applied == 2
    assert expected_table([event]).items() <= (await table(settings)).items()


WRONG: list[dict[str, str]] = [
    {"kafka_bootstrap_servers": "127.0.0.1:1"},
    {"kafka_bootstrap_servers": "no-such-host.invalid:9092"},
    {"kafka_topic": "not a topic"},
    {"kafka_security_protocol": "SSL"},
    {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN"},
    {
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": "u",
        "kafka_sasl_password": "p",
    },
    {"max_clock_skew_seconds": "soon"},
]


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["publish", "-"], {"kafka_topic": "not-there"}),
        *((["publish", "-"], wrong) for wrong in WRONG),
        *((["topic", "create"], wrong) for wrong in WRONG[:-1]),
    ],
    ids=lambda given: " ".join(given.values() if isinstance(given, dict) else given),
)
async def test_kafkas_errors_are_reported_as_by_the_full_installation(
    light: Path, real_command: CommandLine, wrong: dict[str, str], arguments: list[str]
) -> None:
    programs = (light / "pattern-metrics", PROGRAM)
    event = an_event().to_json()
    runs = [
        replace(real_command, program=(one,)).run_program(one, *arguments, stdin=event, **wrong)
        for one in programs
    ]
    actual, expected = await asyncio.gather(*runs)

    # asyncio and uvloop word this differently.
    words = re.sub(r"Connect call failed \(.*\)", "Connection refused", actual.stderr)
    assert (actual.code, actual.stdout, words) == (expected.code, expected.stdout, expected.stderr)
    assert actual.code in {1, 2}
    assert re.fullmatch(r"error: .+\n", actual.report)
