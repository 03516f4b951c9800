"""Stores a decoded batch: the only path into the table, for worker, replay, backfill and redrive."""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import TypeVar

from pattern_metrics.consumer.postgres.store import StoreTransaction
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch
from pattern_metrics.consumer.records.folding import by_measurement, by_pattern, fold
from pattern_metrics.consumer.records.record import Accepted, Event, Rejected, Retired

CandidateT = TypeVar("CandidateT", bound=Accepted | Retired)


async def store_batch(transaction: StoreTransaction, batch: Batch) -> tuple[Accounting, list[Rejected]]:
    """Merge a batch's events into the tables and, if it is kept, into the history.

    Retirements go first, because the measurements of the batch are compared with them. Only they lock out
    other writers, so a topic without retirements does not pay for them.

    If PostgreSQL refuses the latest event of a pattern, the latest of the pattern's other events is merged
    instead, so that the table holds the maximum of all valid events. The history is merged first: an event
    that the history refuses is in neither table.

    Returns:
        The outcome of the records; and the records that the caller has to keep as dead letters: first those
        that did not decode, then those that PostgreSQL refused.

    Raises:
        asyncpg.PostgresError: a statement failed for a reason other than a row (see `faults.diagnosis`).
        asyncpg.InterfaceError: the connection broke.
        OSError: PostgreSQL cannot be reached.
        TimeoutError: PostgreSQL did not answer in time.
    """
    table, applied, refused = transaction.table, 0, list[Rejected]()
    if batch.retired:
        await table.exclude_writers()
        applied, refused = await _store(batch.retired, table.retire, transaction)
    merged, others = await _store(batch.accepted, table.merge, transaction)
    applied += merged
    refused += others
    accounting = Accounting(
        applied=applied,
        superseded=len(batch.accepted) + len(batch.retired) - len(refused) - applied,
        dead_letters=len(batch.rejected) + len(refused),
    )
    return accounting, batch.rejected + refused


async def _store(
    events: list[CandidateT],
    merge: Callable[[Iterable[CandidateT]], Awaitable[tuple[int, list[Rejected]]]],
    transaction: StoreTransaction,
) -> tuple[int, list[Rejected]]:
    """Store events of one kind in the history, if it is kept, and in the table."""
    refused = list[Rejected]()
    if transaction.keeps_history:
        _, refused = await _merge(events, by_measurement, transaction.table.merge_history)
        events = without(events, refused)
    applied, others = await _merge(events, by_pattern, merge)
    return applied, refused + others


async def _merge(
    candidates: list[CandidateT],
    key: Callable[[Event], Hashable],
    merge: Callable[[Iterable[CandidateT]], Awaitable[tuple[int, list[Rejected]]]],
) -> tuple[int, list[Rejected]]:
    """Merge the latest event of each key. If it is refused, merge the latest of the key's other events."""
    applied, refused = 0, list[Rejected]()
    while candidates:
        merged, losers = await merge(fold(candidates, key).values())
        applied += merged
        refused += losers
        if not losers:
            break
        records = {id(loser.record) for loser in losers}
        keys = {key(candidate.event) for candidate in candidates if id(candidate.record) in records}
        candidates = [each for each in without(candidates, losers) if key(each.event) in keys]
    return applied, refused


def without(accepted: list[CandidateT], refused: Iterable[Rejected]) -> list[CandidateT]:
    """Return the valid records without the records that PostgreSQL refused."""
    records = {id(each.record) for each in refused}
    return [each for each in accepted if id(each.record) not in records] if records else accepted
