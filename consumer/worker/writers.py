"""Decoded records → the table, through as many connections at once as there are stores."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

import asyncpg

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import persevere
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.postgres.connection import STATEMENT_SECONDS_MAX
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting, Breaker
from pattern_metrics.consumer.records.batch import Part, _batch, _in_order, count
from pattern_metrics.consumer.records.offsets import Partition, cut
from pattern_metrics.consumer.stopping import cancel
from pattern_metrics.consumer.telemetry.metrics import Metrics, Span
from pattern_metrics.consumer.telemetry.tracing import BatchTrace

Landed: TypeAlias = Callable[[Accounting, dict[Partition, int]], None]
"""Told of what is written: what became of the records, and up to where each partition is."""


class Writers:
    """The worker's connections to PostgreSQL, one for each part of what was polled.

    Args:
        stores: written to at once; no two parts have a partition in common.
        group: the consumer group whose progress is written with each part.
        health: told of every failure, after which the same is tried again.
        breaker: told of what the database alone refuses.
        metrics: told of all that is written.
    """

    def __init__(
        self, stores: Sequence[Store], group: str, health: Health, breaker: Breaker, metrics: Metrics
    ) -> None:
        self._stores = stores
        self._group = group
        self._health = health
        self._breaker = breaker
        self._metrics = metrics
        self._pace = Pace()

    async def write(
        self, parts: Sequence[Part], spans: Mapping[Partition, Span], landed: Landed, trace: BatchTrace
    ) -> Accounting:
        """Write all parts, for as long as it takes.

        Raises:
            ProgressLostError: the database went back in time; other parts may be written nevertheless.
        """
        writing = [
            asyncio.create_task(self._write(store, part, spans, landed, trace))
            for store, part in zip(self._stores, parts, strict=False)
        ]
        try:
            return sum(await asyncio.gather(*writing), Accounting())
        finally:
            for task in writing:
                await cancel(task)

    async def _write(
        self, store: Store, part: Part, spans: Mapping[Partition, Span], landed: Landed, trace: BatchTrace
    ) -> Accounting:
        """Write as much as the database takes at once, which is nearly always all, until nothing is left."""
        total, rest = Accounting(), [part]
        while rest:
            some = await persevere("postgresql", partial(self._attempt, store, rest[0], trace), self._health)
            finished = {one: span for one, span in spans.items() if one in some.finished}
            self._breaker.observe_written(some.accounting)
            self._metrics.batch_written(some.part.batch, some.accounting, finished, some.seconds)
            landed(some.accounting, {one: offsets.end for one, offsets in some.part.ranges.items()})
            total += some.accounting
            rest = [some.rest] if some.rest else []
        return total

    async def _attempt(self, store: Store, whole: Part, trace: BatchTrace) -> "_Written":
        began_at = time.monotonic()
        part, rest = self._pace.take(whole)
        with trace.span("write", count(part.batch)), self._pace.learn(part):
            async with store.transaction() as transaction:
                accounting = await store_batch(transaction, part.batch, group=self._group, ranges=part.ranges)
        return _Written(part, rest, accounting, time.monotonic() - began_at)


@dataclass(frozen=True, slots=True)
class _Written:
    part: Part
    rest: Part | None
    accounting: Accounting
    seconds: float

    @property
    def finished(self) -> set[Partition]:
        """Partitions of which nothing is left."""
        return self.part.ranges.keys() - (self.rest.ranges.keys() if self.rest else set())


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
