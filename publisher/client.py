"""`ScorePublisher` and `BlockingScorePublisher`: clients with which an agent publishes its scores."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar, Unpack
from uuid import UUID

from aiokafka.errors import KafkaError

from pattern_metrics.publisher.outbox.outbox import Outbox
from pattern_metrics.publisher.outbox.place import OutboxError
from pattern_metrics.publisher.outbox.row import SOURCE_DEFAULT
from pattern_metrics.publisher.producer import Producer
from pattern_metrics.publisher.records import (
    Acknowledged,
    EncodedRecord,
    Headers,
    Outcome,
    Refused,
    Unacknowledged,
    encode,
)
from pattern_metrics.publisher.score import RetirementDetails, Score, retirement_event, score_event
from pattern_metrics.publisher.tracing import publishing
from pattern_metrics.schemas.pattern_retired import PatternEvent
from pattern_metrics.schemas.pattern_scored import require_past
from pattern_metrics.schemas.settings.clock import ClockSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from pattern_metrics.schemas.settings.outbox import OutboxSettings

T = TypeVar("T")

OutboxPath: TypeAlias = str | os.PathLike[str] | Literal[False]

DELIVERY_SECONDS: Final = 30.0
"""Default of the longest wait, in seconds, for the acknowledgement of one event."""

DELIVERY_SECONDS_MAX: Final = 86_400.0
"""A day."""

_CLOSE_SECONDS: Final = 5.0
"""Seconds that leaving a publisher may take beyond that. By then each call in flight has ended."""

IN_FLIGHT_MAX: Final = 5_000
"""Events that one call has in flight at a time. It bounds the memory of a call, as the next limit does."""

IN_FLIGHT_BYTES_MAX: Final = 8 * 1024 * 1024

_ERRORS_SHOWN: Final = 3

_ALIVE_SECONDS: Final = 1.0

_CLOSED: Final = "a publisher publishes inside its `with` block"

_FORKED: Final = "this process was forked from one with an open publisher: open a publisher in the child"


@dataclass(frozen=True, slots=True)
class Published:
    """An event, and its place in the topic, which is None while the event waits in the outbox."""

    event: PatternEvent
    topic: str
    partition: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that the broker will never accept, and why."""

    event: PatternEvent
    reason: str


class PublishError(Exception):
    """Events were not published.

    Attributes:
        unacknowledged: events that may have arrived, in the order of the call. To publish them again is safe.
        refused: events that the broker will never accept, for example because they are too large.
        published: the other events of the call, with their places.
    """

    def __init__(
        self,
        unacknowledged: Sequence[PatternEvent],
        cause: BaseException | None = None,
        *,
        refused: Sequence[RefusedEvent] = (),
        published: Sequence[Published] = (),
    ) -> None:
        self.unacknowledged = tuple(unacknowledged)
        self.refused = tuple(refused)
        self.published = tuple(published)
        parts = []
        if self.refused:
            reasons = ", ".join(dict.fromkeys(one.reason for one in self.refused))
            parts.append(_named([one.event for one in self.refused], f"refused ({reasons})"))
        why = str(cause) or type(cause).__name__
        if self.unacknowledged:
            parts.append(_named(self.unacknowledged, f"not acknowledged ({why})"))
        super().__init__("; ".join(parts) or f"no event can be published ({why})")


def _named(events: Sequence[PatternEvent], what: str) -> str:
    ids = ", ".join(str(event.event_id) for event in events[:_ERRORS_SHOWN])
    more = f" and {len(events) - _ERRORS_SHOWN} more" if len(events) > _ERRORS_SHOWN else ""
    return f"{len(events)} events {what}: {ids}{more}"


