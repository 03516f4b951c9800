"""`publish FILE|-`: from JSON Lines to the topic, with every refused line named."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from pattern_metrics.consumer.kafka.broker import require_topic
from pattern_metrics.publisher import ScorePublisher
from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.json_lines import read_events
from pattern_metrics.schemas.settings.kafka import KafkaSettings

_PART_BYTES_MAX: Final = 1024 * 1024


@dataclass(slots=True)
class PublishReport:
    """What became of the lines; kept current, so that it tells the truth also after an interruption.

    Attributes:
        published: events that were acknowledged.
        refused: lines that hold no valid event.
        last_line: the last line that is done with.
        reached_end: whether that was the last line of the file.
    """

    published: int = 0
    refused: int = 0
    last_line: int = 0
    reached_end: bool = False

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
    file: BinaryIO,
    *,
    accepted_until: datetime,
    report: PublishReport,
    on_refused: Callable[[int, InvalidEventError], None],
    advance: Callable[[int], None],
) -> None:
    """Publish the valid lines of a file, in parts that are acknowledged one after the other.

    Args:
        settings: where to.
        file: JSON Lines.
        accepted_until: the latest acceptable measurement time.
        report: what is kept current.
        on_refused: told of each line that holds no valid event.
        advance: told how many bytes were done with.

    Raises:
        PublishError: names the events that were not acknowledged; to publish the file again is a retry.
        KafkaError: no broker is reachable, the login was refused, or the topic does not exist.
    """
    await require_topic(settings)
    async with ScorePublisher(settings) as publisher:
        for lines in _parts(file):
            events = []
            for number, event in read_events(lines, report.last_line + 1, accepted_until=accepted_until):
                if isinstance(event, InvalidEventError):
                    report.refused += 1
                    on_refused(number, event)
                else:
                    events.append(event)
            await publisher.publish_many(events)
            report.published += len(events)
            report.last_line += len(lines)
            advance(sum(len(line) + 1 for line in lines))
    report.reached_end = True


def _parts(file: BinaryIO) -> Iterator[list[bytes]]:
    """The lines as they come: a slow pipe is not kept waiting for a part to fill."""
    pending: list[bytes] = []  # what was read since the last line break
    while chunk := os.read(file.fileno(), _PART_BYTES_MAX):
        head, line_break, tail = chunk.rpartition(b"\n")
        if line_break:
            yield b"".join([*pending, head]).split(b"\n")
            pending = [tail]
        else:
            pending.append(tail)
    if rest := b"".join(pending):
        yield [rest]
