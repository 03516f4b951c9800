"""How much is written in one transaction: less, where the database takes too long for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import asyncpg

from pattern_metrics.consumer.postgres.connection import STATEMENT_SECONDS_MAX
from pattern_metrics.consumer.records.batch import Part, _batch, _in_order, count
from pattern_metrics.consumer.records.offsets import cut

QUICK_SECONDS_MAX: Final = STATEMENT_SECONDS_MAX / 4
"""Who wrote so quickly can write twice as much in time."""


class Pace:
    """At most so many records in one transaction: halved where a statement takes too long, then doubled."""

    def __init__(self) -> None:
        self._records_max: int | None = None

    def take(self, whole: Part) -> tuple[Part, Part | None]:
        """What to write next, and what is left for later, if anything."""
        batch, ranges = whole.batch, whole.ranges
        if self._records_max is None or count(batch) <= self._records_max:
            return whole, None
        fates = _in_order(whole)
        now, later = _batch(fates[: self._records_max]), _batch(fates[self._records_max :])
        written = cut(ranges, now.last)
        left = {
            partition: replace(offsets, start=written[partition].end) if partition in written else offsets
            for partition, offsets in ranges.items()
        }
        left = {partition: offsets for partition, offsets in left.items() if offsets.start < offsets.end}
        return Part(now, written), Part(later, left)

    @contextmanager
    def learn(self, part: Part) -> Iterator[None]:
        """See how long it takes to write this.

        Raises:
            asyncpg.QueryCanceledError: too long; the next one will be smaller.
        """
        began_at, records = time.monotonic(), count(part.batch)
        try:
            yield
        except asyncpg.QueryCanceledError:
            self._records_max = max(1, records // 2)
            raise
        if self._records_max is not None and time.monotonic() - began_at < QUICK_SECONDS_MAX:
            self._records_max = max(self._records_max, 2 * records)
