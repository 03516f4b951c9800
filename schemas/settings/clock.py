"""The limit for agents' clocks that are ahead: one setting for publishers and consumers."""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from pattern_metrics.schemas.event_limits import CLOCK_SKEW_SECONDS
from pattern_metrics.schemas.settings.base import Settings


class ClockSettings(Settings):
    """The limit for agents' clocks that are ahead."""

    max_clock_skew_seconds: Annotated[int, Field(ge=0, le=366 * 24 * 3600)] = Field(
        default=CLOCK_SKEW_SECONDS,
        description="How far in the future a measurement's time may lie, in seconds. An event beyond it is "
        "refused: by the publisher before it is sent, by the worker as a dead letter with the reason "
        "timestamp_in_future. For the worker, the later of its own clock and PostgreSQL's counts.",
    )

    def accepted_until(self, now: datetime) -> datetime:
        """Return the latest acceptable measurement time, as of a moment."""
        return now + timedelta(seconds=self.max_clock_skew_seconds)
