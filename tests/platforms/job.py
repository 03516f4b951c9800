"""The whole life of a table, by the commands that a person would run."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg

from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import CommandLine, environment_of
from tests.support.pipeline import an_event, expected_table, send, table, worker_settings

PREVIOUS_DUMP: Final = Path(__file__).with_name("previous_release.sql")
"""A database in which the previous release's worker has written: `pg_dump --inserts`, without rights."""

PATTERNS: Final = 300
POISON: Final = b"poison"


@dataclass(frozen=True)
class Place:
    """Programs and servers that work together.

    Attributes:
        program: `pattern-metrics` of an environment.
        server: PostgreSQL.
        bootstrap_servers: Apache Kafka.
        url: returns the program's URL of a database; a pooler's, if there is one.
    """

    program: Path
    server: PostgresServer
    bootstrap_servers: str
    url: Callable[[str], str]


async def do_job(place: Place, directory: Path) -> None:
    """Migrate the previous release's database, consume, replay, verify, restore, and verify again.

    Raises:
        AssertionError: a command failed, or a number is not the expected one.
    """
    name = f"job_{uuid4().hex}"
    topic, chance = f"job-{uuid4().hex}", random.Random(1)
    settings = worker_settings(
        place.bootstrap_servers,
        topic,
        place.server.dsn(name),
        kafka_enable_idempotence=True,
        history_enabled=True,
    )
    environment = environment_of(settings) | {"DATABASE_URL": place.url(name)}
    command = CommandLine(directory, environment)

    async def run(*arguments: str, stdin: bytes = b"") -> Any:
        finished = await command.run_program(place.program, *arguments, "--json", stdin=stdin)
        return finished.succeeded().json

    async def publish(events: list[PatternScored]) -> None:
        published = await run("publish", "-", stdin=b"\n".join(event.to_json() for event in events))
        assert published["published"] == len(events), published

    async def consume(accounting: Accounting) -> None:
        assert _accounting(await run("consume", "--until-caught-up")) == accounting

    await _execute(place.server, "postgres", f"CREATE DATABASE {name}")
    await _execute(place.server, name, PREVIOUS_DUMP.read_text(encoding="utf-8"))
    before = await table(settings)
    (await command.run_program(place.program, "migrate", "up")).succeeded()
    await run("topic", "create", "--partitions", "3", "--replication-factor", "1")
    (await command.run_program(place.program, "consume", "--check")).succeeded()

    newer = [an_event(number, seconds=100 + number) for number in range(PATTERNS)]
    older = [an_event(number, seconds=number) for number in range(PATTERNS)]
    first = chance.sample(newer, PATTERNS)
    await publish(first + older + first)  # with late events and duplicates
    await send(settings, [POISON])
    await consume(Accounting(applied=PATTERNS, superseded=2 * PATTERNS, dead_letters=1))
    assert await table(settings) == before | expected_table(newer)
    await _copy_database(place.server, name, f"{name}_backup")

    await publish([an_event(number, seconds=1000) for number in range(0, 2 * PATTERNS, 2)])
    await consume(Accounting(applied=PATTERNS))
    complete = await table(settings)
    replayed = _accounting(await run("replay"))
    assert replayed == Accounting(superseded=4 * PATTERNS, dead_letters=1), replayed
    await run("verify", "--against-topic")

    await _copy_database(place.server, f"{name}_backup", name)
    assert len(await table(settings)) < len(complete)
    await consume(Accounting(applied=PATTERNS))
    assert await table(settings) == complete
    await run("verify", "--against-topic")


def _accounting(counts: dict[str, int]) -> Accounting:
    return Accounting(counts["applied"], counts["superseded"], counts["dead_letters"])


async def _copy_database(server: PostgresServer, source: str, target: str) -> None:
    """Back up or restore: make a database a copy of another one."""
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{source}'"  # a pooler's
    await _execute(server, "postgres", f"DROP DATABASE IF EXISTS {target} WITH (FORCE)")
    await _execute(server, "postgres", ended)
    await _execute(server, "postgres", f"CREATE DATABASE {target} TEMPLATE {source}")


async def _execute(server: PostgresServer, database: str, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn(database))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
