"""`trace`: says what became of an event. It only reads."""

import re
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.kafka.broker import require_topic, topic_id
from pattern_metrics.consumer.kafka.topic import Advance, InvalidSliceError, Slice, read_topic
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import Fetch, connected
from pattern_metrics.consumer.records.decoding import decode
from pattern_metrics.consumer.records.record import Event, Record, Rejected
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.producer import home_partition
from pattern_metrics.schemas.uuid7 import time_of

Place: TypeAlias = tuple[str, int, int]
"""Topic, partition and offset of a record."""

CLOCKS_DIFFER: Final = timedelta(minutes=10)
"""The record of an event may be this much older than the time in its `event_id`, by another clock."""

_NAMING: Final = r'(?<![a-z0-9_-])event_id["\\:\s]+'
"""A regular expression, of Python and of PostgreSQL, for what stands before an event's id in its JSON."""


class State(StrEnum):
    """The places where an event can be, from the agent to the table."""

    OUTBOX = "outbox"
    REFUSED = "refused"
    IN_TOPIC = "in_topic"
    CURRENT = "current"
    SUPERSEDED = "superseded"
    IN_HISTORY = "in_history"
    DEAD_LETTER = "dead_letter"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Trace:
    """The place of an event between the agent and the table. A field that is not known is None.

    Attributes:
        state: its place.
        event_id: its id.
        pattern_id: its pattern.
        measurement_timestamp: the time of the measurement.
        noted_at: the time at which its row was last written, its record was refused, or the outbox stored it.
        published_at: the time at which the record was written to the topic, by its timestamp.
        topic: the topic of its record.
        partition: the record's partition.
        offset: the record's offset.
        superseded_by: the event that the current row holds in its place.
        superseding_timestamp: the time of that measurement.
        reason: the reason for which the record was refused.
        detail: the exact fault.
        searched: the places that were searched.

    A time that Python cannot hold is PostgreSQL's text.
    """

    state: State
    event_id: UUID
    pattern_id: UUID | None = None
    measurement_timestamp: datetime | str | None = None
    noted_at: datetime | str | None = None
    published_at: datetime | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    superseded_by: UUID | None = None
    superseding_timestamp: datetime | str | None = None
    reason: str | None = None
    detail: str | None = None
    searched: tuple[str, ...] = ()

    @property
    def is_found(self) -> bool:
        """True if any place has the event."""
        return self.state is not State.NOT_FOUND

    def after(self, place: str) -> "Trace":
        """Name a place that was searched before, if the event was not found."""
        return self if self.is_found else replace(self, searched=(place, *self.searched))

    def before(self, place: str) -> "Trace":
        """Name a place that was searched afterwards, if the event was not found."""
        return self if self.is_found else replace(self, searched=(*self.searched, place))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return {name: _as_json(getattr(self, name)) for name in self.__slots__}


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, UUID) else value


def trace_in_outbox(outbox: OutboxFile, event_id: UUID) -> Trace | None:
    """Look for an event that waits in the outbox, or that Kafka refused for good. None if neither is so.

    Raises:
        OutboxError: the file cannot be used.
    """
    row = outbox.find(event_id.bytes)
    if row is None:
        return None
    return Trace(
        State.OUTBOX if row.reason is None else State.REFUSED,
        event_id,
        UUID(bytes=row.pattern_id),
        measurement_timestamp=row.measured_at,
        noted_at=datetime.fromtimestamp(row.stored, UTC),
        reason=row.reason,
    )


async def trace_in_database(fetch: Fetch, event_id: UUID, pattern_id: UUID | None) -> Trace:
    """Look for an event in the current rows, in the history and in the dead letters.

    Args:
        fetch: runs a statement.
        event_id: the event.
        pattern_id: its pattern, if it is known. Then the rows are found by an index.

    Raises:
        asyncpg.PostgresError: a statement failed.
    """
    rows = await fetch(statement("select_trace"), event_id, pattern_id, f"{_NAMING}{event_id}")
    places = tuple(State)
    found = min(rows, key=lambda row: places.index(State(row["state"])), default=None)
    if found is None:
        return Trace(
            State.NOT_FOUND,
            event_id,
            pattern_id,
            searched=("the current rows, the history, the dead letters",),
        )
    return Trace(event_id=event_id, **{**found, "state": State(found["state"])})