class ScorePublisher:
    """Publishes events with an idempotent producer that waits for all in-sync replicas.

    An asynchronous context manager, for any number of tasks of one event loop. Leaving it waits, for at most
    5 s longer than `delivery_seconds`, until the calls in flight have returned or raised. A process that is
    forked inside the block opens a publisher of its own.

    Args:
        settings: the broker and the topic; by default, the environment's.
        source: the CloudEvents `source`, a URI reference that names the agent.
        delivery_seconds: the longest wait for the acknowledgement of one event, and for a broker on entry.
        outbox: the file of the outbox; by default OUTBOX_PATH, and False for none. With an outbox, each call
            returns once its events are synced to this file, without any broker. They are delivered in the
            background while the publisher is open, and later by any other publisher or `outbox flush`.

    Raises:
        ValueError: KAFKA_TOPIC names several topics, `source` is no text that a header can hold, or
            `delivery_seconds` is out of range.
        PublishError: on entry, no broker can be reached within that time, or it refuses the login. Its
            `__cause__` is the client's error.
        OSError: on entry, a file that a setting names cannot be read.
    """

    def __init__(
        self,
        settings: KafkaSettings | None = None,
        *,
        source: str = SOURCE_DEFAULT,
        delivery_seconds: float = DELIVERY_SECONDS,
        outbox: OutboxPath | None = None,
    ) -> None:
        _require_source(source)
        if not 0 < delivery_seconds <= DELIVERY_SECONDS_MAX:
            raise ValueError(f"delivery_seconds: is not from 0 to {DELIVERY_SECONDS_MAX:g}")
        self._settings = settings or KafkaSettings()
        self._delivery_seconds = delivery_seconds
        if len(self._settings.kafka_topics) > 1:
            raise ValueError("KAFKA_TOPIC names several topics; to publish, name one")
        self._clock = ClockSettings()
        self._source = source
        path = OutboxSettings().outbox_path if outbox is None else outbox
        self._outbox = Outbox(path, self._settings, source, delivery_seconds) if path else None
        self._is_open = False
        self._producer: Producer | None = None
        self._calls = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def __aenter__(self) -> Self:
        if self._outbox is not None:
            try:
                await self._outbox.open()
            except OutboxError as error:
                raise PublishError((), error) from error
            self._is_open = True
            return self
        producer = Producer(self._settings, self._delivery_seconds)
        try:
            await producer.open()
        except (KafkaError, TimeoutError) as error:
            raise PublishError((), error) from error
        self._producer = producer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outbox is not None:
            self._is_open = False
            await self._outbox.close()
        producer, self._producer = self._producer, None
        if producer is not None and not producer.is_forked:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._delivery_seconds + _CLOSE_SECONDS):
                    await self._is_idle.wait()
            await producer.close()

    async def publish(self, event: PatternEvent) -> Published:
        """Publish one event, wait until it is acknowledged, and return its place in the topic.

        Raises:
            PublishError: it was not acknowledged within `delivery_seconds`, or it was refused.
            InvalidEventError: see `publish_many`.
            RuntimeError: the publisher is not inside its `async with` block, or a process was forked there.
        """
        (published,) = await self.publish_many((event,))
        return published

    async def publish_score(self, **score: Unpack[Score]) -> Published:
        """Publish one score. Its event has a new `event_id`, and now as its time, unless they are given.

        Args:
            **score: see `Score`: `pattern` (its id or name), `quality_score` and `confidence`; and if you
                like `dimensions`, `metadata`, `version`, `measured_at` and `event_id`.

        Raises:
            PublishError: see `publish`. Its `unacknowledged` has the event: to publish this event is a retry.
            ValueError: a value is not valid.
            InvalidEventError: see `publish_many`.
            RuntimeError: see `publish`.
        """
        return await self.publish(score_event(**score))

    async def retire(
        self, pattern: UUID | str, *, because: str | None = None, **retirement: Unpack[RetirementDetails]
    ) -> Published:
        """Publish the retirement of a pattern: its row leaves the table, until a newer measurement.

        Args:
            pattern: its id, or its name; see `pattern_id_of`.
            because: the reason, for people, of at most 200 characters.
            **retirement: see `RetirementDetails`.

        Raises:
            Exception: see `publish_score`.
        """
        return await self.publish(retirement_event(pattern, because, **retirement))

    async def publish_many(self, events: Sequence[PatternEvent]) -> list[Published]:
        """Publish events, many in flight at once, wait until all are acknowledged, and return their places.

        Raises:
            PublishError: names every event that was not acknowledged or refused. A refused event holds no
                other back. After the first events that were not acknowledged no further ones are sent.
            InvalidEventError: an event was measured more than MAX_CLOCK_SKEW_SECONDS in the future, so no
                consumer would accept it. No event was sent.
            RuntimeError: see `publish`.
        """
        if self._outbox is not None:
            with self._storing(events) as headers:
                return self._stored(events, *await self._outbox.put(events, headers))
        producer = self._producer
        if producer is None:
            raise RuntimeError(_CLOSED)
        if producer.is_forked:
            raise RuntimeError(_FORKED)
        self._require_past(events)
        self._calls += 1
        self._is_idle.clear()
        try:
            with publishing(self._settings.kafka_topic, len(events)) as headers:
                return await self._publish(producer, events, headers)
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._is_idle.set()

    def _require_past(self, events: Sequence[PatternEvent]) -> None:
        accepted_until = self._clock.accepted_until(datetime.now(UTC))
        for event in events:
            require_past(event, accepted_until=accepted_until)

    def _storing(self, events: Sequence[PatternEvent]) -> AbstractContextManager[Headers]:
        """Check events before they are stored, and open the span around it."""
        if not self._is_open:
            raise RuntimeError(_CLOSED)
        self._require_past(events)
        return publishing(self._settings.kafka_topic, len(events))

    def _stored(
        self, events: Sequence[PatternEvent], count: int, error: OutboxError | None
    ) -> list[Published]:
        published = [Published(event, self._settings.kafka_topic) for event in events[:count]]
        if error is not None:
            raise PublishError(events[count:], error, published=published) from error
        return published

    def store(self, events: Sequence[PatternEvent]) -> list[Published] | None:
        """Store events without an event loop. Return None if there is no outbox."""
        if self._outbox is None:
            return None
        with self._storing(events) as headers:
            return self._stored(events, *self._outbox.put_blocking(events, headers))

    async def _publish(
        self, producer: Producer, events: Sequence[PatternEvent], headers: Headers
    ) -> list[Published]:
        outcomes = list[Outcome]()
        failure: Exception | None = None
        for records in self._parts(events, headers):
            part = await producer.deliver(records)
            outcomes += part
            failure = next((one.error for one in part if isinstance(one, Unacknowledged)), None)
            if failure is not None:
                break
        pairs = list(zip(events, outcomes, strict=False))
        published = [
            Published(event, to.topic, to.partition, to.offset)
            for event, to in pairs
            if isinstance(to, Acknowledged)
        ]
        if len(published) == len(events):
            return published
        unacknowledged = [event for event, outcome in pairs if isinstance(outcome, Unacknowledged)]
        raise PublishError(
            unacknowledged + list(events[len(outcomes) :]),
            failure,
            refused=[RefusedEvent(event, no.reason) for event, no in pairs if isinstance(no, Refused)],
            published=published,
        ) from failure

    def _parts(self, events: Sequence[PatternEvent], headers: Headers) -> Iterator[list[EncodedRecord]]:
        """Encode events, in parts that are delivered one after the other."""
        part, size = list[EncodedRecord](), 0
        for event in events:
            record = encode(event, self._source, headers)
            if len(part) == IN_FLIGHT_MAX or size + record.size > IN_FLIGHT_BYTES_MAX:
                yield part
                part, size = [], 0
            part.append(record)
            size += record.size
        if part:
            yield part


