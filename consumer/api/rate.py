"""Estimates the rate of the work, and its end, from the readings of the last minute. Pure."""

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

WINDOW_SECONDS: Final = 60.0
APART_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """The values that were read at one time.

    Attributes:
        at: the time, in seconds.
        values: counters or lags by name.
    """

    at: float
    values: Mapping[Hashable, float]


class Pace:
    """The change per second of each value, over the last minute at most."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque()

    def look(self, at: float, values: Mapping[Any, float]) -> None:
        """Add a reading. A reading too soon after the last one is ignored."""
        while self._looks and at - self._looks[0].at > WINDOW_SECONDS:
            self._looks.popleft()
        if not self._looks or at - self._looks[-1].at >= APART_SECONDS:
            self._looks.append(Look(at, dict(values)))

    def rate(self, key: Hashable) -> float | None:
        """Return the change per second; None without two readings."""
        seen = [(look.at, look.values[key]) for look in self._looks if key in look.values]
        if len(seen) < 2:  # noqa: PLR2004 - a rate needs two readings
            return None
        (first_at, first), (last_at, last) = seen[0], seen[-1]
        return (last - first) / (last_at - first_at)

    def seconds_until_zero(self, key: Hashable) -> float | None:
        """Return the seconds until the value is zero at this rate; None if that is unknown or never."""
        rate = self.rate(key)
        left = next((look.values[key] for look in reversed(self._looks) if key in look.values), None)
        if left == 0:
            return 0.0
        return None if rate is None or left is None or rate >= 0 else left / -rate
