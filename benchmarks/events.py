"""The events of a scenario: the same from run to run, and what the table must hold once they are read."""

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
"""When the first event was measured; each further one a millisecond later."""


@dataclass(frozen=True)
class Shape:
    """Which patterns a topic's events speak of, and when they were measured.

    Attributes:
        name: for a person, and for the topic's name.
        events: how many; the last one of each partition marks its end, with a pattern of its own.
        patterns: among how many patterns the events are drawn; None: each has its own.
        is_growing: whether every other event has a pattern of its own all the same.
        stride: how far apart those patterns are, where the table has patterns numbered from 0.
        first_time: when the first event was measured.
    """

    name: str
    events: int
    patterns: int | None = None
    is_growing: bool = False
    stride: int = 1
    first_time: datetime = FIRST_TIME


def pattern_id(name: str | int) -> UUID:
    """A pattern's id, which SQL can make as well: `md5('pattern-' || name)::uuid`."""
    return UUID(hashlib.md5(f"pattern-{name}".encode(), usedforsecurity=False).hexdigest())


END_MARKS: Final = tuple(pattern_id(f"end-of-{partition}") for partition in range(PARTITIONS))
"""The pattern of each partition's last event: once all are rows of the table, everything is."""


def generate(shape: Shape) -> Iterator[tuple[int, PatternScored]]:
    """Generate the events with their partitions, in the order in which they are sent."""
    dice = random.Random(SEED)  # noqa: S311 - the same from run to run
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
        return shape.patterns + index // 2  # and so of any partition
    return dice.randrange(shape.patterns)


def _event(pattern: UUID, number: int, time: datetime, dice: random.Random) -> PatternScored:
    """One event as the scorer that comes with this writes it: 523 bytes of JSON on average."""
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
