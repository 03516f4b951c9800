"""Merges the latest events into the table within a transaction, by the law and by the cheapest way."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from typing import Final, TypeAlias, TypeVar, cast
from uuid import UUID

import asyncpg
import msgspec

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose
from pattern_metrics.consumer.postgres.connection import STATEMENT_SECONDS_MAX, Connection
from pattern_metrics.consumer.postgres.copy_format import (
    COLUMNS_OF_RETIREMENT,
    COLUMNS_OF_STAGE,
    COLUMNS_OF_TABLE,
    first_id,
    new_rows,
    staged,
    staged_retirements,
)
from pattern_metrics.consumer.postgres.sql import statement
from pattern_metrics.consumer.records.record import Accepted, Record, Rejected, Retired
from pattern_metrics.consumer.records.text import storable_text
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import Ordered

_SET_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '100ms'"
"""Do not wait long for a lock out of order: its holder may wait for this transaction, a deadlock."""

_RESET_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout TO DEFAULT"

_SELECT_ROW_BY_ROW: Final = (
    "SELECT place, written, state, message FROM pg_temp.write_row_by_row($1)"  # see create_row_writer.sql
)


Candidates: TypeAlias = Sequence[Accepted | Retired]
"""Events of one kind, which go through the stage together."""

CandidateT = TypeVar("CandidateT", bound=Accepted | Retired)


class RefusedError(Exception):
    """PostgreSQL, or its driver, refuses a row, or refuses this way of writing it.

    Attributes:
        cause: the error.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _Present(Ordered, msgspec.Struct, frozen=True, gc=False):
    """The part of a pattern's row that the law needs: the columns of `select_present`."""

    pattern_id: UUID
    measurement_timestamp: datetime
    event_id: UUID


