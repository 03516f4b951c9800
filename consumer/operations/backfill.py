"""Writes measurements from a file, or from an agent without Kafka, by the same path as the worker."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import TRANSIENT, persevere
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.operations.files.refusals import Refusals
from pattern_metrics.consumer.operations.files.source import BrokenSourceError
from pattern_metrics.consumer.operations.measurement_files import MeasurementSource
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import BATCH_BYTES_MAX, Batch, batch_of, decode_batch, size_of
from pattern_metrics.consumer.records.record import Accepted, StoredRecord
from pattern_metrics.schemas.pattern_scored import Measurement, PatternScored

BACKFILL_RECORDS: Final = 1000


@dataclass(frozen=True, slots=True)
class BackfillRules:
    """The measurements of a source to take, and the pace of writing them.

    Attributes:
        accepted_until: returns the latest acceptable measurement time, as of a moment.
        limit: the greatest number of measurements; None for all.
        min_confidence: measurements below it are skipped.
        batch_records: measurements in one transaction.
        delay_seconds: the pause between two transactions.
    """

    accepted_until: Callable[[datetime], datetime]
    limit: int | None = None
    min_confidence: float = 0.0
    batch_records: int = BACKFILL_RECORDS
    delay_seconds: float = 0.0


@dataclass(slots=True)
class BackfillReport:
    """The outcome of the measurements so far.

    Attributes:
        accounting: the outcome of the measurements that were taken.
        passed_over: the number of measurements that were skipped for their confidence.
        refusals: the faults of the lines that hold no valid measurement.
        broken: the reason why the file could not be read to its end; empty otherwise.
    """

    accounting: Accounting = field(default_factory=Accounting)
    passed_over: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    broken: str = ""

    @property
    def read(self) -> int:
        """The number of measurements that were read."""
        return self.accounting.read + self.passed_over

    def as_dict(self) -> dict[str, int]:
        """Return the numbers as JSON has them."""
        return {**self.accounting.as_dict(), "passed_over": self.passed_over}

    def __str__(self) -> str:
        passed_over = f"; passed over {self.passed_over:,} for their confidence" if self.passed_over else ""
        return f"{self.accounting}{passed_over}"


async def backfill(
    store: Store,
    source: MeasurementSource,
    rules: BackfillRules,
    on_refused: Callable[[int, str], None],
    advance: Callable[[float], None] = lambda _: None,
) -> BackfillReport:
    """Write a source's measurements into the table. A second run changes nothing.

    Args:
        store: the table; a `ShadowStore` shows what would be applied. It is closed at the end.
        source: the measurements.
        rules: the measurements to take.
        on_refused: called with the number and the fault of each line that holds no valid measurement.
        advance: called with the number of bytes of the file that are done since the last call; approximate.

    Returns:
        The outcome of the measurements, also of a file that could not be read to its end.

    Raises:
        asyncpg.PostgresError: a statement failed, and waiting does not help. Outages are waited out.
        ShadowLostError: the connection broke during a dry run.
    """
    health, report = Health(), BackfillReport()
    try:
        await persevere("postgresql", store.compare_clocks, health, waits_out=TRANSIENT)
        for records in _batches(islice(source.records(advance), rules.limit), rules.batch_records):
            if report.accounting.read:
                await asyncio.sleep(rules.delay_seconds)
            batch = _decode(records, rules, store.clock.now())
            for rejected in batch.rejected:
                why = f"{rejected.reason}: {rejected.detail}"
                report.refusals.add(rejected.reason, why)
                on_refused(rejected.record.offset, why)
            report.accounting += await _write(store, batch, health)
            report.passed_over += len(records) - batch.size
    except BrokenSourceError as error:
        report.broken = str(error)
    finally:
        await store.close()
    return report


def _batches(records: Iterator[StoredRecord], records_max: int) -> Iterator[list[StoredRecord]]:
    """Cut the records into batches, which are limited in bytes as well.

    Raises:
        BrokenSourceError: the file cannot be read any further. The batch of the records before it was
            yielded.
    """
    batch, size = list[StoredRecord](), 0
    try:
        for record in records:
            batch.append(record)
            size += size_of(record)
            if len(batch) == records_max or size >= BATCH_BYTES_MAX:
                yield batch
                batch, size = [], 0
    except BrokenSourceError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _decode(records: Sequence[StoredRecord], rules: BackfillRules, now: datetime) -> Batch:
    batch = decode_batch(records, accepted_until=rules.accepted_until(now))
    return batch_of(
        fate
        for fates in batch.fates.values()
        for fate in fates
        if not isinstance(fate, Accepted) or fate.event.confidence >= rules.min_confidence
    )


async def _write(store: Store, batch: Batch, health: Health) -> Accounting:
    async def write() -> Accounting:
        async with store.transaction() as transaction:
            accounting, dead = await store_batch(transaction, batch)
            await transaction.insert_dead_letters(dead)
        return accounting

    return await persevere("postgresql", write, health, waits_out=TRANSIENT)


async def store_quality_metrics(
    database_url: str, measurements: Sequence[Measurement], *, keeps_history: bool = False
) -> Accounting:
    """Write measurements into the table, for an agent without Kafka. An outage of PostgreSQL is waited out.

    The law is the same as everywhere: a measurement that is not newer than its pattern's row changes nothing.
    A `Measurement`, which has no id, gets one that is derived from its content. Storing it twice is a retry.

    Args:
        database_url: as in DATABASE_URL.
        measurements: the measurements, written in one transaction.
        keeps_history: whether all of them are kept in `pattern_quality_history` as well.

    Returns:
        The outcome of the measurements. Its dead letters are the measurements that the database refused.

    Raises:
        InvalidDatabaseUrlError: the URL cannot be used; the message says what to write.
        asyncpg.PostgresError: a statement failed, and waiting does not help.
    """
    events = [
        measurement if isinstance(measurement, PatternScored) else PatternScored.from_measurement(measurement)
        for measurement in measurements
    ]
    batch = batch_of(
        Accepted(StoredRecord("agent", 0, number, -1, event.to_json()), event)
        for number, event in enumerate(events, start=time.time_ns())  # gives each call its own numbers
    )
    store = Store(database_url, keeps_history=keeps_history)
    try:
        return await _write(store, batch, Health())
    finally:
        await store.close()
