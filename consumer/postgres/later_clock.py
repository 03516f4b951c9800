"""The later of this machine's clock and PostgreSQL's decides whether a measurement is in the future."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.schemas.settings.timing import CLOCK, Clock

logger = structlog.get_logger()

CLOCKS_APART_SECONDS: Final = 5.0
"""The difference between the clocks, in seconds, above which it is logged."""


class LaterClock:
    """The later of two clocks: a machine whose clock is slow must not refuse every event.

    Args:
        clock: this machine's clock.
        observe: called with the result of each comparison.

    Attributes:
        clock: this machine's clock.
    """

    def __init__(self, clock: Clock = CLOCK, observe: Callable[[float], None] = lambda _: None) -> None:
        self.clock = clock
        self._observe = observe
        self._ahead_of_monotonic: float | None = None
        self._logged = 0.0

    def now(self) -> datetime:
        """Return the later time. PostgreSQL's is its time at the last comparison plus the time since."""
        now = self.clock.wall()
        if self._ahead_of_monotonic is not None:
            now = max(now, self.clock.monotonic() + self._ahead_of_monotonic)
        return datetime.fromtimestamp(now, UTC)

    async def compare(self, connection: Connection) -> float:
        """Ask PostgreSQL for its time. A difference beyond a few seconds is logged once, until it changes.

        Returns:
            The seconds by which PostgreSQL's clock is ahead, negative if it is behind.

        Raises:
            asyncpg.PostgresError: PostgreSQL refused.
            asyncpg.InterfaceError: the connection broke.
            OSError: the connection broke.
            TimeoutError: PostgreSQL did not answer in time.
        """
        asked_at = self.clock.monotonic()
        time: float = await connection.fetchval(
            "SELECT extract(epoch FROM clock_timestamp())::double precision"
        )
        answered_at = self.clock.monotonic()
        self._ahead_of_monotonic = time - answered_at
        # PostgreSQL read its clock between the two moments. Assuming the middle makes the error smallest.
        difference = time - self.clock.wall() + (answered_at - asked_at) / 2
        self._observe(difference)
        self._log(difference)
        return difference

    def _log(self, difference: float) -> None:
        seconds = difference if abs(difference) > CLOCKS_APART_SECONDS else 0.0
        if abs(seconds - self._logged) <= CLOCKS_APART_SECONDS:
            return
        self._logged = seconds
        if seconds:
            logger.warning("clocks_differ", seconds=round(seconds, 1), hint=hint_of(seconds))
        else:
            logger.info("clocks_agree")


def hint_of(seconds: float) -> str | None:
    """Return what a difference of the clocks means, and what to do; None if it is small enough.

    Args:
        seconds: as `LaterClock.compare` returns them.
    """
    if abs(seconds) <= CLOCKS_APART_SECONDS:
        return None
    slow, fast = "this machine's clock", "PostgreSQL's clock"
    if seconds < 0:
        slow, fast = fast, slow
    return (
        f"{slow} is {abs(seconds):.1f} s behind {fast}: synchronise both by NTP. Until then the later one "
        "decides which measurements are in the future"
    )
