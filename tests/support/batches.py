"""Batches for tests of the store, without a topic."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import asyncpg

from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch, decode_batch
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.events import TopicRecord
from tests.support.pipeline import BASE_TIME
from tests.support.waiting import eventually

FUTURE: Final = BASE_TIME.replace(year=2100)
"""Later than any measurement of a test."""


def a_batch(values: Iterable[PatternScored | bytes | None], first_offset: int = 0) -> Batch:
    """Decode these values as records, in order."""
    records = [
        TopicRecord(value.to_json() if isinstance(value, PatternScored) else value, offset=offset)
        for offset, value in enumerate(values, start=first_offset)
    ]
    return decode_batch(records, accepted_until=FUTURE)


async def write(store: Store, batch: Batch) -> Accounting:
    """Write a batch in one transaction, without a group's progress."""
    async with store.transaction() as transaction:
        accounting, dead = await store_batch(transaction, batch)
        await transaction.insert_dead_letters(dead)
    return accounting


async def costs_next_to_no_wal(
    write_again: Callable[[], Awaitable[object]], events: int, database: asyncpg.Connection
) -> bool:
    """Repeat a write that changes nothing until it costs less than a byte of WAL per event.

    WAL is counted for the whole server. Autovacuum, and the full page that the first change after a
    checkpoint writes, add to it now and then; the cost of the batch itself would come each time.

    Raises:
        AssertionError: it costs more each time.
    """

    async def it_does() -> bool:
        before = await database.fetchval("SELECT pg_current_wal_insert_lsn()")
        await write_again()
        written = await database.fetchval("SELECT pg_current_wal_insert_lsn() - $1::pg_lsn", before)
        return bool(written < events)

    return await eventually(it_does)
