"""A large table is migrated while it is read and written; an interrupted migration can be run again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import asyncpg
import pytest

from pattern_metrics.consumer.operations.migration import migrate_down, migrate_up
from pattern_metrics.migrations.sql_files import read_sql, statements
from tests.migration.databases import (
    apply_by_hand,
    catalog,
    execute,
    fetch,
    make_elsewhere,
    psql,
    sql_file,
)

DUPLICATES = "pattern_quality_metrics_duplicates"

# As the software before this one writes: it knows no event, and inserts whatever comes.
INSERT = """
    INSERT INTO pattern_quality_metrics
        (pattern_id, quality_score, confidence, measurement_timestamp, version, metadata)
    VALUES ($1, 0.5, 0.5, now(), '1.0.0', '{}')
"""


def fill(patterns: int, duplicates: int) -> str:
    """Return a statement that inserts a row of each pattern, and another one of some patterns."""
    return f"""
        INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, measurement_timestamp)
        SELECT lpad(to_hex(number % {patterns}), 32, '0')::uuid, random(), random(),
            '2026-01-01Z'::timestamptz + interval '1 second' * (number % 997)
        FROM generate_series(0, {patterns + duplicates - 1}) AS number
    """


async def assert_latest_of_each_pattern_stays(url: str, rows: int) -> None:
    """Each row is in one of the two tables; none that was moved is later than the one that stays."""
    [found] = await fetch(
        url,
        f"""
        SELECT count(*) AS kept, count(DISTINCT pattern_id) AS patterns,
            (SELECT count(*) FROM {DUPLICATES}) AS moved,
            (SELECT count(*) FROM {DUPLICATES} LEFT JOIN pattern_quality_metrics AS kept USING (pattern_id)
             WHERE kept.measurement_timestamp >= {DUPLICATES}.measurement_timestamp) AS superseded
        FROM pattern_quality_metrics
        """,
    )
    assert found["kept"] == found["patterns"]
    assert found["kept"] + found["moved"] == rows
    assert found["superseded"] == found["moved"]


class Users:
    """A reader and a writer that work until they are stopped.

    Attributes:
        longest_read: the longest time that a read took, in seconds.
        longest_write: the longest time that an insert took, in seconds.
        inserted: the number of inserted rows.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = False
        self.longest_read = 0.0
        self.longest_write = 0.0
        self.inserted = 0

    async def while_running(self, work: Awaitable[object]) -> float:
        """Return the seconds that some work took beside them."""
        users = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        begin = time.monotonic()
        try:
            await work
        finally:
            seconds = time.monotonic() - begin
            self._is_over = True
            await asyncio.gather(*users)
        return seconds

    async def _read(self) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            while not self._is_over:
                begin = time.monotonic()
                await connection.fetch("SELECT * FROM pattern_quality_metrics LIMIT 10")
                self.longest_read = max(self.longest_read, time.monotonic() - begin)
        finally:
            await connection.close()

    async def _write(self) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            for number in range(1_000_000):
                begin = time.monotonic()
                with suppress(asyncpg.UniqueViolationError):  # in the end, a pattern has one row
                    await connection.execute(INSERT, UUID(int=number % 150_000))
                    self.inserted += 1
                self.longest_write = max(self.longest_write, time.monotonic() - begin)
                if self._is_over:
                    return
        finally:
            await connection.close()


@pytest.mark.parametrize("by", ["migrate up", "files"])
async def test_readers_and_writers_go_on_while_a_large_table_is_migrated(database_url: str, by: str) -> None:
    await make_elsewhere(database_url, "013")
    await execute(database_url, fill(100_000, 10_000))
    users = Users(database_url)

    async def by_hand() -> None:
        for revision in ("012", "013", "014", "015"):
            while (await psql(database_url, sql_file(revision)))[0] != 0:
                pass  # two new rows of one pattern at the same moment

    seconds = await users.while_running(migrate_up(database_url) if by == "migrate up" else by_hand())

    assert users.longest_read < seconds / 5
    assert users.longest_write < seconds / 3
    assert users.inserted > 0
    await assert_latest_of_each_pattern_stays(database_url, 110_000 + users.inserted)


