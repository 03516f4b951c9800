"""`publish FILE|-`: publishes a file to the topic, and names every refused line."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

from pattern_metrics.consumer.kafka.broker import require_topic
from pattern_metrics.consumer.operations.files.recognition import Measurements
from pattern_metrics.consumer.operations.files.refusals import Refusals
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.json_lines import read_events
from pattern_metrics.schemas.settings.kafka import KafkaSettings


@dataclass(slots=True)
class PublishReport:
    """The outcome of the lines so far, correct also after an interruption.

    Attributes:
        published: events that were acknowledged.
        last_line: the last line that is done.
        reached_end: whether that was the last line of the file.
        refusals: the faults of the lines that hold no valid event.
    """

    published: int = 0
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
        return self.published + self.refused

    @property
    def is_complete(self) -> bool:
        """True if every line was published."""
        return self.reached_end and self.refused == 0

    def as_dict(self) -> dict[str, int | bool]:
        """Return the numbers as JSON has them."""
        return {
            "published": self.published,
            "refused": self.refused,
            "last_line": self.last_line,
            "reached_end": self.reached_end,
        }

    def __str__(self) -> str:
        end = "" if self.reached_end else f"; stopped after line {self.last_line:,}"
        return f"published {self.published:,} events, refused {self.refused:,} lines{end}"


async def publish_file(
    settings: KafkaSettings | None,
    measurements: Measurements,
    *,
    accepted_until: datetime,
    report: PublishReport,
    on_refused: Callable[[int, InvalidEventError], None],
    advance: Callable[[float], None],
) -> None:
    """Publish the valid lines of a file, in parts that are acknowledged one after the other.

    Args:
        settings: the broker and the topic; None to publish nothing, and report what would be published.
        measurements: the content of the file.
        accepted_until: the latest acceptable measurement time.
        report: is updated after each part.
        on_refused: called for each line that holds no valid event.
        advance: called with the number of bytes that are done since the last call.

    Raises:
        PublishError: names the events that were not acknowledged. Publishing the file again is a retry.
        BrokenSourceError: the file cannot be read any further. Everything before that place is published.
        KafkaError: no broker can be reached, the login was refused, or the topic does not exist.
    """
    async with AsyncExitStack() as stack:
        publisher = None
        if settings is not None:
            await require_topic(settings)
            publisher = await stack.enter_async_context(ScorePublisher(settings))
        for part in measurements.parts:
            events = []
            for number, event in read_events(part.lines, accepted_until=accepted_until):
                if isinstance(event, InvalidEventError):
                    report.refusals.add(event.reason, str(event))
                    on_refused(number, event)
                else:
                    events.append(event)
            if publisher is not None:
                await publisher.publish_many(events)
            report.published += len(events)
            report.last_line = part.lines[-1][0] if part.lines else report.last_line
            advance(part.size)
    report.reached_end = True
