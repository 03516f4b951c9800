"""Delivers events to Kafka, or to the outbox while the broker is away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import time
from typing import Final, TypeAlias

import structlog
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.faults.diagnosis import diagnose
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.gateway.events import Outgoing
from pattern_metrics.consumer.kafka.broker import find_topic
from pattern_metrics.consumer.settings import GatewaySettings
from pattern_metrics.consumer.stopping import cancel
from pattern_metrics.publisher.outbox.events import with_type
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.flusher import Flushed, OutboxFlusher
from pattern_metrics.publisher.outbox.place import OutboxError
from pattern_metrics.publisher.outbox.row import headers_text, microseconds, new_row
from pattern_metrics.publisher.outbox.writer import OutboxWriter
from pattern_metrics.publisher.producer import Producer
from pattern_metrics.publisher.records import Outcome, Unacknowledged, record_of
from pattern_metrics.schemas.settings.kafka import SettingFileError
from pattern_metrics.schemas.settings.token_provider import TokenProviderError

logger = structlog.get_logger()

ACKNOWLEDGED_SECONDS: Final = 10.0
"""Longest wait for the acknowledgement of the events of one request."""

OUTBOX_AFTER_SECONDS: Final = 3.0
"""With an outbox, the wait before events are stored there."""

_PROBE_SECONDS: Final = 1.0
"""Time between two questions to a broker that is away."""

_FIRST_ANSWER_SECONDS: Final = 5.0
"""Longest wait for the broker before the gateway serves without it."""

OUTBOX_STOP_SECONDS: Final = 5.0
"""Longest wait for the delivery of the outbox's last events at the end."""

_KAFKA: Final = "kafka"

_NOT_CONNECTED: Final = "not connected yet"


class BrokerAwayError(Exception):
    """The broker was not asked, because it does not answer. The message is a hint for a person."""


def hint_of(error: Exception) -> str:
    """Return why an event was not acknowledged, for a client: it names no file and no server."""
    if isinstance(error, OutboxError):
        return "the outbox of the gateway is full or cannot be used"
    if isinstance(error, SettingFileError):
        return "the gateway's own files for the broker cannot be used"
    return str(error) if isinstance(error, BrokerAwayError) else diagnose(error).hint


@dataclass(frozen=True, slots=True)
class StoredLocally:
    """The event is in the outbox, synced to the disk of this machine."""


Delivered: TypeAlias = Outcome | StoredLocally


