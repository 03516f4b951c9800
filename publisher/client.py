"""`ScorePublisher` and `BlockingScorePublisher`: clients with which an agent publishes its scores."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, LeaderNotAvailableError

from pattern_metrics.publisher.tracing import publishing
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, PatternScored, require_past
from pattern_metrics.schemas.settings.clock import ClockSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from pattern_metrics.schemas.settings.kafka_client import ask_side_by_side

T = TypeVar("T")

Headers: TypeAlias = list[tuple[str, bytes]]

DELIVERY_SECONDS: Final = 30.0
"""Default of the longest wait, in seconds, for the acknowledgement of one event."""

_CLOSE_SECONDS: Final = 5.0
"""Seconds that leaving a publisher may take beyond that. By then each call in flight has ended."""

IN_FLIGHT_MAX: Final = 5_000
"""Events that one call has in flight at a time. It bounds the memory of a call."""

_ERRORS_SHOWN: Final = 3


class PublishError(Exception):
    """Events were not acknowledged. They may have arrived; it is safe to publish them again.

    Attributes:
        unacknowledged: the events, in the order of the call.
    """

    def __init__(self, unacknowledged: Sequence[PatternScored], cause: BaseException) -> None:
        self.unacknowledged = tuple(unacknowledged)
        ids = [str(event.event_id) for event in self.unacknowledged]
        more = f" and {len(ids) - _ERRORS_SHOWN} more" if len(ids) > _ERRORS_SHOWN else ""
        super().__init__(
            f"{len(ids)} events not acknowledged ({str(cause) or type(cause).__name__}): "
            f"{', '.join(ids[:_ERRORS_SHOWN])}{more}"
        )


class ScorePublisher:
    """Publishes events with an idempotent producer that waits for all in-sync replicas.

    An asynchronous context manager, for any number of tasks of one event loop. Leaving it waits, for at most
    5 s longer than `delivery_seconds`, until the calls in flight have returned or raised.

    Args:
        settings: the broker and the topic; by default, the environment's.
        source: the CloudEvents `source`, a URI reference that names the agent.
        delivery_seconds: the longest wait for the acknowledgement of one event.

    Raises:
        ValueError: KAFKA_TOPIC names several topics.
        KafkaError: on entry, no broker can be reached, or it refuses the login.
        TimeoutError: on leaving, after that time.
    """

    def __init__(
        self,
        settings: KafkaSettings | None = None,
        *,
        source: str = "/pattern-metrics",
        delivery_seconds: float = DELIVERY_SECONDS,
    ) -> None:
        self._settings = settings or KafkaSettings()
        self._delivery_seconds = delivery_seconds
        if len(self._settings.kafka_topics) > 1:
            raise ValueError("KAFKA_TOPIC names several topics; to publish, name one")
        self._clock = ClockSettings()
        self._source = source
        self._producer: AIOKafkaProducer | None = None
        self._calls = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(
            **self._settings.client_options(),
            client_id="pattern-metrics-publisher",
            acks="all",
            enable_idempotence=self._settings.kafka_enable_idempotence,
            compression_type="lz4",
            linger_ms=5,
            max_batch_size=128 * 1024,
            request_timeout_ms=int(self._delivery_seconds * 1000),
        )
        ask_side_by_side(producer.client)
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            async with asyncio.timeout(self._delivery_seconds + _CLOSE_SECONDS):
                await self._is_idle.wait()
                await producer.stop()

    async def publish(self, event: PatternScored) -> None:
        """Publish one event and wait until it is acknowledged.

        Raises:
            PublishError: it was not acknowledged within `delivery_seconds`.
            InvalidEventError: see `publish_many`.
            RuntimeError: the publisher is not inside its `async with` block.
        """
        await self.publish_many((event,))

    async def publish_many(self, events: Sequence[PatternScored]) -> None:
        """Publish events, many in flight at once, and wait until all are acknowledged.

        Raises:
            PublishError: names every event that was not acknowledged. After a failure no further events are
                sent.
            InvalidEventError: an event was measured more than MAX_CLOCK_SKEW_SECONDS in the future, so no
                consumer would accept it. No event was sent.
            RuntimeError: the publisher is not inside its `async with` block.
        """
        if self._producer is None:
            raise RuntimeError("a ScorePublisher publishes inside its `async with` block")
        accepted_until = self._clock.accepted_until(datetime.now(UTC))
        for event in events:
            require_past(event, accepted_until=accepted_until)
        self._calls += 1
        self._is_idle.clear()
        try:
            with publishing(self._settings.kafka_topic, len(events)) as headers:
                await self._publish(self._producer, events, headers)
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._is_idle.set()

    async def _publish(
        self, producer: AIOKafkaProducer, events: Sequence[PatternScored], headers: Headers
    ) -> None:
        for begin in range(0, len(events), IN_FLIGHT_MAX):
            part = events[begin : begin + IN_FLIGHT_MAX]
            failures = await self._deliver(producer, part, headers)
            if failures:
                failed = [event for index, event in enumerate(part) if index in failures]
                cause = next(iter(failures.values()))
                reported = self._without_leader(producer) or cause
                raise PublishError([*failed, *events[begin + len(part) :]], reported) from cause

    def _without_leader(self, producer: AIOKafkaProducer) -> LeaderNotAvailableError | None:
        """Return an error that names the partitions without a leader; None if each has one."""
        topic, cluster = self._settings.kafka_topic, producer.client.cluster
        available = cluster.available_partitions_for_topic(topic) or set()
        without = (cluster.partitions_for_topic(topic) or set()) - available
        if not without:
            return None
        numbers = ", ".join(map(str, sorted(without)))
        return LeaderNotAvailableError(f"unavailable partitions of {topic}: {numbers} (no leader)")

    async def _deliver(
        self, producer: AIOKafkaProducer, events: Sequence[PatternScored], headers: Headers
    ) -> dict[int, BaseException]:
        """Send events and wait for their acknowledgements. Return the failures by the event's index."""
        deliveries: list[asyncio.Future[Any]] = []
        failures: dict[int, BaseException] = {}
        try:
            for event in events:
                async with asyncio.timeout(self._delivery_seconds):
                    deliveries.append(await self._send(producer, event, headers))
        except TimeoutError:
            failures = dict.fromkeys(range(len(deliveries), len(events)), self._late())
        except (KafkaError, OSError) as error:
            failures = dict.fromkeys(range(len(deliveries), len(events)), error)
        if deliveries:
            await asyncio.wait(deliveries, timeout=self._delivery_seconds)
        for index, delivery in enumerate(deliveries):
            failure = delivery.exception() if delivery.done() else self._late()
            if failure is not None:
                failures[index] = failure
        return failures

    def _late(self) -> TimeoutError:
        return TimeoutError(f"no acknowledgement within {self._delivery_seconds:g} s")

    async def _send(
        self, producer: AIOKafkaProducer, event: PatternScored, headers: Headers
    ) -> asyncio.Future[Any]:
        """Hand an event to the producer. Waits while the producer's buffer is full."""
        delivery: asyncio.Future[Any] = await producer.send(
            self._settings.kafka_topic,
            key=str(event.pattern_id).encode(),
            value=event.to_json(),
            headers=[*cloud_event_headers(event, self._source), *headers],
        )
        return delivery


