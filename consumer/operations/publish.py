"""`publish FILE|-`: from a file to the topic, with every refused line named."""

from collections.abc import Callable
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
    """What became of the lines; kept current, so that it tells the truth also after an interruption.

    Attributes:
        published: events that were acknowledged.
        last_line: the last line that is done with.
        reached_end: whether that was the last line of the file.
        refusals: what was wrong with the lines that hold no valid event.
    """

    published: int = 0
    last_line: int = 0
    reached_end: bool = False
    refusals: Refusals = field(default_factory=Refusals)

    @property
    def refused(self) -> int:
        """How many lines hold no valid event."""
        return self.refusals.count

    @property
    def read(self) -> int:
        """How many lines were looked at."""
        return self.published + self.refused

    @property
    def is_complete(self) -> bool:
        """Whether every line was published."""
        return self.reached_end and self.refused == 0

    def as_dict(self) -> dict[str, int | bool]:
        """For a program."""
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
    settings: KafkaSettings,
    measurements: Measurements,
    *,
    accepted_until: datetime,
    report: PublishReport,
    on_refused: Callable[[int, InvalidEventError], None],
    advance: Callable[[float], None],
) -> None:
    """Publish the valid lines of a file, in parts that are acknowledged one after the other.

    Args:
        settings: where to.
        measurements: what the file holds.
        accepted_until: the latest acceptable measurement time.
        report: what is kept current.
        on_refused: told of each line that holds no valid event.
        advance: told how many bytes were done with.

    Raises:
        PublishError: names the events that were not acknowledged; to publish the file again is a retry.
        BrokenSourceError: the file cannot be read any further; what was read is published.
        KafkaError: no broker is reachable, the login was refused, or the topic does not exist.
    """
    await require_topic(settings)
    async with ScorePublisher(settings) as publisher:
        for part in measurements.parts:
            events = []
            for number, event in read_events(part.lines, accepted_until=accepted_until):
                if isinstance(event, InvalidEventError):
                    report.refusals.add(event.reason, str(event))
                    on_refused(number, event)
                else:
                    events.append(event)
            await publisher.publish_many(events)
            report.published += len(events)
            report.last_line = part.lines[-1][0] if part.lines else report.last_line
            advance(part.size)
    report.reached_end = True
