"""Replays the topic, or a slice of it, into the table, through the same code as the worker."""

from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from uuid import UUID

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import TRANSIENT, persevere
from pattern_metrics.consumer.ingestion import store_batch, without
from pattern_metrics.consumer.kafka.clients import release_values
from pattern_metrics.consumer.kafka.topic import Advance, Slice, read_topic
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.consumer.postgres.shadow import open_store
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch, batch_of, decode_batch
from pattern_metrics.consumer.records.record import Record, Rejected
from pattern_metrics.consumer.settings import WorkerSettings


async def replay(
    settings: WorkerSettings,
    which: Slice,
    *,
    dry_run: bool,
    advance: Advance,
    pattern_id: UUID | None = None,
) -> Accounting:
    """Store the records of a slice. Workers may run meanwhile. The replay may be interrupted at any point.

    Args:
        settings: the topic and the database.
        which: the slice.
        dry_run: count by the same law what would be applied, and write nothing.
        advance: called with the progress.
        pattern_id: only this pattern's records, whatever their keys. Records that do not decode are included
            if they have its key.

    Returns:
        The outcome of the slice's records; in a dry run, the outcome that they would have.

    Raises:
        KafkaError: the topic cannot be read.
        InvalidSliceError: the topic has no such partition.
        ShadowLostError: the connection broke during a dry run; run it again.
        asyncpg.PostgresError: a statement failed, and waiting does not help. Outages are waited out.
    """
    health, total = Health(), Accounting()
    store = open_store(settings, dry_run=dry_run)
    try:
        async with aclosing(read_topic(settings, which, advance=advance)) as batches:
            async for records in batches:
                if not total.read:  # an outage of PostgreSQL must not hide a wrong topic or broker
                    await persevere("postgresql", store.compare_clocks, health, waits_out=TRANSIENT)
                accepted_until = settings.accepted_until(store.clock.now())
                batch = decode_batch(records, accepted_until=accepted_until, envelope=settings.envelope)
                release_values(each.record for each in batch.accepted)
                if pattern_id is not None:
                    batch = _of_pattern(batch, pattern_id)
                write = partial(_write, store, batch, dry_run=dry_run)
                total += await persevere("postgresql", write, health, waits_out=TRANSIENT)
    finally:
        await store.close()
    return total


async def _write(store: Store, batch: Batch, *, dry_run: bool) -> Accounting:
    async with store.transaction() as transaction:
        accounting, dead = await store_batch(transaction, batch)
        await transaction.insert_dead_letters(dead)
        stored = without(batch.accepted, dead)
        if stored and not dry_run:
            await _mark_redriven(transaction.connection, [each.record for each in stored])
    return accounting


async def _mark_redriven(connection: Connection, stored: Sequence[Record]) -> None:
    """Mark open dead letters of one partition whose records are stored now."""
    topic, partition = stored[0].topic, stored[0].partition
    keys = {(record.offset, record.timestamp) for record in stored}
    letters = await connection.fetch(
        statement("select_open_dead_letters"), topic, partition, min(keys)[0], max(keys)[0]
    )
    redriven = [(topic, partition, *key) for key in map(tuple, letters) if key in keys]
    if redriven:
        await connection.executemany(statement("update_replayed_dead_letter"), redriven)


def _of_pattern(batch: Batch, pattern_id: UUID) -> Batch:
    """Keep one pattern's records, and the records with its key that did not decode."""
    key = str(pattern_id).encode()
    return batch_of(
        fate
        for fates in batch.fates.values()
        for fate in fates
        if (fate.record.key == key if isinstance(fate, Rejected) else fate.event.pattern_id == pattern_id)
    )