def cloud_event_headers(event: PatternScored, source: str) -> Headers:
    """Return the event's attributes as headers: CloudEvents 1.0, Kafka protocol binding, binary mode."""
    return [
        ("content-type", b"application/json"),
        ("ce_type", EVENT_TYPE.encode()),  # these two first: a reader needs no other header
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event.event_id).encode()),
        ("ce_source", source.encode()),
        ("ce_time", event.measurement_timestamp.isoformat().encode()),
    ]


class BlockingScorePublisher:
    """`ScorePublisher` for agents that are not asynchronous. Many threads may use it at once.

    It takes the same arguments and raises the same errors. Its event loop runs in a thread that it starts.
    """

    def __init__(
        self,
        settings: KafkaSettings | None = None,
        *,
        source: str = "/pattern-metrics",
        delivery_seconds: float = DELIVERY_SECONDS,
    ) -> None:
        self._publisher = ScorePublisher(settings, source=source, delivery_seconds=delivery_seconds)
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
        try:
            self._run(self._publisher.__aexit__(kind, error, trace))
        finally:
            self._end_thread()

    def publish(self, event: PatternScored) -> None:
        """Publish one event and wait until it is acknowledged; errors as in `ScorePublisher.publish`."""
        self._run(self._publisher.publish(event))

    def publish_many(self, events: Sequence[PatternScored]) -> None:
        """Publish events and wait until all are acknowledged; errors as in `ScorePublisher.publish_many`."""
        self._run(self._publisher.publish_many(events))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("a BlockingScorePublisher publishes inside its `with` block")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_thread(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
