"""The events of a scenario, the same in every run, and the table's content after they are read."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from pattern_metrics.schemas.pattern_scored import PatternScored

if TYPE_CHECKING:
    from pydantic import JsonValue

SEED: Final = 20260101
PARTITIONS: Final = 6
HOT_PATTERNS: Final = 1085
FIRST_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Time of the first measurement. Each further event is a millisecond later."""


@dataclass(frozen=True)
class Shape:
    """The patterns and the times of a topic's events.

    Attributes:
        name: for a person, and for the topic's name.
        events: their number. The last event of each partition marks its end and has its own pattern.
        patterns: number of patterns from which the events are drawn; None: each event has its own.
        is_growing: whether every other event has its own pattern nevertheless.
        stride: distance between those patterns, if the table has patterns numbered from 0.
        first_time: time of the first measurement.
        spelling: in which way the events are written: one of `spellings.SPELLINGS`, or our publisher's.
    """

    name: str
    events: int
    patterns: int | None = None
    is_growing: bool = False
    stride: int = 1
    first_time: datetime = FIRST_TIME
    spelling: str = "own"


def pattern_id(name: str | int) -> UUID:
    """Return a pattern's id. SQL computes the same: `md5('pattern-' || name)::uuid`."""
    return UUID(hashlib.md5(f"pattern-{name}".encode(), usedforsecurity=False).hexdigest())


END_MARKS: Final = tuple(pattern_id(f"end-of-{partition}") for partition in range(PARTITIONS))
"""The patterns of the partitions' last events. Once all are rows of the table, every event is."""


def generate(shape: Shape) -> Iterator[tuple[int, PatternScored]]:
    """Generate the events with their partitions, in the order in which they are sent."""
    dice = random.Random(SEED)  # noqa: S311 - the same in every run
    body = shape.events - PARTITIONS
    for index in range(shape.events):
        number = _pattern_of(index, shape, dice)
        partition, pattern = number % PARTITIONS, pattern_id(number * shape.stride)
        if index >= body:
            partition, pattern = index - body, END_MARKS[index - body]
        yield partition, _event(pattern, number, shape.first_time + timedelta(milliseconds=index), dice)


def _pattern_of(index: int, shape: Shape, dice: random.Random) -> int:
    if shape.patterns is None:
        return index
    if shape.is_growing and index % 2:
        return shape.patterns + index // 2  # so in any partition
    return dice.randrange(shape.patterns)


def _event(pattern: UUID, number: int, time: datetime, dice: random.Random) -> PatternScored:
    """Return an event in the form that our scorer writes: 523 bytes of JSON on average."""
    names = ("completeness", "documentation", "compliance", "metadata_richness", "complexity")
    line = dice.randrange(100, 900)
    metadata: dict[str, JsonValue] = {
        "name": f"billing.bills:Invoice{number:07}.total",
        "kind": "function",
        "dimensions": {name: dice.randrange(1000, 10000) / 10000 for name in names},
        "band": "good",
        "location": {"path": f"billing/inv{number:07}.py", "line": line, "end_line": line + 40},
        "language": "python",
    }
    return PatternScored(
        event_id=UUID(int=dice.getrandbits(128), version=4),
        pattern_id=pattern,
        quality_score=dice.randrange(1000, 10000) / 10000,
        confidence=dice.randrange(1000, 10000) / 10000,
        measurement_timestamp=time,
        metadata=metadata,
    )
