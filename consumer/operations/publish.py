"""`publish FILE|-`: publishes a file to the topic, and names every refused line."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from pattern_metrics.consumer.kafka.broker import Topic, find_topic
from pattern_metrics.consumer.operations.files.recognition import Measurements
from pattern_metrics.consumer.operations.files.refusals import Refusals
from pattern_metrics.publisher.client import PublishError, RefusedEvent, ScorePublisher
from pattern_metrics.publisher.outbox.events import rows_of
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.row import SOURCE_DEFAULT, headers_text
from pattern_metrics.publisher.outbox.writer import OutboxWriter
from pattern_metrics.publisher.producer import home_partition
from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.json_lines import read_events
from pattern_metrics.schemas.pattern_retired import PatternEvent
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from pattern_metrics.schemas.settings.timing import CLOCK

_AGAIN_SECONDS: Final = 10.0
"""The time after which the leaders of unavailable partitions are asked again."""

Publish: TypeAlias = Callable[[Sequence[PatternEvent]], Awaitable[tuple[int, list[RefusedEvent]]]]
"""Publishes events until they are safe. Returns the number of events left out, and the refused events."""

Opening: TypeAlias = AbstractAsyncContextManager[Publish]


@dataclass(slots=True)
class PublishReport:
    """The outcome of the lines so far, correct also after an interruption.

    Attributes:
        done: the word for what happened to the events: published, or stored in the outbox.
        published: events that were acknowledged.
        unavailable: valid events that were not sent, because their partition was unavailable.
        last_line: the last line that is done.
        reached_end: whether that was the last line of the file.
        refusals: the faults of the lines that hold no valid event or that the broker refused.
    """

    done: str = "published"
    published: int = 0
    unavailable: int = 0
    last_line: int = 0
    reached_end: bool = False
    refusals: Refusals = field(default_factory=Refusals)

    @property
    def refused(self) -> int:
        """The number of lines that hold no valid event."""
        return self.refusals.count

    @property
    def read(self) -> int:
        """The number of lines that were read."""
        return self.published + self.unavailable + self.refused

    @property
    def is_complete(self) -> bool:
        """True if every line was published."""
        return self.reached_end and self.refused == self.unavailable == 0

    def as_dict(self) -> dict[str, int | bool]:
        """Return the numbers as JSON has them."""
        return {
            self.done: self.published,
            "refused": self.refused,
            "unavailable": self.unavailable,
            "last_line": self.last_line,
            "reached_end": self.reached_end,
        }

    def __str__(self) -> str:
        end = "" if self.reached_end else f"; stopped after line {self.last_line:,}"
        left_out = (
            f", left out {self.unavailable:,} events of unavailable partitions" if self.unavailable else ""
        )
        return f"{self.done} {self.published:,} events, refused {self.refused:,} lines{left_out}{end}"


@asynccontextmanager
async def publishing_nothing() -> AsyncIterator[Publish]:
    """Yield a function that does nothing, to count what would be published."""

    async def publish(_events: Sequence[PatternEvent]) -> tuple[int, list[RefusedEvent]]:
        return 0, []

    yield publish


@asynccontextmanager
async def storing_in(file: OutboxFile, block_seconds: float) -> AsyncIterator[Publish]:
    """Yield a function that stores events in the outbox, synced.

    Args:
        file: the outbox.
        block_seconds: how long an event waits for space.
    """
    headers = headers_text(SOURCE_DEFAULT)
    writer = OutboxWriter(file, block_seconds=block_seconds)

    async def publish(events: Sequence[PatternEvent]) -> tuple[int, list[RefusedEvent]]:
        stored, error = await writer.put_soon([rows_of(events, headers)])
        if error is not None:
            raise PublishError(events[stored:], error)
        return 0, []

    try:
        yield publish
    finally:
        writer.close()


@asynccontextmanager
async def publishing_to(settings: KafkaSettings, tell: Callable[[str], None]) -> AsyncIterator[Publish]:
    """Yield a function that publishes events to the topic, and waits until they are acknowledged.

    Args:
        settings: the broker and the topic.
        tell: called with the names of the unavailable partitions each time that these change.

    Raises:
        KafkaError: no broker can be reached, the login was refused, or the topic does not exist.
    """
    topic = await find_topic(settings)
    async with ScorePublisher(settings, outbox=False) as publisher:
        yield _Sending(settings, publisher, topic, tell).publish


async def publish_file(
    opening: Opening,
    measurements: Measurements,
    *,
    accepted_until: datetime,
    report: PublishReport,
    tell: Callable[[str], None],
    advance: Callable[[float], None],
) -> None:
    """Publish the valid lines of a file, in parts that are acknowledged one after the other.

    The events of an unavailable partition are left out, so that they delay no others.

    Args:
        opening: opens what publishes the events of each part.
        measurements: the content of the file.
        accepted_until: the latest acceptable measurement time.
        report: is updated after each part.
        tell: called with a message for each line that holds no valid event or that the broker refused.
        advance: called with the number of bytes that are done since the last call.

    Raises:
        PublishError: names the events that were not acknowledged. Publishing the file again is a retry.
        BrokenSourceError: the file cannot be read any further. Everything before that place is published.
        KafkaError: no broker can be reached, the login was refused, or the topic does not exist.
    """
    async with opening as publish:
        for part in measurements.parts:
            events, numbers = list[PatternEvent](), dict[int, int]()
            for number, event in read_events(part.lines, accepted_until=accepted_until):
                if isinstance(event, InvalidEventError):
                    report.refusals.add(event.reason, str(event))
                    tell(f"{measurements.unit} {number}: {event}")
                else:
                    events.append(event)
                    numbers[id(event)] = number
            left_out, refused = await publish(events)
            for one in refused:
                report.refusals.add(one.reason, one.reason)
                tell(f"{measurements.unit} {numbers[id(one.event)]}: refused by the broker: {one.reason}")
            report.published += len(events) - left_out - len(refused)
            report.unavailable += left_out
            report.last_line = part.lines[-1][0] if part.lines else report.last_line
            advance(part.size)
    report.reached_end = True


class _Sending:
    """Publishes to the available partitions of the topic."""

    def __init__(
        self, settings: KafkaSettings, publisher: ScorePublisher, topic: Topic, tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._topic = Topic(topic.name, topic.partitions, {})
        self._tell = tell
        self._asked_at = CLOCK.monotonic()
        self._take(topic)

    async def publish(self, events: Sequence[PatternEvent]) -> tuple[int, list[RefusedEvent]]:
        """Publish events. Return the number of those that were left out, and those that the broker refused.

        Raises:
            PublishError: an event was not acknowledged, although each partition is as available as before.
        """
        if self._topic.unavailable and CLOCK.monotonic() - self._asked_at > _AGAIN_SECONDS:
            self._take(await find_topic(self._settings))
        left_out, refused = 0, list[RefusedEvent]()
        while True:
            available = [event for event in events if self._is_available(event)]
            left_out += len(events) - len(available)
            try:
                await self._publisher.publish_many(available)
            except PublishError as error:
                refused += error.refused
                if not error.unacknowledged:
                    return left_out, refused
                if isinstance(error.__cause__, IncompatibleBrokerVersion):
                    raise error.__cause__ from None  # a setting is wrong, and nothing was published
                await self._require_news(error)
                events = error.unacknowledged
            else:
                return left_out, refused

    async def _require_news(self, error: PublishError) -> None:
        """Ask for the partitions again. Raise the error unless a further one is unavailable."""
        known = self._topic.unavailable.keys()
        try:
            topic = await find_topic(self._settings)
        except (KafkaError, OSError):
            raise error from None
        self._take(topic)
        if topic.unavailable.keys() <= known:
            raise error

    def _take(self, topic: Topic) -> None:
        self._asked_at = CLOCK.monotonic()
        if topic.unavailable.keys() != self._topic.unavailable.keys():
            self._tell(topic.describe_unavailable() or "all partitions are available again")
        self._topic = topic

    def _is_available(self, event: PatternEvent) -> bool:
        if not self._topic.unavailable:
            return True
        home = home_partition(str(event.pattern_id).encode(), self._topic.partitions)
        return home not in self._topic.unavailable
