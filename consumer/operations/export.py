"""Exports the current rows for readers, as JSON Lines, CSV or Parquet."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from pattern_metrics.consumer.operations.row_formats import Column, WriteRows
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import connected
from pattern_metrics.schemas.bands import Band

ROWS_IN_MEMORY: Final = 10_000
"""Rows that are fetched and written at once; in a Parquet file, a row group."""


async def export_rows(
    database_url: str,
    *,
    min_quality: float | None,
    band: Band | None,
    open_writer: Callable[[Sequence[Column]], AbstractContextManager[WriteRows]],
    advance: Callable[[int, int], None],
) -> int:
    """Write the current rows, ordered by pattern, in bounded memory. All rows are of one snapshot.

    Args:
        database_url: as in DATABASE_URL.
        min_quality: the least score; None for all.
        band: the only band; None for all.
        open_writer: returns, for the columns, a function that writes rows.
        advance: called with the number of rows written and the number of all rows.

    Returns:
        The number of rows.

    Raises:
        asyncpg.PostgresError: a statement failed.
        OSError: PostgreSQL cannot be reached.
    """
    done = 0
    async with (
        connected(database_url) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        total = await connection.fetchval(statement("select_current_count"), min_quality, band)
        prepared = await connection.prepare(statement("select_current"))
        columns = [Column(each.name, each.type.name) for each in prepared.get_attributes()]
        cursor = await prepared.cursor(min_quality, band)
        with open_writer(columns) as write_rows:
            while rows := await cursor.fetch(ROWS_IN_MEMORY):
                write_rows(rows)
                done += len(rows)
                advance(done, total)
    return done
