"""Batches as a store gets them, without a topic."""

from collections.abc import Iterable
from typing import Final

from consumer.ingestion import Accounting, Batch, decode_batch, store_batch
from consumer.store import Store
from schemas.pattern_scored import PatternScored
from tests.support.events import TopicRecord
from tests.support.pipeline import BASE_TIME

FUTURE: Final = BASE_TIME.replace(year=2100)
"""Later than any measurement of a test."""


def a_batch(values: Iterable[PatternScored | bytes | None], first_offset: int = 0) -> Batch:
    """The decoded records of these values, in order."""
    records = [
        TopicRecord(value.to_json() if isinstance(value, PatternScored) else value, offset=offset)
        for offset, value in enumerate(values, start=first_offset)
    ]
    return decode_batch(records, accepted_until=FUTURE, breaker=None)


async def write(store: Store, batch: Batch) -> Accounting:
    """In one transaction, without a group's progress."""
    async with store.transaction() as transaction:
        return await store_batch(transaction, batch)
