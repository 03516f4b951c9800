"""One batch → one PostgreSQL transaction."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import orjson

from consumer.connecting import connect
from consumer.copying import COLUMNS_OF_STAGE, COLUMNS_OF_TABLE, first_id, new_rows, staged
from consumer.faults import Fault, diagnose
from consumer.offsets import OffsetRange, Start
from consumer.records import Accepted, Event, Record, Rejected, storable_text
from consumer.sql import statement
from schemas.dead_letter import RejectReason

CONNECT_SECONDS_MAX: Final = 10
CLOSE_SECONDS_MAX: Final = 2
STATEMENT_SECONDS_MAX: Final = 45
"""A statement that takes longer is given up, with its connection: it may be half-open."""

_SERVER_SETTINGS: Final = {
    "application_name": "pattern-metrics",
    # The server gives up a little before the client does, so that no lock outlives a client that is gone.
    "statement_timeout": "40s",
    "idle_in_transaction_session_timeout": "30s",
    # A batch's rows are looked up by their index, however many the table has: the planner, which does not
    # know the stage's size, would read all of a table of 100,000 rows for each batch.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # It does not count a COPY whose client is gone: only the network can tell.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

Connection: TypeAlias = "asyncpg.Connection[Any]"

_Order: TypeAlias = tuple[datetime, UUID | None]
"""Of a row: when it was measured, and by which event. Null, which others wrote, counts as the smallest."""

Partition: TypeAlias = tuple[str, int]
"""A topic and a partition number (aiokafka's `TopicPartition` is one)."""


class ProgressLostError(Exception):
    """The database no longer has what this worker wrote: it was restored, or failed over with loss."""


class RefusedError(Exception):
    """PostgreSQL, or its driver, does not take a row, or not in this way.

    Attributes:
        cause: what it said.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class Store:
    """The worker's one connection to PostgreSQL, opened when needed and given up after any failure.

    Args:
        database_url: any DSN that asyncpg knows.
        keeps_history: whether every measurement is kept as well (HISTORY_ENABLED).

    Attributes:
        updates_first: as of `StoreTransaction`, for the next one: what the last one found.
    """

    def __init__(self, database_url: str, *, keeps_history: bool = False) -> None:
        self._database_url = database_url
        self._keeps_history = keeps_history
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._before_upsert: str | None = None
        self.updates_first = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["StoreTransaction"]:
        """A transaction, one at a time; after an error a retry begins with a new connection.

        Raises:
            asyncpg.PostgresError: PostgreSQL refused (see `faults.diagnose`).
            asyncpg.InterfaceError: the connection broke.
            OSError: PostgreSQL is not reachable.
            TimeoutError: it did not answer in time.
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
                self.updates_first = within.updates_first
            except BaseException:
                self.terminate()  # which rolls back, and does not wait for an answer as ROLLBACK would
                raise

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await connect(
                self._database_url,
                timeout=CONNECT_SECONDS_MAX,
                command_timeout=STATEMENT_SECONDS_MAX,
                server_settings=dict(_SERVER_SETTINGS),
            )
            self._connection = connection
            await connection.execute(statement("set_transaction_timeout"))
            await self._prepare(connection)
        return self._connection

    async def _prepare(self, connection: Connection) -> None:
        """Make what the statements need and a new connection lacks."""
        await connection.execute(statement("create_stage"))

    def terminate(self) -> None:
        """Drop the connection at once, without a word to a server that may not listen."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection; a server that does not answer is not waited for."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close(timeout=CLOSE_SECONDS_MAX)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[Connection]:
    """A connection of its own, for a command that does one thing; no statement is limited in time.

    Raises:
        UnfitDatabaseError: as `connecting.connect`.
        asyncpg.PostgresError: PostgreSQL refused.
        OSError: PostgreSQL is not reachable.
    """
    connection = await connect(
        database_url,
        timeout=CONNECT_SECONDS_MAX,
        server_settings={"application_name": _SERVER_SETTINGS["application_name"]},
    )
    try:
        yield connection
    except BaseException:
        connection.terminate()
        raise
    await connection.close()


async def missing_rights(database_url: str) -> list[str]:
    """What a worker needs to do in the migrated database, and its login may not."""
    async with connected(database_url) as connection:
        rows = await connection.fetch(statement("select_missing_rights"))
    return [row[0] for row in rows]


class StoreTransaction:
    """What can be done inside one transaction.

    Args:
        connection: the transaction's.
        keeps_history: whether every measurement is kept as well.
        before_upsert: a statement to run between the stage and the upsert (see `ShadowStore`).
        updates_first: whether rows are updated before it is asked which are there.

    Attributes:
        connection: for statements of one command alone.
        keeps_history: as given.
        updates_first: whether that would have been best: every pattern merged had a row, and a newer event.
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
        self.updates_first = updates_first
        self._before_upsert = before_upsert
        self._is_staged = False

    async def merge(self, latest: Iterable[Accepted]) -> tuple[int, list[Rejected]]:
        """Merge the latest event of each pattern into the table.

        A row that PostgreSQL refuses takes no neighbour along.

        Returns:
            How many rows were inserted or updated, and the records whose rows were refused.
        """
        ordered = _sorted(latest)
        await self.connection.execute(statement("set_constraints_immediate"))
        if self._before_upsert is None and ordered:
            try:
                merge = self._update_first if self.updates_first else self._merge_known
                return await merge(ordered), []
            except RefusedError:
                self.updates_first = False
                # Somebody else inserted a pattern in between, or holds one; a row is refused; the table takes
                # no COPY, for its row-level security: the one statement that knows the law tells row by row.
        return await self._merge(ordered, statement("upsert_patterns"))

    async def merge_history(self, measurements: Iterable[Accepted]) -> tuple[int, list[Rejected]]:
        """Keep one event of each pattern and time of measurement, likewise."""
        await self.connection.execute(statement("set_constraints_immediate"))
        return await self._merge(_sorted(measurements), statement("upsert_history"))

    async def _merge_known(self, ordered: Sequence[Accepted]) -> int:
        """Merge by what the table holds: new patterns straight into it, newer measurements by the law.

        The measurements that are superseded by now remain so, whatever is written meanwhile.

        Raises:
            RefusedError: something was refused, and nothing is written.
        """
        present = await self._present(ordered)
        new = [one for one in ordered if one.event.pattern_id not in present]
        there = (one for one in ordered if one.event.pattern_id in present) if present else ()
        newer = [one for one in there if _supersedes(one.event, present[one.event.pattern_id])]
        self.updates_first = len(newer) == len(ordered)
        async with self._savepoint():
            applied = await self._copy_new(new) if new else 0
            if newer:
                async with self._out_of_order() if new else nullcontext():
                    applied += await self._update(newer)
            return applied

    async def _update_first(self, ordered: Sequence[Accepted]) -> int:
        """Merge what is likely to be newer measurements of patterns that have a row.

        A fifth of what PostgreSQL does for an update is to be asked before whether the row is there. Where
        some are not, or hold what is newer, the law decides on the whole stage.

        Raises:
            RefusedError: as `_merge_known`.
        """
        async with self._savepoint():
            applied = await self._update(ordered)
            self.updates_first = applied == len(ordered)
            if not self.updates_first:
                async with self._out_of_order():
                    applied += _count(
                        await self.connection.execute(statement("upsert_patterns"), 1, len(ordered))
                    )
            return applied

    async def _update(self, newer: Sequence[Accepted]) -> int:
        """Bring them into the rows that are there, by way of the stage; how many rows that were."""
        await self._clear_stage()
        await self._copy_staged(newer, 1)
        return _count(await self.connection.execute(statement("update_patterns")))

    @asynccontextmanager
    async def _out_of_order(self) -> AsyncIterator[None]:
        """Writers that lock patterns in one order never deadlock; a second run through them is not in it."""
        await self.connection.execute(statement("set_lock_timeout"))
        yield
        await self.connection.execute(statement("set_lock_timeout_default"))

    async def _present(self, ordered: Sequence[Accepted]) -> dict[UUID, _Order]:
        """The patterns among those of the events that have a row, and the order of each."""
        patterns = [one.event.pattern_id for one in ordered]
        rows = await self.connection.fetch(statement("select_present"), patterns)
        return {pattern: (measured_at, event_id) for pattern, measured_at, event_id in rows}

    async def _merge(self, ordered: Sequence[Accepted], law: str) -> tuple[int, list[Rejected]]:
        """Merge by the law alone: all at once or, where something is refused, row by row."""
        if not ordered:
            return 0, []
        refused = await self._stage(ordered)
        if self._before_upsert is not None:
            await self.connection.execute(self._before_upsert)
        try:
            async with self._savepoint():
                return _count(await self.connection.execute(law, 1, len(ordered))), refused
        except RefusedError:
            applied, others = await self._merge_row_by_row(ordered, law)
            return applied, refused + others

    async def _merge_row_by_row(self, ordered: Sequence[Accepted], law: str) -> tuple[int, list[Rejected]]:
        """In one statement, whatever is refused: its time is limited, and grows with the rows alone."""
        await self.connection.execute(statement("create_row_writer").replace("NULL; -- the law", f"{law};"))
        rows = await self.connection.fetch(statement("select_row_by_row"), len(ordered))
        refused = []
        for row in rows:
            if row["state"] is not None:
                error = asyncpg.PostgresError.new({"C": row["state"], "M": row["message"]})
                if diagnose(error).fault is not Fault.RECORD:
                    raise error
                refused.append(_refusal(ordered[row["place"] - 1].record, error))
        return sum(row["written"] for row in rows), refused

    async def _stage(self, ordered: Sequence[Accepted]) -> list[Rejected]:
        """Stage rows, and bisect for those that not even the stage can hold."""
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
        """What is written inside, or none of it where something is refused.

        Raises:
            RefusedError: it was; the transaction goes on.
        """
        savepoint = self.connection.transaction()
        await savepoint.start()
        try:
            yield
        except (asyncpg.PostgresError, asyncpg.PostgresWarning, asyncpg.InterfaceError) as error:
            others = (asyncpg.FeatureNotSupportedError, asyncpg.LockNotAvailableError)
            if diagnose(error).fault is not Fault.RECORD and not isinstance(error, others):
                raise
            await savepoint.rollback()
            raise RefusedError(error) from None
        await savepoint.commit()

    async def _clear_stage(self) -> None:
        if self._is_staged:
            await self.connection.execute(statement("clear_stage"))
        self._is_staged = True  # also where it is undone: a savepoint brings back what was there before

    async def _copy_staged(self, ordered: Sequence[Accepted], first_place: int) -> None:
        data = staged((one.event for one in ordered), first_place)
        await self._copy("pattern_metrics_stage", COLUMNS_OF_STAGE, data)

    async def _copy_new(self, new: Sequence[Accepted]) -> int:
        series = first_id(time.time_ns() // 1_000_000, secrets.randbits(73))
        data = new_rows((one.event for one in new), series)
        return _count(await self._copy("pattern_quality_metrics", COLUMNS_OF_TABLE, data))

    async def _copy(self, table: str, columns: Sequence[str], data: AsyncIterator[bytes]) -> str:
        # asyncpg's own limit does not count while a connection takes no more of the data.
        async with asyncio.timeout(STATEMENT_SECONDS_MAX):
            return await self.connection.copy_to_table(table, source=data, columns=columns, format="binary")

    async def insert_dead_letters(self, rejected: Iterable[Rejected]) -> None:
        """Set records aside with their exact bytes, coordinates and reason; one already there stays."""
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
        """Say that everything of these ranges is written.

        Raises:
            ProgressLostError: the database does not hold what lies before a range.
        """
        advanced = await self.connection.fetch(
            statement("advance_progress"),
            group,
            [topic for topic, _ in ranges],
            [partition for _, partition in ranges],
            [offsets.start for offsets in ranges.values()],
            [offsets.end for offsets in ranges.values()],
            [offsets.topic_id for offsets in ranges.values()],
        )
        if len(advanced) < len(ranges):
            raise ProgressLostError

    async def progress(self, group: str, topic: str, topic_id: UUID | None = None) -> dict[Partition, int]:
        """The next offset to read of each partition, as far as the database knows it.

        It is 0 where the database knows a topic of the same name with another ID.
        """
        rows = await self.connection.fetch(statement("select_progress"), group, topic, topic_id)
        return {(topic, row["partition"]): row["next_offset"] for row in rows}

    async def begin_at(
        self, group: str, starts: Mapping[Partition, Start], topic_id: UUID | None = None
    ) -> None:
        """Write down where reading starts, and the gaps that retention left before it."""
        progress = [(group, *partition, start.offset, topic_id) for partition, start in starts.items()]
        gaps = [
            (group, *partition, start.gap.start, start.gap.last)
            for partition, start in starts.items()
            if start.gap is not None
        ]
        await self.connection.executemany(statement("set_progress"), progress)
        await self.connection.executemany(statement("insert_gap"), gaps)


def _supersedes(event: Event, present: _Order) -> bool:
    """Whether to send it: the law, which in `update_patterns` decides again on the row as it is by then."""
    measured_at, event_id = present
    return event.measurement_timestamp >= measured_at if event_id is None else event.order > present


def _count(status: str) -> int:
    """How many rows a statement wrote, as the server says."""
    return int(status.rpartition(" ")[2])


def _sorted(accepted: Iterable[Accepted]) -> list[Accepted]:
    """By pattern, so that writers that meet never deadlock."""
    return sorted(accepted, key=lambda one: one.event.pattern_id)


def _refusal(record: Record, error: Exception) -> Rejected:
    # Of the server's report the detail line is left out: it repeats the row's values.
    sqlstate = getattr(error, "sqlstate", None) or "client"
    return Rejected(record, RejectReason.REFUSED_BY_DATABASE, storable_text(f"{sqlstate}: {error.args[0]}"))


def _headers_json(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Headers for a person: text where it is text, else hexadecimal. Kafka allows a name more than once."""
    rows = []
    for name, value in headers:
        try:
            shown = None if value is None else storable_text(value.decode())
            rows.append({"key": storable_text(name), "value": shown})
        except UnicodeDecodeError:
            rows.append({"key": storable_text(name), "value_hex": (value or b"").hex()})
    return orjson.dumps(rows).decode()
