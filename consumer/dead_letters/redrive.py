"""Redrives dead letters through the same code as every record."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from pattern_metrics.consumer.dead_letters.letters import (
    PREFETCH_ROWS,
    Advance,
    count_selected,
    record_of,
)
from pattern_metrics.consumer.dead_letters.selection import Selection, columns_of
from pattern_metrics.consumer.dead_letters.sql import statement
from pattern_metrics.consumer.ingestion import store_batch, without
from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.consumer.postgres.store import Store, StoreTransaction
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import decode_batch
from pattern_metrics.consumer.records.record import Record

PAGE_LETTERS_MAX: Final = 1000


PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A transaction takes no more letters after this many bytes."""


async def redrive(
    store: Store,
    selection: Selection,
    *,
    accepted_until: Callable[[datetime], datetime],
    advance: Advance,
    envelope: Sequence[str] = (),
) -> Accounting:
    """Decode letters again by the current rules and store them. Letters that succeed are marked.

    A letter that is refused again stays open, with the new reason. Each page is one transaction, so a redrive
    may run beside workers, beside another redrive, more than once, and may be interrupted.

    Args:
        store: the letters and the table. It is closed at the end.
        selection: the open letters to redrive.
        accepted_until: returns the latest acceptable measurement time, as of a moment.
        advance: called after each page.
        envelope: the path of KAFKA_ENVELOPE_FIELD, one name a level.

    Returns:
        The outcome of the letters. Its dead letters are the letters that were refused again.

    Raises:
        asyncpg.PostgresError: a statement failed. The pages before it are stored.
        asyncpg.InterfaceError: the connection broke. The pages before it are stored.
        OSError: PostgreSQL cannot be reached.
        TimeoutError: PostgreSQL did not answer in time.
    """
    total, after = Accounting(), ("", -1, -1, -1)
    try:
        async with store.transaction() as transaction:
            letters = await count_selected(transaction.connection, selection)
        while True:
            async with store.transaction() as transaction:
                page = await _next_page(transaction.connection, selection, after)
                if not page:
                    return total
                until = accepted_until(store.clock.now())
                total += await _redrive_page(transaction, page, until, envelope)
            advance(total.read, letters)
            after = _key(page[-1])
    finally:
        await store.close()


async def _next_page(
    connection: Connection, selection: Selection, after: tuple[str, int, int, int]
) -> list[Record]:
    page, size = list[Record](), 0
    rows = connection.cursor(
        statement("select_next_dead_letters"),
        *selection.arguments(),
        *after,
        PAGE_LETTERS_MAX,
        prefetch=PREFETCH_ROWS,
    )
    async for row in rows:
        page.append(record_of(row))
        size += len(row["value"] or b"")
        if size >= PAGE_BYTES_MAX:
            break
    return page


async def _redrive_page(
    transaction: StoreTransaction, page: Sequence[Record], accepted_until: datetime, envelope: Sequence[str]
) -> Accounting:
    batch = decode_batch(page, accepted_until=accepted_until, envelope=envelope)
    accounting, dead = await store_batch(transaction, batch)
    refused = [(*_key(letter.record), letter.reason, letter.detail) for letter in dead]
    await transaction.connection.executemany(statement("update_refused_dead_letter"), refused)
    stored = [_key(each.record) for each in without(batch.accepted, dead)]
    if stored:
        await transaction.connection.execute(statement("update_redriven_dead_letters"), *columns_of(stored))
    return accounting


def _key(record: Record) -> tuple[str, int, int, int]:
    return (record.topic, record.partition, record.offset, record.timestamp)
