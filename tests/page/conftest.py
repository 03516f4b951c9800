"""A database that the product itself filled, and the page in front of it."""

from collections.abc import AsyncIterator, Iterable

import pytest_asyncio

from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.offsets import OffsetRange, Start
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.batches import a_batch, write
from tests.support.browser import served


async def fill(url: str, values: Iterable[PatternScored | bytes | None], first_offset: int = 0) -> None:
    """Store values, as a worker with HISTORY_ENABLED does."""
    store = Store(url, keeps_history=True)
    try:
        await write(store, a_batch(values, first_offset))
    finally:
        await store.close()


async def fill_progress(url: str, group: str = "group", topic: str = "scores") -> None:
    """Store progress and a gap, as a worker does that lost records to retention."""
    store = Store(url)
    partitions = {(topic, number): Start(7, gap=OffsetRange(2, 7)) for number in range(3)}
    try:
        async with store.transaction() as transaction:
            await transaction.begin_at(group, partitions)
    finally:
        await store.close()


@pytest_asyncio.fixture(loop_scope="session")
async def address(migrated_database_url: str) -> AsyncIterator[str]:
    """The page's address, without a worker."""
    async with served(migrated_database_url) as address:
        yield address
