"""Stores a batch in one PostgreSQL transaction."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from pattern_metrics.consumer.faults.diagnosis import UnfitDatabaseError, said_by
from pattern_metrics.consumer.postgres.connection import (
    SERVER_SETTINGS,
    STATEMENT_SECONDS_MAX,
    Connection,
    connect,
    connected,
)
from pattern_metrics.consumer.postgres.later_clock import LaterClock
from pattern_metrics.consumer.postgres.merger import Merger
from pattern_metrics.consumer.postgres.sql import statement
from pattern_metrics.consumer.records.offsets import NO_TOPIC_ID, OffsetRange, Partition, Progress, Start
from pattern_metrics.consumer.records.record import Rejected
from pattern_metrics.consumer.records.text import storable_text
from pattern_metrics.schemas.settings.timing import TIMING, Timing

DISCONNECT_SECONDS_MAX: Final = 2


class ProgressLostError(Exception):
    """The database no longer has what this worker wrote: it was restored, or failed over with loss."""


class Store:
    """One connection of the worker to PostgreSQL, opened when needed and dropped after any failure.

    Args:
        database_url: as in DATABASE_URL.
        keeps_history: whether every measurement is kept as well (HISTORY_ENABLED).
        timing: `stage` limits the age of the stage, and the time that an unused connection is kept.
        clock: compared with PostgreSQL's at each new connection.

    Attributes:
        clock: the argument.
        updates_first: the option of the next `Merger`: what the last one found to be faster.
    """

    def __init__(
        self,
        database_url: str,
        *,
        keeps_history: bool = False,
        timing: Timing = TIMING,
        clock: LaterClock | None = None,
    ) -> None:
        self.clock = clock or LaterClock()
        self._database_url = database_url
        self._keeps_history = keeps_history
        self._stage_seconds_max = timing.stage
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._before_upsert: str | None = None
        self._stage_renewed_at = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self.updates_first = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["StoreTransaction"]:
        """Open a transaction, one at a time. After an error, the next one begins with a new connection.

        Raises:
            UnfitDatabaseError: tables or rights are missing; the message names all of them.
            asyncpg.PostgresError: PostgreSQL refused (see `faults.diagnosis`).
            asyncpg.InterfaceError: the connection broke.
            OSError: PostgreSQL cannot be reached.
            TimeoutError: PostgreSQL did not answer in time.
        """
        async with self._lock:
            try:
                connection = await self._connected()
                transaction = connection.transaction()
                await transaction.start()
                within = StoreTransaction(
                    connection,
                    keeps_history=self._keeps_history,
                    before_upsert=self._before_upsert,
                    updates_first=self.updates_first,
                )
                yield within
                await transaction.commit()
                self.updates_first = within.table.updates_first
                self._expire_later()
            except (
                asyncpg.UndefinedTableError,
                asyncpg.UndefinedColumnError,
                asyncpg.UndefinedFunctionError,
                asyncpg.InsufficientPrivilegeError,
            ) as error:
                self.terminate()
                await self._report_all_missing(error)
                raise
            except BaseException:
                self.terminate()  # rolls back too, without the wait for an answer to ROLLBACK
                raise

    async def compare_clocks(self) -> None:
        """Compare the clocks now: batches are decoded by them, and no transaction may have been opened yet.

        Raises:
            Exception: see `transaction`.
        """
        async with self.transaction() as transaction:
            await self.clock.compare(transaction.connection)

    async def _connected(self) -> Connection:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self._connection is None or self._connection.is_closed():
            connection = await connect(
                self._database_url, SERVER_SETTINGS, command_timeout=STATEMENT_SECONDS_MAX
            )
            self._connection = connection
            await connection.execute(statement("set_transaction_timeout"))
            await self._prepare(connection)
            await self.clock.compare(connection)
            self._stage_renewed_at = time.monotonic()
        elif time.monotonic() - self._stage_renewed_at >= self._stage_seconds_max:
            await self._connection.execute("TRUNCATE pattern_metrics_stage")
            self._stage_renewed_at = time.monotonic()
        return self._connection

    def _expire_later(self) -> None:
        """Close the connection after `stage` seconds without use."""
        self._expiry = asyncio.get_running_loop().call_later(self._stage_seconds_max, self.terminate)

    async def _prepare(self, connection: Connection) -> None:
        """Create what the statements need in a new connection.

        Raises:
            asyncpg.UndefinedFunctionError: the database lacks revision 020; nothing was written.
        """
        await connection.execute(statement("select_law"))
        await connection.execute(statement("create_stage"))

    async def _report_all_missing(self, error: asyncpg.PostgresError) -> None:
        """Find everything that is missing: the error of a statement names only one table or right.

        Raises:
            UnfitDatabaseError: something is missing.
        """
        try:
            await require_all(self._database_url, keeps_history=self._keeps_history)
        except UnfitDatabaseError as lacking:
            lacking.add_note(said_by(error))
            raise lacking from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return  # the caller then raises the error itself

    def terminate(self) -> None:
        """Drop the connection at once, without a message to a server that may not listen."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection, without a long wait for a server that does not answer."""
        if self._expiry is not None:
            self._expiry.cancel()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close(timeout=DISCONNECT_SECONDS_MAX)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()


