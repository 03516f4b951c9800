"""Writes decoded records to the table, over as many connections at once as there are stores."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import asyncpg

from pattern_metrics.consumer.faults.retrying import persevere
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch
from pattern_metrics.consumer.stopping import cancel
from pattern_metrics.consumer.telemetry.tracing import BatchTrace
from pattern_metrics.consumer.worker.equipment import Equipment
from pattern_metrics.schemas.settings.timing import CLOCK, TIMING, Clock, Timing

Landed: TypeAlias = Callable[[Batch, Accounting], None]
"""Called with each batch whose transaction has committed, and with the outcome of its records."""


class BatchLimit:
    """The number of records in one transaction: halved after a statement that took too long, then raised.

    Args:
        timing: a write that takes less than `quick` doubles the limit.
        clock: measures the writes.
    """

    def __init__(self, timing: Timing = TIMING, clock: Clock = CLOCK) -> None:
        self._quick = timing.quick
        self._clock = clock
        self._records_max: int | None = None

    def take(self, batch: Batch) -> tuple[Batch, Batch | None]:
        """Return the batch to write next, and the rest for later, if there is one."""
        return (batch, None) if self._records_max is None else batch.first(self._records_max)

    @contextmanager
    def learn(self, batch: Batch) -> Iterator[None]:
        """Measure the write of a batch inside the block.

        Raises:
            asyncpg.QueryCanceledError: it took too long; the next transaction will be smaller.
        """
        began_at = self._clock.monotonic()
        try:
            yield
        except asyncpg.QueryCanceledError:
            self._records_max = max(1, batch.size // 2)
            raise
        if self._records_max is not None and self._clock.monotonic() - began_at < self._quick:
            self._records_max = max(self._records_max, 2 * batch.size)


class Writers:
    """The worker's connections to PostgreSQL. Each writes one part of a batch.

    Args:
        equipment: each of its stores gets a part, all at once. Failures go to its health, refusals by the
            database to its breaker, and written records to its metrics.
    """

    def __init__(self, equipment: Equipment) -> None:
        self._equipment = equipment
        self._limit = BatchLimit(equipment.timing, equipment.clock)

    async def write(self, batch: Batch, landed: Landed, trace: BatchTrace) -> Accounting:
        """Write a batch, for as long as it takes.

        Args:
            batch: the records.
            landed: called for each transaction that has committed.
            trace: records the writes.

        Returns:
            The outcome of the records.

        Raises:
            ProgressLostError: the database went back in time. Other parts may be written nevertheless.
        """
        stores = self._equipment.stores
        writing = [
            asyncio.create_task(self._write(store, part, landed, trace))
            for store, part in zip(stores, batch.split(len(stores)), strict=False)
        ]
        try:
            return sum(await asyncio.gather(*writing), Accounting())
        finally:
            for task in writing:
                await cancel(task)

    async def _write(self, store: Store, whole: Batch, landed: Landed, trace: BatchTrace) -> Accounting:
        """Write as many records as the database takes at once (nearly always all), until none is left."""
        total = Accounting()
        rest: Batch | None = whole
        while rest is not None:
            attempt = partial(self._attempt, store, rest, trace)
            batch, rest, accounting = await persevere("postgresql", attempt, self._equipment.health)
            landed(batch, accounting)
            total += accounting
        return total

    async def _attempt(
        self, store: Store, whole: Batch, trace: BatchTrace
    ) -> tuple[Batch, Batch | None, Accounting]:
        equipment = self._equipment
        began_at = equipment.clock.monotonic()
        batch, rest = self._limit.take(whole)
        with trace.span("write", batch.size), self._limit.learn(batch):
            async with store.transaction() as transaction:
                accounting, dead = await store_batch(transaction, batch)
                await transaction.insert_dead_letters(dead)
                await transaction.advance_progress(equipment.settings.kafka_group_id, batch.ranges)
        equipment.breaker.observe_written(accounting)
        equipment.metrics.batch_written(batch, accounting, equipment.clock.monotonic() - began_at)
        return batch, rest, accounting