class Merger:
    """Merges events into the table and its history.

    Args:
        connection: a connection with a stage, inside a transaction.
        before_upsert: a statement to run between the stage and the upsert (see `ShadowStore`).
        updates_first: whether to update rows before asking which patterns have one.

    Attributes:
        updates_first: whether updating first would have been faster: every merged pattern had a row, and its
            event was newer.
    """

    def __init__(self, connection: Connection, *, before_upsert: str | None, updates_first: bool) -> None:
        self._connection = connection
        self._before_upsert = before_upsert
        self.updates_first = updates_first
        self._is_staged = False

    async def merge(self, latest: Iterable[Accepted]) -> tuple[int, list[Rejected]]:
        """Merge the latest event of each pattern into the table.

        A refused row does not affect the others.

        Returns:
            The number of rows that were inserted or updated, and the records whose rows were refused.

        Raises:
            asyncpg.PostgresError: a statement failed for a reason other than a row.
            asyncpg.InterfaceError: the connection broke.
            OSError: PostgreSQL cannot be reached.
            TimeoutError: PostgreSQL did not answer in time.
        """
        ordered = _sorted(latest)
        if self._before_upsert is None and ordered:
            try:
                async with self._savepoint():
                    merge = self._update_first if self.updates_first else self._merge_known
                    return await merge(ordered), []
            except RefusedError:
                self.updates_first = False
                # A pattern is retired, another writer inserted or locked one meanwhile, a row is refused, or
                # the table has row-level security and takes no COPY. The law decides, row by row if need be.
        return await self._merge(ordered, statement("upsert_patterns"))

    async def merge_history(self, events: Iterable[Accepted | Retired]) -> tuple[int, list[Rejected]]:
        """Keep one event, all of one kind, per pattern and time. Returns and raises like `merge`."""
        return await self._merge(_sorted(events), statement("upsert_history"))

    async def exclude_writers(self) -> None:
        """Wait until no other transaction writes, and exclude others until the end of this one.

        Call it before anything else in a transaction that retires patterns: to lock later is a deadlock.

        Raises:
            asyncpg.LockNotAvailableError: somebody holds a lock on the table of the retired patterns.
            Exception: see `merge`.
        """
        await self._connection.execute(statement("set_writer_lock"))

    async def retire(self, latest: Iterable[Retired]) -> tuple[int, list[Rejected]]:
        """Move the rows of patterns, after `exclude_writers`. Returns and raises like `merge`."""
        return await self._merge(_sorted(latest), statement("upsert_retired"))

    async def _merge_known(self, ordered: Sequence[Accepted]) -> int:
        """Merge by the content of the table: copy new patterns, and update rows whose event is newer.

        A measurement that is superseded now stays superseded, whatever is written meanwhile.

        Raises:
            RefusedError: a pattern is retired; nothing was written.
        """
        present = await self._present(ordered)
        new, newer = [], []
        for candidate in ordered:
            row = present.get(candidate.event.pattern_id)
            if row is None:
                new.append(candidate)
            elif candidate.event.supersedes(row):  # `update_patterns` decides again, on the row at that time
                newer.append(candidate)
        self.updates_first = len(newer) == len(ordered)
        applied = await self._copy_new(new) if new else 0
        if newer:
            async with self._out_of_order() if new else nullcontext():
                applied += await self._update(newer)
        return applied

    async def _update_first(self, ordered: Sequence[Accepted]) -> int:
        """Merge events that are probably newer measurements of patterns with a row.

        Asking first which patterns have a row would cost a tenth of PostgreSQL's work for an update. It is
        asked if some patterns have no row or a newer one.

        Raises:
            RefusedError: see `_merge_known`.
        """
        applied = await self._update(ordered)
        if applied < len(ordered):
            async with self._out_of_order():
                applied += await self._merge_known(ordered)
        return applied

    async def _update(self, newer: Sequence[Accepted]) -> int:
        """Update existing rows by way of the stage. Return how many rows were updated."""
        await self._clear_stage()
        await self._copy_staged(newer, 1)
        return _count(await self._connection.execute(statement("update_patterns")))

    @asynccontextmanager
    async def _out_of_order(self) -> AsyncIterator[None]:
        """Use a short lock timeout, because a second pass over the patterns breaks the order of locking."""
        await self._connection.execute(_SET_LOCK_TIMEOUT)
        yield
        await self._connection.execute(_RESET_LOCK_TIMEOUT)

    async def _present(self, ordered: Sequence[Accepted]) -> dict[UUID, _Present]:
        """Return the present rows of the events' patterns.

        Raises:
            RefusedError: one of the patterns is retired.
        """
        patterns = [each.event.pattern_id for each in ordered]
        rows = await self._connection.fetch(statement("select_present"), patterns)
        present = {row[0]: _Present(*row) for row in rows}
        if None in present:
            raise RefusedError(ValueError("a pattern is retired"))
        return present

    async def _merge(self, ordered: Candidates, law: str) -> tuple[int, list[Rejected]]:
        """Merge by the law alone: all rows at once or, if something is refused, row by row."""
        if not ordered:
            return 0, []
        refused = await self._stage(ordered)
        if self._before_upsert is not None:
            await self._connection.execute(self._before_upsert)
        try:
            async with self._savepoint():
                return _count(await self._connection.execute(law, 1, len(ordered))), refused
        except RefusedError:
            applied, others = await self._merge_row_by_row(ordered, law)
            return applied, refused + others

    async def _merge_row_by_row(self, ordered: Candidates, law: str) -> tuple[int, list[Rejected]]:
        """Merge row by row in one statement, whose time is limited and grows only with the rows."""
        await self._connection.execute(statement("create_row_writer").replace("NULL; -- the law", f"{law};"))
        rows = await self._connection.fetch(_SELECT_ROW_BY_ROW, len(ordered))
        refused = []
        for row in rows:
            if row["state"] is not None:
                error = asyncpg.PostgresError.new({"C": row["state"], "M": row["message"]})
                if diagnose(error).fault is not Fault.RECORD:
                    raise error
                refused.append(_refusal(ordered[row["place"] - 1].record, error))
        return sum(row["written"] for row in rows), refused

    async def _stage(self, ordered: Candidates) -> list[Rejected]:
        """Stage rows. Rows that not even the stage can hold are found by bisection."""
        await self._clear_stage()
        refused, parts = list[Rejected](), [(1, ordered)]
        while parts:
            place, part = parts.pop()
            try:
                async with self._savepoint():
                    await self._copy_staged(part, place)
            except RefusedError as error:
                middle = len(part) // 2
                if middle == 0:
                    refused.append(_refusal(part[0].record, error.cause))
                else:
                    parts += [(place + middle, part[middle:]), (place, part[:middle])]
        return refused

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        """Undo everything inside if a row is refused.

        Raises:
            RefusedError: a row was refused; the transaction continues.
        """
        await self._connection.execute(statement("set_savepoint"))
        try:
            yield
        except (asyncpg.PostgresError, asyncpg.PostgresWarning, asyncpg.InterfaceError) as error:
            others = (asyncpg.FeatureNotSupportedError, asyncpg.LockNotAvailableError)
            if diagnose(error).fault is not Fault.RECORD and not isinstance(error, others):
                raise
            await self._connection.execute("ROLLBACK TO SAVEPOINT rows")
            raise RefusedError(error) from None
        # The savepoint is not released: the end of the transaction does that without a round trip.

    async def _clear_stage(self) -> None:
        if self._is_staged:
            await self._connection.execute("TRUNCATE pattern_metrics_stage")
        self._is_staged = True  # stays true after a rollback to a savepoint, which restores the earlier rows

    async def _copy_staged(self, ordered: Candidates, first_place: int) -> None:
        if isinstance(ordered[0], Retired):
            retired = cast("Sequence[Retired]", ordered)
            data = staged_retirements((each.event for each in retired), first_place)
            await self._copy("pattern_metrics_stage", COLUMNS_OF_RETIREMENT, data)
        else:
            measured = cast("Sequence[Accepted]", ordered)
            data = staged((each.event for each in measured), first_place)
            await self._copy("pattern_metrics_stage", COLUMNS_OF_STAGE, data)

    async def _copy_new(self, new: Sequence[Accepted]) -> int:
        series = first_id(time.time_ns() // 1_000_000, secrets.randbits(73))
        data = new_rows((each.event for each in new), series)
        return _count(await self._copy("pattern_quality_metrics", COLUMNS_OF_TABLE, data))

    async def _copy(self, table: str, columns: Sequence[str], data: AsyncIterator[bytes]) -> str:
        # asyncpg's own limit does not run while a connection takes no more data.
        async with asyncio.timeout(STATEMENT_SECONDS_MAX):
            return await self._connection.copy_to_table(table, source=data, columns=columns, format="binary")


def _count(status: str) -> int:
    """Return the number of rows that a statement wrote, from the server's command tag."""
    return int(status.rpartition(" ")[2])


def _sorted(candidates: Iterable[CandidateT]) -> list[CandidateT]:
    """Sort by pattern, so that concurrent writers never deadlock."""
    return sorted(candidates, key=lambda each: each.event.pattern_id)


def _refusal(record: Record, error: Exception) -> Rejected:
    # Leave out the detail of the server's report, because it repeats the row's values.
    sqlstate = getattr(error, "sqlstate", None) or "client"
    return Rejected(record, RejectReason.REFUSED_BY_DATABASE, storable_text(f"{sqlstate}: {error.args[0]}"))