@dataclass(frozen=True, slots=True)
class Lacking:
    """Everything that a worker lacks in the database, with the remedy; empty texts if it lacks nothing."""

    relations: str
    rights: str


async def find_lacking(database_url: str, *, keeps_history: bool) -> Lacking:
    """Find all tables, functions and rights that a worker lacks. The history counts only if it is kept.

    Raises:
        Exception: see `connect`.
    """
    async with connected(database_url, SERVER_SETTINGS) as connection:
        rows = await connection.fetch(statement("select_lacking"), keeps_history)
    relations = ", ".join(row["relation"] for row in rows if row["privilege"] is None)
    rights = ", ".join(
        f"{row['privilege']} on {row['relation']}" for row in rows if row["privilege"] is not None
    )
    return Lacking(
        relations
        and f"tables, columns or functions are missing ({relations}): run `pattern-metrics migrate up`, or "
        "check search_path",
        rights
        and f"the user of DATABASE_URL lacks a right ({rights}): run `pattern-metrics migrate up` as the "
        "owner, and make the user a member of pattern_metrics_worker",
    )


async def require_all(database_url: str, *, keeps_history: bool) -> None:
    """Check that a worker lacks nothing in the database.

    Raises:
        UnfitDatabaseError: tables or rights are missing; the message names all of them.
        Exception: see `connect`.
    """
    lacking = await find_lacking(database_url, keeps_history=keeps_history)
    if missing := "; ".join(filter(None, (lacking.relations, lacking.rights))):
        raise UnfitDatabaseError(missing)


class StoreTransaction:
    """The operations inside one transaction.

    Args:
        connection: the transaction's connection.
        keeps_history: whether every measurement is kept as well.
        before_upsert: see `Merger`.
        updates_first: see `Merger`.

    Attributes:
        connection: the argument, for statements that only one command needs.
        keeps_history: the argument.
        table: merges events into the table and the history.

    Raises:
        Exception: each method raises the errors of `Store.transaction`.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        keeps_history: bool,
        before_upsert: str | None = None,
        updates_first: bool = False,
    ) -> None:
        self.connection = connection
        self.keeps_history = keeps_history
        self.table = Merger(connection, before_upsert=before_upsert, updates_first=updates_first)

    async def insert_dead_letters(self, rejected: Iterable[Rejected]) -> None:
        """Store dead letters, with exact bytes, coordinates and reason. An existing letter stays."""
        rows = [
            (
                letter.record.topic,
                letter.record.partition,
                letter.record.offset,
                letter.record.timestamp,
                letter.record.key,
                letter.record.value,
                _headers_json(letter.record.headers),
                letter.reason,
                letter.detail,
            )
            for letter in rejected
        ]
        if rows:
            await self.connection.executemany(statement("insert_dead_letter"), rows)

    async def advance_progress(self, group: str, ranges: Mapping[Partition, OffsetRange]) -> None:
        """Record that all records of these ranges are written.

        Raises:
            ProgressLostError: the database does not have the records before a range.
        """
        advanced = await self.connection.fetch(
            statement("advance_progress"),
            group,
            [topic for topic, _ in ranges],
            [partition for _, partition in ranges],
            [offsets.start for offsets in ranges.values()],
            [offsets.end for offsets in ranges.values()],
            [offsets.topic_id for offsets in ranges.values()],
            [offsets.leader_epoch for offsets in ranges.values()],
        )
        if len(advanced) < len(ranges):
            raise ProgressLostError

    async def progress(self, group: str, topic: str, topic_id: UUID) -> dict[Partition, Progress]:
        """Return the database's progress in each partition of a topic, as far as it is known."""
        rows = await self.connection.fetch(statement("select_progress"), group, topic, topic_id)
        return {(topic, row["partition"]): Progress(row["next_offset"], row["leader_epoch"]) for row in rows}

    async def known_by_another_id(self, group: str, topic: str, topic_id: UUID) -> set[Partition]:
        """Return the partitions in which the group has read another topic of the same name."""
        rows = await self.connection.fetch(statement("select_other_topics"), group, topic, topic_id)
        return {(topic, row["partition"]) for row in rows}

    async def begin_at(
        self, group: str, starts: Mapping[Partition, Start], topic_id: UUID = NO_TOPIC_ID
    ) -> None:
        """Record where reading starts in a topic, and the gaps before it."""
        progress = [
            (group, *partition, start.offset, topic_id, start.leader_epoch)
            for partition, start in starts.items()
        ]
        gaps = [
            (group, topic, topic_id, partition, start.gap.start, start.gap.last, start.reason)
            for (topic, partition), start in starts.items()
            if start.gap is not None
        ]
        await self.connection.executemany(statement("set_progress"), progress)
        await self.connection.executemany(statement("insert_gap"), gaps)


def _headers_json(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Return headers as a JSON list, because names may repeat. Bytes that are not text are hexadecimal."""
    rows = []
    for name, value in headers:
        try:
            shown = None if value is None else storable_text(value.decode())
            rows.append({"key": storable_text(name), "value": shown})
        except UnicodeDecodeError:
            rows.append({"key": storable_text(name), "value_hex": (value or b"").hex()})
    return orjson.dumps(rows).decode()