class Delivery:
    """Publishes events with one producer, for all requests.

    Args:
        settings: the broker, the topic and the outbox.
        health: learns whether the broker can be reached.
        outbox: where events are stored while it cannot; None for nowhere.
    """

    def __init__(self, settings: GatewaySettings, health: Health, outbox: "_Outbox | None") -> None:
        self._settings = settings
        self._health = health
        self._outbox = outbox
        self._producer = Producer(settings, OUTBOX_AFTER_SECONDS if outbox else ACKNOWLEDGED_SECONDS)
        self._is_open = False
        self._doubt = asyncio.Event()
        self._asked = asyncio.Event()

    def outbox_backlog(self) -> tuple[int, int] | None:
        """Return the number of events that wait in the outbox, and the age of the oldest in seconds.

        None if the file cannot be read. It reads the disk.
        """
        return (0, 0) if self._outbox is None else self._outbox.backlog()

    @property
    def obstacles(self) -> dict[str, str]:
        """The reasons why no event can be accepted. With an outbox, an outage of Kafka is none."""
        return {} if self._outbox is not None else self._conditions

    @property
    def _conditions(self) -> dict[str, str]:
        """The reasons why Kafka is not asked."""
        return self._health.conditions or ({} if self._is_open else {_KAFKA: _NOT_CONNECTED})

    async def deliver(self, events: Sequence[Outgoing], source: str) -> list[Delivered]:
        """Publish events, and return what became of each, in their order.

        Args:
            events: the events.
            source: the CloudEvents `source`, a URI reference that names the agent.
        """
        if not events:
            return []
        outcomes = list[Delivered]()
        if not (conditions := self._conditions):
            records = [record_of(one, one.value, source, [], one.event_type) for one in events]
            outcomes += await self._producer.deliver(records)
            if any(isinstance(outcome, Unacknowledged) for outcome in outcomes):
                self._doubt.set()
        else:
            outcomes += [Unacknowledged(BrokerAwayError(conditions[_KAFKA]))] * len(events)
        if self._outbox is None:
            return outcomes
        return await self._outbox.store(events, outcomes, source)

    async def probe(self) -> bool:
        """Ask the broker for the topic, and connect to it. Return whether that worked."""
        try:
            await find_topic(self._settings)
            if not self._is_open:
                await self._producer.open()
                self._is_open = True
        except (KafkaError, OSError, TimeoutError, TokenProviderError) as error:
            self._health.report(_KAFKA, error, diagnose(error))
            return False
        self._health.recover(_KAFKA)
        return True

    async def watch(self) -> None:
        """Connect, and after each failure ask the broker until it answers. Never ends by itself."""
        while True:
            self._doubt.clear()
            if await self.probe():
                self._asked.set()
                await self._doubt.wait()
            else:
                self._asked.set()
                await asyncio.sleep(_PROBE_SECONDS)

    async def wait_for_first_answer(self) -> None:
        """Wait until the broker has answered once, or has failed to, for a limited time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_ANSWER_SECONDS):
                await self._asked.wait()

    async def close(self) -> None:
        """Close the connections."""
        await self._producer.close()


class _Outbox:
    def __init__(self, settings: GatewaySettings, file: OutboxFile) -> None:
        self._file = file
        block_seconds = ACKNOWLEDGED_SECONDS if settings.outbox_when_full == "block" else 0.0
        self._writer = OutboxWriter(file, block_seconds=block_seconds, wait_seconds=ACKNOWLEDGED_SECONDS)
        self._flusher = OutboxFlusher(file, settings, ACKNOWLEDGED_SECONDS, _log)

    def backlog(self) -> tuple[int, int] | None:
        try:
            status = self._file.status()
        except OutboxError:
            return None
        return status.events, status.oldest_seconds or 0

    async def store(
        self, events: Sequence[Outgoing], outcomes: Sequence[Delivered], source: str
    ) -> list[Delivered]:
        """Store the events that were not acknowledged. Return the outcomes with what became of those."""
        places = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Unacknowledged)]
        if not places:
            return list(outcomes)
        headers, stored_at = headers_text(source), int(time())
        rows = [
            new_row(
                events[place].event_id.bytes,
                events[place].pattern_id.bytes,
                microseconds(events[place].measurement_timestamp),
                stored_at,
                with_type(headers, events[place].event_type),
                events[place].value,
            )
            for place in places
        ]
        count, error = await self._writer.put_soon([rows])
        self._flusher.notify()
        results = list(outcomes)
        for number, place in enumerate(places):
            results[place] = (
                StoredLocally() if number < count else Unacknowledged(error or OutboxError("not stored"))
            )
        return results

    @asynccontextmanager
    async def flushing(self) -> AsyncIterator[None]:
        """Deliver in the background during the block."""
        task = asyncio.create_task(self._flusher.run())
        try:
            yield
        finally:
            await self._flusher.settle(OUTBOX_STOP_SECONDS)
            await cancel(task)
            await self._flusher.close()
            await asyncio.to_thread(self._writer.close)


@asynccontextmanager
async def delivering(settings: GatewaySettings, health: Health) -> AsyncIterator[Delivery]:
    """Yield a delivery that connects in the background, whether or not a broker is there.

    Raises:
        OutboxError: the file of OUTBOX_PATH cannot be used.
    """
    outbox = None
    if settings.outbox_path is not None:
        file = OutboxFile(
            settings.outbox_path,
            max_bytes=settings.outbox_max_bytes,
            is_coalescing=settings.outbox_when_full == "coalesce",
        )
        await asyncio.to_thread(file.open)
        outbox = _Outbox(settings, file)
    delivery = Delivery(settings, health, outbox)
    watching = asyncio.create_task(delivery.watch())
    try:
        if outbox is None:
            yield delivery
        else:
            async with outbox.flushing():
                yield delivery
    finally:
        await cancel(watching)
        await delivery.close()


def _log(flushed: Flushed, error: Exception | None) -> None:
    if error is not None:
        logger.warning("outbox_not_flushed", error=type(error).__name__, hint=diagnose(error).hint)
    elif flushed.refused:
        logger.warning("outbox_refused", events=flushed.refused)
