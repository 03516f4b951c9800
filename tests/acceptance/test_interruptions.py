"""Ctrl-C in the middle of an operation: the data is correct, and a second run completes it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine, Finished
from tests.support.letters import connected
from tests.support.pipeline import an_event, expected_table, fetch, send, table

INTERRUPTED = 130

EVENTS = [an_event(number) for number in range(1, 31)]
LINES = b"\n".join(event.to_json() for event in EVENTS)
ROWS = "SELECT *, xmin::text FROM pattern_quality_metrics ORDER BY pattern_id"

# A trigger that makes this row wait for the test.
HOLD_PATTERN_17 = """
CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE held IN ACCESS SHARE MODE;
    RETURN NEW;
END $$;
CREATE TRIGGER hold BEFORE INSERT ON pattern_quality_metrics FOR EACH ROW
WHEN (NEW.pattern_id = '00000000-0000-0000-0000-000000000011') EXECUTE FUNCTION wait_for_the_test();
CREATE TABLE held ();
"""
# Each query of all dead letters waits here too.
HOLD_LETTERS = """
CREATE TABLE held () INHERITS (dead_letters);
"""

Condition = Callable[[], Awaitable[object]]


@asynccontextmanager
async def held(database_url: str, script: str) -> AsyncIterator[Condition]:
    """Yield a condition: whether somebody waits for the test. After the block nobody waits any more."""
    async with connected(database_url) as connection:
        await connection.execute(script)
        await connection.execute("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        yield lambda: connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")


def was_interrupted(finished: Finished) -> bool:
    """Return whether Ctrl-C ended a command without a report of unfinished work and without a traceback."""
    return (finished.code, finished.stdout) == (INTERRUPTED, b"") and "Traceback" not in finished.stderr


@pytest.fixture
def database_url(settings: WorkerSettings) -> str:
    return settings.database_url.get_secret_value()


async def test_an_interrupted_replay_leaves_whole_batches_for_a_second_run(
    command: CommandLine, settings: WorkerSettings, database_url: str
) -> None:
    await send(settings, [event.to_json() for event in EVENTS])

    async with held(database_url, HOLD_PATTERN_17) as is_held:
        interrupted = await command.interrupt("replay", "--json", once=is_held, batch_max_records=5)
        there = await table(settings)
    completed = (await command.run("replay", "--json", batch_max_records=5)).succeeded()

    assert was_interrupted(interrupted), interrupted
    assert there == expected_table(EVENTS[:15])
    assert completed.json == {"read": 30, "applied": 15, "superseded": 15, "dead_letters": 0}
    assert await table(settings) == expected_table(EVENTS)


async def test_a_run_to_the_end_that_is_stopped_earlier_does_not_succeed(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    await send(real_settings, [event.to_json() for event in EVENTS])
    run_to_the_end = ("consume", "--until-caught-up", "--json")

    async with held(real_settings.database_url.get_secret_value(), HOLD_PATTERN_17) as is_held:
        stopped = await real_command.interrupt(
            *run_to_the_end, once=is_held, batch_max_records=5, shutdown_grace_seconds=1
        )
    completed = (await real_command.run(*run_to_the_end)).succeeded()

    assert stopped.code == 1
    assert "error: stopped before the end was reached" in stopped.stderr
    assert stopped.json["read"] + completed.json["read"] == len(EVENTS)
    assert await table(real_settings) == expected_table(EVENTS)


async def test_a_verification_that_is_interrupted_leaves_nothing_behind(
    command: CommandLine, settings: WorkerSettings, database_url: str
) -> None:
    await send(settings, [event.to_json() for event in EVENTS])
    (await command.run("consume", "--until-caught-up")).succeeded()
    before = await fetch(settings, ROWS)
    shadows = "SELECT 1 FROM pg_class WHERE relname = 'pattern_quality_metrics' AND relpersistence = 't'"

    async with held(database_url, HOLD_LETTERS) as is_held:
        interrupted = await command.interrupt("verify", "--against-topic", "--json", once=is_held)
    completed = (await command.run("verify", "--against-topic")).succeeded()

    assert was_interrupted(interrupted), interrupted
    assert b"ok     the table is the fold of the topic (read 30 = applied 30" in completed.stdout
    assert await fetch(settings, ROWS) == before
    assert await fetch(settings, shadows) == []


async def test_an_interrupted_backfill_leaves_whole_batches_for_a_second_run(
    database_command: CommandLine, migrated_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "measurements.jsonl"
    file.write_bytes(LINES)
    backfill = ("backfill", file, "--json", "--batch-size", "5")

    async with held(migrated_database_url, HOLD_PATTERN_17) as is_held:
        interrupted = await database_command.interrupt(*backfill, once=is_held)
        async with connected(migrated_database_url) as connection:
            there = await connection.fetchval("SELECT count(*) FROM pattern_quality_metrics")
    completed = (await database_command.run(*backfill)).succeeded()

    assert was_interrupted(interrupted), interrupted
    assert there == 15
    assert (completed.json["applied"], completed.json["superseded"]) == (15, 15)
