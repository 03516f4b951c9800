"""The mean quality week by week, and since when it rises or falls. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

WEEKS: Final = 26
WEEK: Final = timedelta(weeks=1)
LEVEL: Final = 0.0005
"""A change of the mean that is smaller than this is none: the page shows three digits."""


class Direction(StrEnum):
    """The direction of the mean."""

    RISING = "rising"
    FALLING = "falling"
    LEVEL = "level"


@dataclass(frozen=True, slots=True)
class Week:
    """The state at the end of a week.

    Attributes:
        week: its Monday.
        patterns: the number of patterns.
        mean: the mean of their scores.
    """

    week: date
    patterns: int
    mean: float


def first_week(today: date) -> date:
    """Return the Monday of the first week that is shown."""
    return today - timedelta(days=today.weekday()) - (WEEKS - 1) * WEEK


def weeks_of(added: Mapping[date, tuple[float, int]], today: date) -> list[Week]:
    """Return each week from the first that has patterns to the present one.

    Args:
        added: how much each week added to the sum of the scores and to the number of patterns.
        today: a day of the last week.
    """
    weeks, total, patterns = list[Week](), 0.0, 0
    for number in range(WEEKS):
        week = first_week(today) + number * WEEK
        more_quality, more_patterns = added.get(week, (0.0, 0))
        total, patterns = total + more_quality, patterns + more_patterns
        if patterns > 0:
            weeks.append(Week(week, patterns, min(1.0, max(0.0, total / patterns))))
    return weeks


def direction_of(weeks: Sequence[Week]) -> tuple[Direction, Week]:
    """Return the present direction, and the last week before the mean took it."""
    direction, since = Direction.LEVEL, weeks[-1]
    for earlier, later in zip(reversed(weeks[:-1]), reversed(weeks), strict=False):
        step = _direction(later.mean - earlier.mean)
        if direction is Direction.LEVEL:
            direction = step
        elif step not in {direction, Direction.LEVEL}:
            break
        since = earlier
    return direction, since


def _direction(change: float) -> Direction:
    if abs(change) < LEVEL:
        return Direction.LEVEL
    return Direction.RISING if change > 0 else Direction.FALLING
