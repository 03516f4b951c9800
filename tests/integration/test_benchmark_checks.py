"""A benchmark's figure counts only if the table is correct."""

from uuid import UUID, uuid4

import asyncpg
import pytest

from benchmarks.events import FIRST_TIME
from benchmarks.services import WrongTableError, connected, require_fold
from benchmarks.topics import Fold, digest

ROWS = sorted((uuid4(), uuid4()) for _ in range(3))
"""Pattern and event of each row."""

FOLD = Fold(FIRST_TIME, len(ROWS), digest([event_id for _, event_id in ROWS]))

INSERT = """
INSERT INTO pattern_quality_metrics (pattern_id, event_id, quality_score, confidence, measurement_timestamp)
VALUES ($1, $2, 0.5, 0.5, $3)
"""


async def insert(connection: asyncpg.Connection, rows: list[tuple[UUID, UUID]]) -> None:
    await connection.executemany(INSERT, [(*row, FIRST_TIME) for row in rows])


async def test_the_rows_of_the_latest_events_are_right(migrated_database_url: str) -> None:
    async with connected(migrated_database_url) as connection:
        await insert(connection, ROWS)
        await require_fold(connection, FOLD)


async def test_a_row_that_is_missing_is_noticed(migrated_database_url: str) -> None:
    async with connected(migrated_database_url) as connection:
        await insert(connection, ROWS[:-1])
        with pytest.raises(WrongTableError, match="2 rows of the topic, not 3"):
            await require_fold(connection, FOLD)


async def test_a_row_of_another_event_is_noticed(migrated_database_url: str) -> None:
    async with connected(migrated_database_url) as connection:
        await insert(connection, [*ROWS[:-1], (ROWS[-1][0], uuid4())])
        with pytest.raises(WrongTableError, match="not the topic's latest"):
            await require_fold(connection, FOLD)
