"""Replays the topic, or a slice of it, into the table, through the same ingestion as the worker."""

from consumer.health import Health
from consumer.ingestion import Accounting, Batch, decode_batch, store_batch
from consumer.retrying import WEATHER, persevere
from consumer.settings import WorkerSettings
from consumer.shadow import open_store
from consumer.topic import Advance, Slice, read_topic


async def replay(settings: WorkerSettings, which: Slice, *, dry_run: bool, advance: Advance) -> Accounting:
    """Bring the records of a slice into the table; safe beside workers, and to interrupt at any point.

    Args:
        settings: where topic and database are.
        which: the slice.
        dry_run: tell what would be applied, by the same statements, and write nothing.
        advance: told of the progress.

    Returns:
        What became of the slice's records, or would.

    Raises:
        KafkaError: the topic cannot be read.
        ShadowLostError: the connection broke during a dry run; run it again.
        asyncpg.PostgresError: a statement failed, and waiting does not help.
    """
    health, total = Health(), Accounting()
    store = open_store(settings, dry_run=dry_run)
    try:
        async for records in read_topic(settings, which, advance=advance):
            batch = decode_batch(records, accepted_until=settings.accepted_until(), breaker=None)

            async def write(batch: Batch = batch) -> Accounting:
                async with store.transaction() as transaction:
                    return await store_batch(transaction, batch)

            total += await persevere("postgresql", write, health, waits_out=WEATHER)
    finally:
        await store.close()
    return total
