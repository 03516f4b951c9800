"""Delivers the events of an outbox. Any process may do it: an event that arrives twice changes nothing."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.row import SOURCE, TYPE, OutboxRow
from pattern_metrics.publisher.producer import Producer
from pattern_metrics.publisher.records import EncodedRecord, Refused, Unacknowledged, record_of
from pattern_metrics.schemas.backoff import backoff_seconds
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, Ordered
from pattern_metrics.schemas.settings.kafka import KafkaSettings

_LOOK_SECONDS: Final = 0.5
"""Time between two looks for events of other processes."""

_CONNECT_SECONDS: Final = 1.0
"""The longest wait, at the end of a publisher, for a broker that is not reached yet."""

_RETRY_SECONDS_MAX: Final = 30.0
"""The longest wait after a failure."""


@dataclass(slots=True)
class Flushed:
    """The result of a flush, correct also while it runs.

    Attributes:
        delivered: events that were acknowledged.
        refused: events that Kafka refuses for good, and that are kept apart.
    """

    delivered: int = 0
    refused: int = 0


class _Stored(Ordered):
    __slots__ = ("event_id", "measurement_timestamp", "pattern_id")

    def __init__(self, row: OutboxRow) -> None:
        self.event_id = UUID(bytes=row.event_id)
        self.pattern_id = UUID(bytes=row.pattern_id)
        self.measurement_timestamp = row.measured_at


def record_of_row(row: OutboxRow) -> EncodedRecord:
    """Return the record of a row, as a publisher without an outbox sends it."""
    headers = json.loads(row.headers)
    source, event_type = headers.pop(SOURCE), headers.pop(TYPE, EVENT_TYPE)
    others = [(name, text.encode()) for name, text in headers.items()]
    return record_of(_Stored(row), row.value, source, others, event_type)


class OutboxFlusher:
    """Delivers the events of an outbox, in a task of its own or when it is called.

    Args:
        file: the outbox.
        settings: the brokers and the topic.
        seconds: the longest wait for the acknowledgement of an event.
        report: called after each round that delivered something or that failed; also with the failure.
    """

    def __init__(
        self,
        file: OutboxFile,
        settings: KafkaSettings,
        seconds: float,
        report: Callable[[Flushed, Exception | None], None] = lambda _flushed, _error: None,
    ) -> None:
        self._file = file
        self._settings = settings
        self._seconds = seconds
        self._report = report
        self._producer: Producer | None = None
        self._wake = asyncio.Event()
        self._is_stopping = asyncio.Event()
        self._is_settled = asyncio.Event()

    async def flush(
        self,
        flushed: Flushed,
        advance: Callable[[int], None] = lambda _: None,
        *,
        waits_for_a_broker: bool = True,
    ) -> None:
        """Deliver the events that wait, the newest first, until there are none.

        Args:
            flushed: is updated.
            advance: called with the number of events that are done since the last call.
            waits_for_a_broker: whether to connect again and again, for as long as one event may take.

        Raises:
            OutboxError: the file cannot be used.
            Exception: an event cannot be delivered now, by an outage or by the configuration. It stays.
        """
        while not self._is_stopping.is_set() and (await asyncio.to_thread(self._file.status)).events:
            if self._producer is None or self._producer.is_forked:
                producer = Producer(self._settings, self._seconds)
                await producer.open(waits_for_a_broker=waits_for_a_broker)
                self._producer = producer
            rows = await asyncio.to_thread(self._file.newest)
            error = await self._deliver(self._producer, rows, flushed)
            if error is not None:
                raise error
            advance(len(rows))

    async def _deliver(
        self, producer: Producer, rows: Sequence[OutboxRow], flushed: Flushed
    ) -> Exception | None:
        records, refused = list[tuple[OutboxRow, EncodedRecord]](), list[tuple[OutboxRow, str]]()
        for row in rows:
            try:
                records.append((row, record_of_row(row)))
            except (ValueError, KeyError, TypeError, AttributeError):
                refused.append((row, "its headers are not those of a record"))
        done = await producer.deliver([record for _, record in records])
        outcomes = list(zip([row for row, _ in records], done, strict=True))
        refused += [(row, outcome.reason) for row, outcome in outcomes if isinstance(outcome, Refused)]
        delivered = [row for row, outcome in outcomes if not isinstance(outcome, Refused | Unacknowledged)]
        await asyncio.to_thread(self._file.settle, delivered, refused)
        flushed.delivered += len(delivered)
        flushed.refused += len(refused)
        return next((outcome.error for _, outcome in outcomes if isinstance(outcome, Unacknowledged)), None)

    async def run(self) -> None:
        """Deliver events as they come, until `stop`; after a failure, try again later."""
        failures = 0
        while not self._is_stopping.is_set():
            self._wake.clear()
            error = await self._round()
            if error is None:
                failures = 0
                if not self._wake.is_set():
                    self._is_settled.set()
                    await _wait(self._wake, _LOOK_SECONDS)
            else:
                failures += 1
                self._is_settled.set()
                await self.close()  # the next round connects once, and then waits again
                await _wait(self._is_stopping, backoff_seconds(failures, longest=_RETRY_SECONDS_MAX))

    async def _round(self) -> Exception | None:
        """Deliver what there is, unless another process does. Return the failure."""
        flushed, failure = Flushed(), None
        try:
            if (await asyncio.to_thread(self._file.status)).events:
                with self._file.flushing(seconds=0):
                    await self.flush(flushed, waits_for_a_broker=False)
        except BlockingIOError:
            return None
        except Exception as error:  # noqa: BLE001 - nothing ends it but its owner
            failure = error
        if failure or flushed != Flushed():
            self._report(flushed, failure)
        return failure

    def stop(self) -> None:
        """End `run` and `flush` after the events that are being delivered."""
        self._is_stopping.set()
        self._wake.set()

    def notify(self) -> None:
        """Look for events at once, because one was stored."""
        self._is_settled.clear()
        self._wake.set()

    @property
    def is_notified(self) -> bool:
        """True if it will look for events without being notified again."""
        return self._wake.is_set()

    async def settle(self, seconds: float) -> None:
        """Wait until nothing is left, another process delivers, or delivering fails; at most this time."""
        if not await _wait(self._is_settled, min(seconds, _CONNECT_SECONDS)) and self._producer is not None:
            await _wait(self._is_settled, seconds)

    async def close(self) -> None:
        """Close the connections."""
        producer, self._producer = self._producer, None
        if producer is not None and not producer.is_forked:
            await producer.close()


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, and return whether it came within this time."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
