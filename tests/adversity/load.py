"""A producer that never stops, and the fold of all acknowledged events."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import PublishError, ScorePublisher
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_retired import PatternEvent, PatternRetired
from pattern_metrics.schemas.pattern_scored import PatternScored
from pattern_metrics.schemas.settings.clock import ClockSettings
from tests.support.hostile import HOSTILE
from tests.support.pipeline import RETIRED, producing
from tests.support.waiting import hold

PATTERNS = 500
PART = 50
PAUSE_SECONDS = 0.15
LATE_SECONDS_MAX = 120.0
"""Measurements arrive out of order: up to this late."""

RETIREMENTS = 0.1
"""The part of the events that retire their pattern."""

Row = tuple[datetime, uuid.UUID, float]
Letter = tuple[str, str]
"""The MD5 of a value (empty for a tombstone), and the reason."""


class Load:
    """Publishes events and hostile records, one part after the other, each until it is acknowledged.

    Attributes:
        fold: the law of the table: by pattern, the greatest (time, event_id), with its score or RETIRED.
        letters: the expected dead letters, and how many of each.
        letters_maybe: number of sends without an acknowledgement: each may have left one letter more.
        clock: error of the agents' clock.
        parts: number of acknowledged parts.
        events: number of acknowledged events.
        failures: how often the publisher reported events as not acknowledged.
    """

    def __init__(self, settings: WorkerSettings, chance: random.Random) -> None:
        self.fold: dict[uuid.UUID, Row] = {}
        self.letters = Counter[Letter]()
        self.letters_maybe = Counter[Letter]()
        self.clock = timedelta()
        self.parts = self.events = self.failures = 0
        self._settings = settings
        self._chance = chance
        self._may_go_on = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish during the block."""
        self._may_go_on.set()
        self._task = asyncio.create_task(self._publish())
        try:
            yield
        finally:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def pause(self) -> None:
        """Publish no further part, and wait until the part in flight is acknowledged."""
        self._may_go_on.clear()
        await self._is_idle.wait()

    def resume(self) -> None:
        """Continue publishing."""
        self._may_go_on.set()

    @property
    def has_failed(self) -> bool:
        """Return whether an error ended the publishing."""
        return self._task is not None and self._task.done()

    def require_alive(self) -> None:
        """Raise the error that ended the publishing, if there is one."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _publish(self) -> None:
        async with (
            ScorePublisher(self._settings) as publisher,
            producing(
                self._settings, enable_idempotence=True, acks="all", request_timeout_ms=10_000
            ) as producer,
        ):
            # An agent whose clock is ahead finds nothing wrong with its measurements.
            publisher._clock = ClockSettings(max_clock_skew_seconds=24 * 3600)
            while True:
                self._is_idle.set()
                await self._may_go_on.wait()
                self._is_idle.clear()
                await self._publish_events(publisher, [self._event() for _ in range(PART)])
                await self._publish_hostile(producer)
                self.parts += 1
                await hold(PAUSE_SECONDS)

    def _event(self) -> PatternEvent:
        late = timedelta(seconds=self._chance.uniform(0, LATE_SECONDS_MAX))
        event_id = uuid.UUID(int=self._chance.getrandbits(128))
        pattern_id = uuid.UUID(int=self._chance.randrange(PATTERNS))
        time = datetime.now(UTC) + self.clock - late
        if self._chance.random() < RETIREMENTS:
            return PatternRetired(event_id=event_id, pattern_id=pattern_id, retired_at=time, reason="drawn")
        return PatternScored(
            event_id=event_id,
            pattern_id=pattern_id,
            quality_score=self._chance.random(),
            confidence=0.5,
            measurement_timestamp=time,
        )

    async def _publish_events(self, publisher: ScorePublisher, events: list[PatternEvent]) -> None:
        """Publish events. A second attempt is a retry, because the event's id is the same."""
        while events:
            again = set[uuid.UUID]()
            try:
                await publisher.publish_many(events)
            except PublishError as error:
                self.failures += 1
                again = {event.event_id for event in error.unacknowledged}
            for event in events:
                self._note(event, is_acknowledged=event.event_id not in again)
            events = [event for event in events if event.event_id in again]

    def _note(self, event: PatternEvent, *, is_acknowledged: bool) -> None:
        if event.measurement_timestamp > self._settings.accepted_until(datetime.now(UTC)):
            letters = self.letters if is_acknowledged else self.letters_maybe
            letters[_letter(event.to_json(), RejectReason.TIMESTAMP_IN_FUTURE)] += 1
        elif is_acknowledged:
            score = event.quality_score if isinstance(event, PatternScored) else RETIRED
            row = (event.measurement_timestamp, event.event_id, score)
            self.fold[event.pattern_id] = max(row, self.fold.get(event.pattern_id, row))
        self.events += is_acknowledged

    async def _publish_hostile(self, producer: AIOKafkaProducer) -> None:
        hostile = self._chance.choice(HOSTILE)
        letter = _letter(hostile.value, hostile.reason)
        while True:
            try:
                await producer.send_and_wait(
                    self._settings.kafka_topic, hostile.value, hostile.key, headers=list(hostile.headers)
                )
            except KafkaError:
                self.failures += 1
                self.letters_maybe[letter] += 1
                await hold(PAUSE_SECONDS)
            else:
                self.letters[letter] += 1
                return


def _letter(value: bytes | None, reason: RejectReason) -> Letter:
    return ("" if value is None else md5(value, usedforsecurity=False).hexdigest(), reason)
