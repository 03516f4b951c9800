"""Measurements from a file, or from an agent without Kafka, into the table by the same path."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import WEATHER, persevere
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.operations.measurement_files import Source
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch, batch_of, decode_batch
from pattern_metrics.consumer.records.record import Accepted, Rejected, StoredRecord
from pattern_metrics.schemas.pattern_scored import Measurement, PatternScored

BATCH_RECORDS: Final = 1000


@dataclass(frozen=True, slots=True)
class BackfillRules:
    """How much of a source is taken, and how fast.

    Attributes:
        accepted_until: the latest acceptable measurement time.
        limit: the first so many measurements; None for all.
        min_confidence: measurements below it are passed over.
        batch_records: measurements in one transaction.
        delay_seconds: the pause between two transactions.
    """

    accepted_until: datetime
    limit: int | None = None
    min_confidence: float = 0.0
    batch_records: int = BATCH_RECORDS
    delay_seconds: float = 0.0


@dataclass(slots=True)
class BackfillReport:
    """What became of the measurements, kept current.

    Attributes:
        accounting: of those that were taken.
        passed_over: how many were not, for their confidence.
    """

    accounting: Accounting = field(default_factory=Accounting)
    passed_over: int = 0

    def as_dict(self) -> dict[str, int]:
        """For a program."""
        return {**self.accounting.as_dict(), "passed_over": self.passed_over}

    def __str__(self) -> str:
        passed_over = f"; passed over {self.passed_over:,} for their confidence" if self.passed_over else ""
        return f"{self.accounting}{passed_over}"


async def backfill(
    store: Store, source: Source, rules: BackfillRules, on_refused: Callable[[int, str], None]
) -> BackfillReport:
    """Bring a source's measurements into the table; run twice, it changes nothing the second time.

    Args:
        store: where to write; a `ShadowStore` to see what would be applied. It is closed at the end.
        source: the measurements.
        rules: what is taken.
        on_refused: told of each line that holds no valid measurement: its number, and why.

    Raises:
        asyncpg.PostgresError: a statement failed, and waiting does not help.
        InvalidSourceError: as `csv_lines`.
    """
    health, report = Health(), BackfillReport()
    records = islice(source.records(), rules.limit)
    try:
        while part := list(islice(records, rules.batch_records)):
            if report.accounting.read:
                await asyncio.sleep(rules.delay_seconds)
            batch = _decode(part, rules)
            for rejected in batch.rejected:
                on_refused(rejected.record.offset, f"{rejected.reason}: {rejected.detail}")
            report.accounting += await _write(store, batch, health)
            report.passed_over += len(part) - batch.size
    finally:
        await store.close()
    return report


def _decode(records: Sequence[StoredRecord], rules: BackfillRules) -> Batch:
    batch = decode_batch(records, accepted_until=rules.accepted_until)
    return batch_of(
        fate
        for fates in batch.fates.values()
        for fate in fates
        if isinstance(fate, Rejected) or fate.event.confidence >= rules.min_confidence
    )


async def _write(store: Store, batch: Batch, health: Health) -> Accounting:
    async def write() -> Accounting:
        async with store.transaction() as transaction:
            accounting, dead = await store_batch(transaction, batch)
            await transaction.insert_dead_letters(dead)
        return accounting

    return await persevere("postgresql", write, health, waits_out=WEATHER)


async def store_quality_metrics(
    database_url: str, measurements: Sequence[Measurement], *, keeps_history: bool = False
) -> Accounting:
    """Write measurements into the table without Kafka, for an agent that has none; waits out an outage.

    The same law as everywhere: a measurement that is not newer than its pattern's row changes nothing. One
    that is no `PatternScored` is named by its content, so that to store it twice is a retry.

    Args:
        database_url: any DSN that asyncpg knows.
        measurements: what to store; in one transaction.
        keeps_history: whether all of them are kept in `pattern_quality_history` as well.

    Returns:
        What became of them; a dead letter is one that the database refused.

    Raises:
        asyncpg.PostgresError: a statement failed, and waiting does not help.
    """
    events = [
        measurement if isinstance(measurement, PatternScored) else PatternScored.from_measurement(measurement)
        for measurement in measurements
    ]
    batch = batch_of(
        Accepted(StoredRecord("agent", 0, number, -1, event.to_json()), event)
        for number, event in enumerate(events, start=time.time_ns())  # so that each call has its own
    )
    store = Store(database_url, keeps_history=keeps_history)
    try:
        return await _write(store, batch, Health())
    finally:
        await store.close()
