"""Selections of dead letters. Imports no database driver, because the commands' arguments need it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from typing_extensions import override

from pattern_metrics.consumer.records.text import storable_text
from pattern_metrics.schemas.dead_letter import RejectReason

OPEN: Final = "open"
REDRIVEN: Final = "redriven"
DISCARDED: Final = "discarded"

_PARTITION_MAX: Final = 2**31 - 1
_OFFSET_MAX: Final = 2**63 - 1


class Coordinates(NamedTuple):
    """The place of a record in its topic. A recreated topic may have another record there."""

    topic: str
    partition: int
    offset: int

    @override
    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def parse_coordinates(text: str) -> Coordinates:
    """Read `TOPIC/PARTITION/OFFSET`.

    Raises:
        ValueError: the text has another form, or numbers that Kafka cannot have.
    """
    topic, *numbers = text.rsplit("/", 2)
    if not topic or len(numbers) != len(Coordinates._fields[1:]) or not all(map(str.isdecimal, numbers)):
        raise ValueError("is not TOPIC/PARTITION/OFFSET")
    partition, offset = map(int, numbers)
    if partition > _PARTITION_MAX or offset > _OFFSET_MAX:
        raise ValueError("has a partition or an offset that Kafka cannot have")
    return Coordinates(storable_text(topic), partition, offset)


def columns_of(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    """Return rows as columns, which PostgreSQL's `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)]


@dataclass(frozen=True, slots=True)
class Selection:
    """The conditions that select letters. A letter has to fulfil each condition that is given.

    Attributes:
        status: open, redriven or discarded.
        reason: the reason for the refusal.
        topic: the topic of the record.
        since: the earliest time at which a letter was noticed.
        coordinates: exactly these records.
    """

    status: str | None = OPEN
    reason: RejectReason | None = None
    topic: str | None = None
    since: datetime | None = None
    coordinates: Sequence[Coordinates] = ()

    def arguments(self) -> tuple[object, ...]:
        """Return the first arguments of each statement that selects letters."""
        columns: Sequence[object] = columns_of(self.coordinates) or (None, None, None)
        topic = None if self.topic is None else storable_text(self.topic)
        return (self.status, self.reason, topic, self.since, *columns)