async def trace(
    settings: WorkerSettings,
    event_id: UUID,
    *,
    pattern_id: UUID | None = None,
    at: Place | None = None,
    advance: Advance,
) -> Trace:
    """Look for an event in the database, and then in the topic, over a connection of its own.

    Args:
        settings: the database, the topic and the group.
        event_id: the event.
        pattern_id: its pattern, if it is known.
        at: the place of its record, if it is known.
        advance: called with the progress in the topic.

    Raises:
        Exception: see `trace_with`.
    """
    async with connected(settings.database_url.get_secret_value()) as connection:
        search = TopicSearch(settings, advance)
        return await trace_with(connection.fetch, search, event_id, pattern_id=pattern_id, at=at)


async def trace_with(
    fetch: Fetch,
    search: "TopicSearch",
    event_id: UUID,
    *,
    pattern_id: UUID | None = None,
    at: Place | None = None,
) -> Trace:
    """Look for an event in the database, and then in the topic.

    Args:
        fetch: runs a statement.
        search: searches the topic.
        event_id: the event.
        pattern_id: its pattern, if it is known.
        at: the place of its record, if it is known.

    Raises:
        asyncpg.PostgresError: a statement failed.
        KafkaError: the topic cannot be read.
        OSError: PostgreSQL or Kafka cannot be reached.
    """
    found = await trace_in_database(fetch, event_id, pattern_id)
    if found.is_found:
        return found if at is None else await _with_place(found, search, at)
    settings = search.settings
    record = await search.find(event_id, pattern_id, at)
    if record is None:
        for place in search.searched:
            found = found.before(place)
        return found
    is_read = await _is_read(fetch, settings, record)
    fate = decode(record, accepted_until=datetime.max.replace(tzinfo=UTC), envelope=settings.envelope)
    if not isinstance(fate, Rejected):
        # The pattern that was given may be wrong, and a worker may have written the row meanwhile.
        found = await trace_in_database(fetch, event_id, fate.event.pattern_id)
    found = replace(
        found,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        published_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        searched=(),
    )
    if found.is_found:
        return found
    if isinstance(fate, Rejected):
        state = State.DEAD_LETTER if is_read else State.IN_TOPIC
        return replace(found, state=state, reason=fate.reason, detail=fate.detail)
    rows = await fetch(statement("select_row_order"), fate.event.pattern_id)
    return _beside_the_row(found, fate.event, rows[0] if rows else None, is_read=is_read)


async def _with_place(found: Trace, search: "TopicSearch", at: Place) -> Trace:
    """Return the trace with the place, if the record there is the event's.

    The state is known, so that neither an outage of Kafka nor a wrong place is a failure.
    """
    if found.topic is not None:
        return found
    with suppress(KafkaError, OSError, InvalidSliceError):
        if await search.look_at(found.event_id, at):
            topic, partition, offset = at
            return replace(found, topic=topic, partition=partition, offset=offset)
    return found


async def _is_read(fetch: Fetch, settings: WorkerSettings, record: Record) -> bool:
    """Return whether the group has accounted for a record."""
    one = settings.model_copy(update={"kafka_topic": record.topic})
    place = record.topic, await topic_id(one), record.partition
    rows = await fetch(statement("select_next_offset"), settings.kafka_group_id, *place)
    return any(record.offset < row["next_offset"] for row in rows)


def _beside_the_row(found: Trace, event: Event, row: asyncpg.Record | None, *, is_read: bool) -> Trace:
    """Return the trace of a valid event in the topic that the table does not hold."""
    found = replace(
        found,
        state=State.IN_TOPIC,
        pattern_id=event.pattern_id,
        measurement_timestamp=event.measurement_timestamp,
    )
    if not is_read:
        return found
    if row is None:
        return replace(found, detail="it was read, and the table has no row of its pattern: replay it")
    return replace(
        found,
        state=State.SUPERSEDED,
        noted_at=row["updated_at"],
        superseded_by=row["event_id"],
        superseding_timestamp=row["measurement_timestamp"],
    )


class _TimeIsOverError(Exception):
    """The search has taken as long as it may."""


