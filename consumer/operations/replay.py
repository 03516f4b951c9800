"""Replays the topic, or a slice of it, into the table, through the same ingestion as the worker."""

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from uuid import UUID

from typing_extensions import override

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import WEATHER, persevere
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.kafka.topic import Advance, Slice, read_topic
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.shadow import open_store
from pattern_metrics.consumer.postgres.store import StoreTransaction
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch, decode_batch
from pattern_metrics.consumer.records.record import Accepted, Record, Rejected
from pattern_metrics.consumer.settings import WorkerSettings


class _ReplayTransaction(StoreTransaction):
    """Where an open dead letter whose record is stored now is marked as redriven.

    Args:
        within: the transaction.
        accepted: records of one partition.
    """

    def __init__(self, within: StoreTransaction, accepted: Sequence[Accepted]) -> None:
        super().__init__(within.connection, keeps_history=within.keeps_history)
        self._accepted = accepted

    @override
    async def insert_dead_letters(self, rejected: Iterable[Rejected]) -> None:
        refused = list(rejected)
        await super().insert_dead_letters(refused)
        refused_ids = {id(letter.record) for letter in refused}
        stored = [one.record for one in self._accepted if id(one.record) not in refused_ids]
        if stored:
            await self._mark_redriven(stored)

    async def _mark_redriven(self, stored: Sequence[Record]) -> None:
        topic, partition = stored[0].topic, stored[0].partition
        keys = {(record.offset, record.timestamp) for record in stored}
        letters = await self.connection.fetch(
            statement("select_open_dead_letters"), topic, partition, min(keys)[0], max(keys)[0]
        )
        redriven = [(topic, partition, *key) for key in map(tuple, letters) if key in keys]
        if redriven:
            await self.connection.executemany(statement("update_replayed_dead_letter"), redriven)


async def replay(
    settings: WorkerSettings,
    which: Slice,
    *,
    dry_run: bool,
    advance: Advance,
    pattern_id: UUID | None = None,
) -> Accounting:
    """Bring the records of a slice into the table; safe beside workers, and to interrupt at any point.

    Args:
        settings: where topic and database are.
        which: the slice.
        dry_run: tell what would be applied, by the same statements, and write nothing.
        advance: told of the progress.
        pattern_id: only this pattern's records, whatever their keys; of what does not decode, those with its
            key.

    Returns:
        What became of the slice's records, or would.

    Raises:
        KafkaError: the topic cannot be read.
        InvalidSliceError: the topic has no such partition.
        ShadowLostError: the connection broke during a dry run; run it again.
        asyncpg.PostgresError: a statement failed, and waiting does not help.
    """
    health, total = Health(), Accounting()
    store = open_store(settings, dry_run=dry_run)
    try:
        async with aclosing(read_topic(settings, which, advance=advance)) as batches:
            async for records in batches:
                batch = decode_batch(records, accepted_until=settings.accepted_until(), breaker=None)
                if pattern_id is not None:
                    batch = _of_pattern(batch, pattern_id)

                async def write(batch: Batch = batch) -> Accounting:
                    async with store.transaction() as transaction:
                        if dry_run:
                            return await store_batch(transaction, batch)
                        replaying = _ReplayTransaction(transaction, batch.accepted)
                        return await store_batch(replaying, batch)

                total += await persevere("postgresql", write, health, waits_out=WEATHER)
    finally:
        await store.close()
    return total


def _of_pattern(batch: Batch, pattern_id: UUID) -> Batch:
    return Batch(
        [accepted for accepted in batch.accepted if accepted.event.pattern_id == pattern_id],
        [rejected for rejected in batch.rejected if rejected.record.key == str(pattern_id).encode()],
        batch.last,
    )
