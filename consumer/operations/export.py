"""Exports the current rows for readers, as JSON Lines, CSV or Parquet."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec
import orjson

from pattern_metrics.consumer.operations.row_formats import Column, WriteRows
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import Connection, connected
from pattern_metrics.schemas.bands import Band
from pattern_metrics.schemas.shown_metadata import dimensions_of, name_of, parsed

ROWS_IN_MEMORY: Final = 10_000
"""Rows that are fetched and written at once; in a Parquet file, a row group."""


@dataclass(slots=True)
class Exported:
    """The outcome of an export.

    Attributes:
        rows: their number.
        odd_times: the number of times outside of the years 1 to 9999, which Parquet cannot hold.
    """

    rows: int = 0
    odd_times: int = 0


async def export_rows(
    database_url: str,
    *,
    min_quality: float | None,
    band: Band | None,
    retired: bool = False,
    open_writer: Callable[[Sequence[Column]], AbstractContextManager[WriteRows]],
    advance: Callable[[int, int], None],
) -> Exported:
    """Write the current rows, ordered by pattern, in bounded memory. All rows are of one snapshot.

    Args:
        database_url: as in DATABASE_URL.
        min_quality: the least score; None for all.
        band: the only band; None for all.
        retired: export the retired patterns instead, each as the event that retired it with the last row.
        open_writer: returns, for the columns, a function that writes rows.
        advance: called with the number of rows written and the number of all rows.

    Raises:
        asyncpg.PostgresError: a statement failed.
        OSError: PostgreSQL cannot be reached.
    """
    exported = Exported()
    async with (
        connected(database_url) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await _read_documents_compactly(connection)
        query, count = statement("select_current"), statement("select_current_count")
        selection: tuple[object, ...] = (min_quality, band)
        if retired:
            query, count, selection = statement("select_retired"), statement("select_retired_count"), ()
        total = await connection.fetchval(count, *selection)
        prepared = await connection.prepare(query)
        types = {each.name: each.type.name for each in prepared.get_attributes()} | {"name": "text"}
        columns = [Column(name, kind) for name, kind in types.items()]
        times = [column.name for column in columns if column.type == "timestamptz"]
        cursor = await prepared.cursor(*selection)
        with open_writer(columns) as write_rows:
            while rows := await cursor.fetch(ROWS_IN_MEMORY):
                write_rows([_shown(row) for row in rows])
                exported.rows += len(rows)
                exported.odd_times += sum(isinstance(row[name], str) for row in rows for name in times)
                advance(exported.rows, total)
    return exported


def _shown(row: asyncpg.Record) -> tuple[object, ...]:
    """Return a row with a name and with the valid dimensions alone; `metadata` has both as they were sent."""
    fields = dict(row)
    fields["name"] = name_of(parsed(row["name"]), row["pattern_id"])
    if "dimensions" in fields:
        fields["dimensions"] = orjson.dumps(dimensions_of(parsed(row["dimensions"]))).decode()
    return tuple(fields.values())


async def _read_documents_compactly(connection: Connection) -> None:
    """Read `jsonb` without the spaces that PostgreSQL prints, with which metadata may exceed its limit."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=str, decoder=_compact, format="text"
    )


def _compact(text: str) -> str:
    return msgspec.json.format(text, indent=-1)