class TopicSearch:
    """A search for the record of an event in the topic.

    The topic is read first where the record most likely is: at its place, then in the partition of its
    pattern, then in all partitions; the latter two from the time on that an `event_id` of version 7 holds.

    Args:
        settings: the topic.
        advance: called with the progress in the topic.
        seconds_max: the time after which the search is given up between two polls; None for no limit.

    Attributes:
        settings: the topic.
        searched: the places that were searched without success, and how far.
    """

    def __init__(self, settings: WorkerSettings, advance: Advance, seconds_max: float | None = None) -> None:
        self.settings = settings
        self.searched = list[str]()
        self._advance = advance
        self._seconds_max = seconds_max
        self._begun_at = time.monotonic()
        self._progress = (0, 0)

    async def find(self, event_id: UUID, pattern_id: UUID | None, at: Place | None) -> Record | None:
        """Return the record of an event; None if no place has it, or if the time is over.

        Raises:
            KafkaError: the topic cannot be read.
            OSError: Kafka cannot be reached.
        """
        since = _earliest(event_id)
        if at is not None and (record := await self.look_at(event_id, at)):
            return record
        for one in self.settings.each_topic():
            slices = [Slice(since=since)]
            if pattern_id is not None:
                home = home_partition(str(pattern_id).encode(), await require_topic(one))
                slices.insert(0, Slice(partition=home, since=since))
            name = f"topic {one.kafka_topic} from {since.isoformat() if since else 'its beginning'} on"
            if record := await self._look(name, one, event_id, slices, None):
                return record
        return None

    async def look_at(self, event_id: UUID, at: Place) -> Record | None:
        """Return the record at a place, if it is that of an event.

        Raises:
            KafkaError: the topic cannot be read.
            OSError: Kafka cannot be reached.
            InvalidSliceError: the topic has no such partition.
        """
        topic, partition, offset = at
        one = self.settings.model_copy(update={"kafka_topic": topic})
        name = f"the record {topic}/{partition}/{offset}"
        return await self._look(name, one, event_id, [Slice(partition, offset)], offset)

    async def _look(
        self,
        name: str,
        settings: WorkerSettings,
        event_id: UUID,
        slices: Sequence[Slice],
        last_offset: int | None,
    ) -> Record | None:
        for which in slices:
            self._progress = (0, 0)
            try:
                record = await self._search(settings, event_id, which, last_offset)
            except _TimeIsOverError:
                done, total = self._progress
                part = "" if which.partition is None else f"partition {which.partition} of "
                self.searched.append(
                    f"{part}{name}: only about {done:,} of {total:,} offsets in {self._seconds_max:g} s"
                )
                return None
            if record is not None:
                return record
        self.searched.append(name)
        return None

    async def _search(
        self, settings: WorkerSettings, event_id: UUID, which: Slice, last_offset: int | None
    ) -> Record | None:
        async with aclosing(read_topic(settings, which, advance=self._go_on)) as batches:
            async for records in batches:
                for record in records:
                    if _names(record, event_id, settings.envelope):
                        return record
                    if last_offset is not None and record.offset >= last_offset:
                        return None
        return None

    def _go_on(self, done: int, total: int) -> None:
        self._progress = done, total
        self._advance(done, total)
        if self._seconds_max is not None and time.monotonic() - self._begun_at > self._seconds_max:
            raise _TimeIsOverError


def _names(record: Record, event_id: UUID, envelope: Sequence[str]) -> bool:
    """Return whether a record is that of an event. If it holds no valid event, header and text decide."""
    wanted = str(event_id).encode()
    is_headed = any(name == "ce_id" and value == wanted for name, value in record.headers)
    value = (record.value or b"").lower()
    if not is_headed and wanted not in value:
        return False
    fate = decode(record, accepted_until=datetime.max.replace(tzinfo=UTC), envelope=envelope)
    if not isinstance(fate, Rejected):
        return fate.event.event_id == event_id
    return is_headed or re.search(f"{_NAMING}{event_id}".encode(), value) is not None


def _earliest(event_id: UUID) -> datetime | None:
    """Return the earliest time at which the record of an event was written, if its id holds a time."""
    made_at = time_of(event_id)
    return None if made_at is None else made_at - CLOCKS_DIFFER
