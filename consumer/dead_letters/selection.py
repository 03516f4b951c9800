"""Which dead letters are meant. Imports no database driver, as the commands' arguments are read by it."""

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
    """Where a record was in its topic; a topic made anew may have had another one there."""

    topic: str
    partition: int
    offset: int

    @override
    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def parse_coordinates(text: str) -> Coordinates:
    """Read `TOPIC/PARTITION/OFFSET`.

    Raises:
        ValueError: it is none.
    """
    topic, *numbers = text.rsplit("/", 2)
    if not topic or len(numbers) != len(Coordinates._fields[1:]) or not all(map(str.isdecimal, numbers)):
        raise ValueError("is not TOPIC/PARTITION/OFFSET")
    partition, offset = map(int, numbers)
    if partition > _PARTITION_MAX or offset > _OFFSET_MAX:
        raise ValueError("has a partition or an offset that Kafka cannot have")
    return Coordinates(storable_text(topic), partition, offset)


def columns_of(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    """Rows as PostgreSQL's `unnest` takes them."""
    return [list(column) for column in zip(*rows, strict=True)]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those that fulfil every condition that is given.

    Attributes:
        status: what became of them.
        reason: why they were refused.
        topic: where they come from.
        since: when they were noticed, at the earliest.
        coordinates: exactly these records.
    """

    status: str | None = OPEN
    reason: RejectReason | None = None
    topic: str | None = None
    since: datetime | None = None
    coordinates: Sequence[Coordinates] = ()

    def arguments(self) -> tuple[object, ...]:
        """What the statements that select letters take first."""
        columns: Sequence[object] = columns_of(self.coordinates) or (None, None, None)
        topic = None if self.topic is None else storable_text(self.topic)
        return (self.status, self.reason, topic, self.since, *columns)
