"""A store with a temporary table of its own, which shows what the law would change in the real table."""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
from typing_extensions import override

from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.consumer.postgres.sql import statement
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.record import Record
from pattern_metrics.consumer.settings import DatabaseSettings
from pattern_metrics.schemas.settings.timing import TIMING, Timing

COMPARE_SECONDS_MAX: Final = 3600.0


class ShadowLostError(Exception):
    """The connection broke, and the shadow with it. Nothing was changed. Run the command again."""


def open_store(settings: DatabaseSettings, *, dry_run: bool) -> Store:
    """Return the store of the table or, for a dry run, a shadow that shows what would change."""
    database_url = settings.database_url.get_secret_value()
    if dry_run:
        return ShadowStore(database_url, loads_rows=True)
    return Store(database_url, keeps_history=settings.history_enabled)


class ShadowStore(Store):
    """Merges into a shadow of the table, which ends with the connection.

    It locks no row of the table, so workers can run meanwhile. It needs space on the server's disk.

    Args:
        database_url: as in DATABASE_URL.
        loads_rows: whether to copy the table's rows of each batch into the shadow first, so that merging
            counts what would change in the table. Without it, the shadow becomes the fold of the given
            events.
        timing: see `Store`, but the connection is kept.

    Raises:
        ShadowLostError: raised by each method after the connection broke.
        Exception: each method raises the errors of `Store.transaction`.
    """

    def __init__(self, database_url: str, *, loads_rows: bool, timing: Timing = TIMING) -> None:
        super().__init__(database_url, timing=timing)
        if loads_rows:
            self._before_upsert = "; ".join(
                [statement("insert_shadow_retired"), statement("insert_shadow_rows")]
            )
        self._is_made = False

    @override
    async def _prepare(self, connection: Connection) -> None:
        if self._is_made:
            raise ShadowLostError
        await super()._prepare(connection)
        await connection.execute(
            "SET statement_timeout = 0; SET enable_hashjoin = on; SET enable_mergejoin = on"
        )
        await connection.execute(statement("create_shadow"))
        self._is_made = True

    @override
    def _expire_later(self) -> None:
        """Keep the connection, because the shadow ends with it."""

    @override
    async def _report_all_missing(self, error: asyncpg.PostgresError) -> None:
        """Do nothing: the shadow needs less than a worker, so PostgreSQL's own message is better."""

    async def recorded_dead_letters(self, records: Sequence[Record]) -> set[tuple[int, int]]:
        """Return the partition and offset of each of one topic's records that is a dead letter."""
        async with self.transaction() as transaction:
            rows = await transaction.connection.fetch(
                statement("select_recorded_dead_letters"),
                records[0].topic,
                [record.partition for record in records],
                [record.offset for record in records],
                [record.timestamp for record in records],
            )
        return {(row["partition"], row["offset"]) for row in rows}

    async def count_differences(self) -> dict[str, int]:
        """Return the number of patterns that differ between the shadow and the table, by finding."""
        async with self.transaction() as transaction:
            rows = await transaction.connection.fetch(
                statement("select_difference_counts"), timeout=COMPARE_SECONDS_MAX
            )
        return {row["finding"]: row["count"] for row in rows}

    async def differences(self, findings: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """Return the first patterns with one of these findings."""
        async with self.transaction() as transaction:
            rows = await transaction.connection.fetch(
                statement("select_differences"), findings, limit, timeout=COMPARE_SECONDS_MAX
            )
        return [dict(row) for row in rows]