async def test_a_busy_reader_makes_the_migration_wait_and_nobody_behind_it(database_url: str) -> None:
    await make_elsewhere(database_url, "013")
    await execute(database_url, fill(100, 10))
    users, busy = Users(database_url), await asyncpg.connect(database_url)
    try:
        async with busy.transaction():
            await busy.execute("LOCK TABLE pattern_quality_metrics IN ACCESS SHARE MODE")
            refused = migrate_up(f"{database_url}?pattern_metrics.patience=3")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await users.while_running(refused)
    finally:
        await busy.close()

    assert users.longest_read < 2, "it would be 3 seconds, or a minute"
    await migrate_up(database_url)
    await assert_latest_of_each_pattern_stays(database_url, 110 + users.inserted)


STATEMENTS = list(statements(read_sql(sql_file("014"))))


async def run_014_up_to(url: str, done: int) -> None:
    for sql, has_commands in STATEMENTS[:done]:
        found = await fetch(url, sql) if has_commands else [{"": sql}]
        for command in [value for row in found for value in row.values()]:
            await execute(url, command)


async def leave_invalid_indexes(url: str) -> None:
    """Do as an interrupted build does: it leaves an index that is not valid."""
    for name in ("pattern_quality_metrics_pattern_id_portions", "pattern_quality_metrics_pattern_id_unique"):
        with pytest.raises(asyncpg.UniqueViolationError):
            await execute(
                url, f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON pattern_quality_metrics (pattern_id)"
            )


async def test_014_ends_the_same_after_an_interruption_between_any_two_statements(database_url: str) -> None:
    """The next run is one of the file by hand and one of the command, by turns."""
    await migrate_up(database_url, "014")
    complete = await catalog(database_url)
    await migrate_down(database_url, "013")
    for done in range(len(STATEMENTS)):
        await execute(database_url, f"TRUNCATE pattern_quality_metrics; DROP TABLE IF EXISTS {DUPLICATES}")
        await execute(database_url, fill(50, 20))
        await leave_invalid_indexes(database_url)
        await run_014_up_to(database_url, done)

        if done % 2:
            await apply_by_hand(database_url, "014")
        await migrate_up(database_url, "014")

        assert await catalog(database_url) == complete, STATEMENTS[done][0]
        await assert_latest_of_each_pattern_stays(database_url, 70)
        await migrate_down(database_url, "013")


async def kill(url: str, task: asyncio.Task[object]) -> None:
    await execute(url, _OTHERS.format("pg_terminate_backend"))
    del task


async def cancel_statement(url: str, task: asyncio.Task[object]) -> None:
    await execute(url, _OTHERS.format("pg_cancel_backend"))
    del task


async def cancel_task(url: str, task: asyncio.Task[object]) -> None:
    del url
    task.cancel()


_OTHERS = (
    "SELECT {}(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'pattern-metrics'"
)
WAYS: list[Callable[[str, asyncio.Task[object]], Awaitable[None]]] = [kill, cancel_statement, cancel_task]


async def test_an_interruption_at_any_moment_is_followed_by_a_run_that_ends_the_same(
    database_url: str, migrated_database_url: str
) -> None:
    draw = random.Random(7)
    for _ in range(4):
        await execute(database_url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await make_elsewhere(database_url, "012")
        await execute(database_url, "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT fk_of_another_name")
        await execute(database_url, fill(20_000, 5_000))
        for _ in range(5):
            task: asyncio.Task[object] = asyncio.create_task(migrate_up(database_url))
            await asyncio.wait([task], timeout=draw.uniform(0.0, 0.6))
            await draw.choice(WAYS)(database_url, task)
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                break

        await migrate_up(database_url)

        assert await catalog(database_url) == await catalog(migrated_database_url)
        await assert_latest_of_each_pattern_stays(database_url, 25_000)