def _require_source(source: object) -> None:
    """Check the CloudEvents `source`.

    Raises:
        ValueError: it is no text, empty, or has lone surrogates, which no UTF-8 can hold.
    """
    is_fit = False
    with suppress(UnicodeEncodeError):
        is_fit = isinstance(source, str) and bool(source.encode())
    if not is_fit:
        raise ValueError("source: is no text that a header can hold")


class BlockingScorePublisher:
    """`ScorePublisher` for agents that are not asynchronous. Many threads may use it at once.

    It takes the same arguments and raises the same errors. Its event loop runs in a thread that it starts.
    """

    def __init__(
        self,
        settings: KafkaSettings | None = None,
        *,
        source: str = SOURCE_DEFAULT,
        delivery_seconds: float = DELIVERY_SECONDS,
        outbox: OutboxPath | None = None,
    ) -> None:
        self._publisher = ScorePublisher(
            settings, source=source, delivery_seconds=delivery_seconds, outbox=outbox
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="score-publisher", daemon=True)
        self._thread.start()
        try:
            self._run(self._publisher.__aenter__())
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._thread.is_alive():  # in a forked child: everything belongs to the parent
            self._loop = None
            return
        try:
            self._run(self._publisher.__aexit__(kind, error, trace))
        finally:
            self._end_thread()

    def publish(self, event: PatternEvent) -> Published:
        """Publish one event and wait until it is acknowledged; as `ScorePublisher.publish`."""
        (published,) = self.publish_many((event,))
        return published

    def publish_score(self, **score: Unpack[Score]) -> Published:
        """Publish one score and wait until it is acknowledged; as `ScorePublisher.publish_score`."""
        return self.publish(score_event(**score))

    def retire(
        self, pattern: UUID | str, *, because: str | None = None, **retirement: Unpack[RetirementDetails]
    ) -> Published:
        """Retire a pattern and wait until that is acknowledged; as `ScorePublisher.retire`."""
        return self.publish(retirement_event(pattern, because, **retirement))

    def publish_many(self, events: Sequence[PatternEvent]) -> list[Published]:
        """Publish events and wait until all are acknowledged; as `ScorePublisher.publish_many`."""
        stored = self._publisher.store(events)  # also in a forked child
        return stored if stored is not None else self._run(self._publisher.publish_many(events))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("a BlockingScorePublisher publishes inside its `with` block")
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError(_FORKED)
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        while self._thread.is_alive():
            concurrent.futures.wait({running}, _ALIVE_SECONDS)
            if running.done():
                return running.result()
        raise RuntimeError("the publisher's thread has ended")

    def _end_thread(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
