"""Dead letters for tests: storing some, and reading what became of them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from pattern_metrics.consumer.dead_letters.letters import DeadLetter, read_letters
from pattern_metrics.consumer.dead_letters.redrive import redrive
from pattern_metrics.consumer.dead_letters.selection import Selection
from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.record import Rejected, StoredRecord
from pattern_metrics.schemas.dead_letter import RejectReason
from tests.support.events import NOW

ACCEPTED_UNTIL = NOW + timedelta(days=1)
TOPIC = "scores"

OPEN_LETTERS = Selection()
ALL_LETTERS = Selection(status=None)


def a_record(offset: int, value: bytes | None, topic: str = TOPIC, **changes: Any) -> StoredRecord:
    return StoredRecord(
        **{"topic": topic, "partition": 0, "offset": offset, "timestamp": 1, "value": value, **changes}
    )


async def add_letters(
    url: str, records: Iterable[StoredRecord], reason: RejectReason = RejectReason.REFUSED_BY_DATABASE
) -> None:
    """Store records as dead letters, as a worker does."""
    store = Store(url)
    try:
        async with store.transaction() as transaction:
            await transaction.insert_dead_letters(Rejected(record, reason, "as it was") for record in records)
    finally:
        await store.close()


async def run_redrive(url: str, selection: Selection = OPEN_LETTERS) -> Accounting:
    steps = list[tuple[int, int]]()
    accounting = await redrive(
        Store(url),
        selection,
        accepted_until=lambda _: ACCEPTED_UNTIL,
        advance=lambda done, total: steps.append((done, total)),
    )
    assert steps == sorted(steps)
    assert not steps or steps[-1][0] == accounting.read
    return accounting


async def letters(url: str, selection: Selection = ALL_LETTERS) -> list[DeadLetter]:
    found = list[DeadLetter]()
    await read_letters(url, selection, found.append, lambda _done, _total: None)
    return found


async def statuses(url: str) -> dict[int, str]:
    return {letter.record.offset: letter.status for letter in await letters(url)}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    async with connected(url) as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def run_sql(url: str, script: str) -> None:
    async with connected(url) as connection:
        await connection.execute(script)
