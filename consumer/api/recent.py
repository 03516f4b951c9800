"""The readings of the last hour, for curves. Pure."""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

HOUR_SECONDS: Final = 3600
READING_SECONDS: Final = 30
"""Interval of the readings."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The counts at one time.

    Attributes:
        at: the time, in seconds since the epoch.
        records: the records that were read so far, or the sum of the offsets that were written.
        dead_letters: the dead letters so far; None if they are not known.
        lag: the lag in offsets; None if it is not known.
    """

    at: float
    records: int
    dead_letters: int | None = None
    lag: int | None = None


class LastHour:
    """The readings of the last hour. They are lost with the process."""

    def __init__(self) -> None:
        self._readings = deque[Reading](maxlen=HOUR_SECONDS // READING_SECONDS + 1)

    def add(self, reading: Reading) -> None:
        """Add a reading. The oldest is dropped."""
        self._readings.append(reading)

    def as_dict(self) -> dict[str, Any]:
        """Return the rates between the readings, as JSON has them."""
        readings = list(self._readings)
        return {
            "since": readings[0].at if readings else None,
            "points": [_point(one, other) for one, other in pairwise(readings)],
        }


def _point(before: Reading, after: Reading) -> dict[str, Any]:
    seconds = after.at - before.at
    records = after.records - before.records
    is_forward = seconds > 0 and records >= 0  # neither the clock nor the count went back
    letters = None
    if before.dead_letters is not None and after.dead_letters is not None:
        letters = max(0, after.dead_letters - before.dead_letters)
    return {
        "at": after.at,
        "records_per_second": records / seconds if is_forward else None,
        "dead_letters": letters,
        "lag": after.lag,
    }
