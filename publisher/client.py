"""`ScorePublisher`: what an agent needs to publish its scores, and nothing more."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pattern_metrics.publisher.tracing import publishing
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, PatternScored, require_past
from pattern_metrics.schemas.settings.clock import ClockSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings

T = TypeVar("T")

Headers: TypeAlias = list[tuple[str, bytes]]

DELIVERY_SECONDS_MAX: Final = 30.0
"""How long one event may wait for its acknowledgement before it counts as not acknowledged."""

CLOSE_SECONDS_MAX: Final = DELIVERY_SECONDS_MAX + 5
"""How long closing may take; by then every event in flight was acknowledged, or its caller told."""

IN_FLIGHT_MAX: Final = 5_000
"""How many events one call has in flight at a time: what bounds its memory."""

_ERRORS_SHOWN: Final = 3


class PublishError(Exception):
    """Events were not acknowledged. They may or may not have arrived; to publish them again is safe.

    Attributes:
        unacknowledged: the events, in the order they were given.
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

    An asynchronous context manager, for any number of tasks of one event loop. Entering it raises a
    `KafkaError` where no broker is reachable; leaving it waits, within `CLOSE_SECONDS_MAX`, for what is in
    flight, and whoever published that is told how it ended.

    Args:
        settings: where the topic is; by default, as the environment says.
        source: the CloudEvents `source`, a URI reference: who measured.
    """

    def __init__(self, settings: KafkaSettings | None = None, *, source: str = "/pattern-metrics") -> None:
        self._settings = settings or KafkaSettings()
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
            request_timeout_ms=int(DELIVERY_SECONDS_MAX * 1000),
        )
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
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self._is_idle.wait()
                await producer.stop()

    async def publish(self, event: PatternScored) -> None:
        """Publish one event and wait until it is acknowledged.

        Raises:
            PublishError: it was not.
            InvalidEventError: as `publish_many`.
        """
        await self.publish_many((event,))

    async def publish_many(self, events: Sequence[PatternScored]) -> None:
        """Publish events, many in flight at once, and wait until all are acknowledged.

        Raises:
            PublishError: names every event that was not; after a failure no further ones are sent.
            InvalidEventError: one was measured in the future, by more than MAX_CLOCK_SKEW_SECONDS, so that no
                consumer would take it; none was sent.
        """
        if self._producer is None:
            raise RuntimeError("a ScorePublisher publishes inside its `async with` block")
        accepted_until = self._clock.accepted_until()
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
                raise PublishError([*failed, *events[begin + len(part) :]], cause) from cause

    async def _deliver(
        self, producer: AIOKafkaProducer, events: Sequence[PatternScored], headers: Headers
    ) -> dict[int, BaseException]:
        """Send events and wait for their acknowledgements; what failed, by its index."""
        deliveries: list[asyncio.Future[Any]] = []
        failures: dict[int, BaseException] = {}
        try:
            for event in events:
                async with asyncio.timeout(DELIVERY_SECONDS_MAX):
                    deliveries.append(await self._send(producer, event, headers))
        except TimeoutError:
            failures = dict.fromkeys(range(len(deliveries), len(events)), _late())
        except (KafkaError, OSError) as error:
            failures = dict.fromkeys(range(len(deliveries), len(events)), error)
        if deliveries:
            await asyncio.wait(deliveries, timeout=DELIVERY_SECONDS_MAX)
        for index, delivery in enumerate(deliveries):
            failure = delivery.exception() if delivery.done() else _late()
            if failure is not None:
                failures[index] = failure
        return failures

    async def _send(
        self, producer: AIOKafkaProducer, event: PatternScored, headers: Headers
    ) -> asyncio.Future[Any]:
        """Hand an event to the producer; waits while the producer has no room."""
        delivery: asyncio.Future[Any] = await producer.send(
            self._settings.kafka_topic,
            key=str(event.pattern_id).encode(),
            value=event.to_json(),
            headers=[*cloud_event_headers(event, self._source), *headers],
        )
        return delivery


def _late() -> TimeoutError:
    return TimeoutError(f"no acknowledgement within {DELIVERY_SECONDS_MAX:g} s")


def cloud_event_headers(event: PatternScored, source: str) -> Headers:
    """The event's attributes as headers: CloudEvents 1.0, Kafka protocol binding, binary mode."""
    return [
        ("content-type", b"application/json"),
        ("ce_type", EVENT_TYPE.encode()),  # these two first: a reader needs no others
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event.event_id).encode()),
        ("ce_source", source.encode()),
        ("ce_time", event.measurement_timestamp.isoformat().encode()),
    ]


class BlockingScorePublisher:
    """`ScorePublisher` for agents that are not asynchronous; safe to use from many threads.

    The same arguments, the same errors; an event loop of its own runs in a thread of its own.
    """

    def __init__(self, settings: KafkaSettings | None = None, *, source: str = "/pattern-metrics") -> None:
        self._publisher = ScorePublisher(settings, source=source)
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
        """As `ScorePublisher.publish`."""
        self._run(self._publisher.publish(event))

    def publish_many(self, events: Sequence[PatternScored]) -> None:
        """As `ScorePublisher.publish_many`."""
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
