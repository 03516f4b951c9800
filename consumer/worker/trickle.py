"""The wait of a batch for more records, while records trickle in. Pure: the caller passes the time."""

from math import exp, inf
from typing import Final

MEMORY_SECONDS: Final = 0.5
"""The time over which the rate is averaged. Without a record, the rate falls to a third in this time."""

RATE_MIN: Final = 150.0
"""Records a second below which no batch waits: there is too little to gain."""

TRICKLE_RECORDS: Final = 4
"""The number of records that a batch waits for. A busy worker has more of them without any wait."""


class Trickle:
    """Measures the rate of the records, and derives the wait from it.

    At 200 records a second, a transaction for each record costs much more than a transaction for three. A
    record that comes alone must not wait, and neither must a busy worker.

    Args:
        seconds_max: the longest wait.
    """

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._recent = 0.0
        self._noted_at = -inf

    def note(self, records: int, now: float) -> None:
        """Note that records have arrived.

        Args:
            records: how many.
            now: monotonic seconds.
        """
        self._recent = self._recent * exp((self._noted_at - now) / MEMORY_SECONDS) + records
        self._noted_at = now

    @property
    def seconds(self) -> float:
        """The seconds that a batch waits if it begins with the records that were noted last."""
        rate = self._recent / MEMORY_SECONDS
        return min(self._seconds_max, TRICKLE_RECORDS / rate) if rate >= RATE_MIN else 0.0
