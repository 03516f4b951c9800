"""The log line of written batches: at most one a second, whatever the number of batches."""

import asyncio
from collections.abc import Callable

import structlog

from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.schemas.settings.timing import CLOCK, TIMING, Clock, Timing

logger = structlog.get_logger()


class BatchLog:
    """Sums up the written batches, and logs the sums as `batch_written`.

    A batch is logged at once if the last line is old enough. Otherwise a timer logs the sums later.

    Args:
        lag: returns the number of offsets between the written records and the log's end.
        timing: `batch_line` is the least time between two lines.
        clock: measures the time between two lines.
    """

    def __init__(self, lag: Callable[[], int], timing: Timing = TIMING, clock: Clock = CLOCK) -> None:
        self._lag = lag
        self._seconds = timing.batch_line
        self._clock = clock
        self._logged_at = -timing.batch_line
        self._timer: asyncio.TimerHandle | None = None
        self._total = Accounting()
        self._batches = 0
        self._write_ms_max = self._commit_ms_max = 0.0

    def add(self, accounting: Accounting, *, write_ms: float, commit_ms: float) -> None:
        """Count a batch that is written, and whose offsets are committed."""
        self._total += accounting
        self._batches += 1
        self._write_ms_max = max(self._write_ms_max, write_ms)
        self._commit_ms_max = max(self._commit_ms_max, commit_ms)
        wait = self._logged_at + self._seconds - self._clock.monotonic()
        if wait <= 0:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self.flush)

    def flush(self) -> None:
        """Log the sums since the last line, if there are any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._batches:
            return
        logger.info(
            "batch_written",
            **self._total.as_dict(),
            batches=self._batches,
            lag=self._lag(),
            write_ms_max=round(self._write_ms_max, 1),
            commit_ms_max=round(self._commit_ms_max, 1),
        )
        self._logged_at = self._clock.monotonic()
        self._total, self._batches = Accounting(), 0
        self._write_ms_max = self._commit_ms_max = 0.0
