"""Store a decoded batch: the one path of everything that brings records into the table."""

from collections.abc import Awaitable, Callable, Hashable, Iterable

from pattern_metrics.consumer.postgres.store import StoreTransaction
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch
from pattern_metrics.consumer.records.folding import by_measurement, by_pattern, fold
from pattern_metrics.consumer.records.record import Accepted, Event, Rejected


async def store_batch(transaction: StoreTransaction, batch: Batch) -> tuple[Accounting, list[Rejected]]:
    """Merge a batch's events into the table and, where it is kept, into the history.

    If PostgreSQL refuses the latest event of a pattern, the latest of the pattern's other events takes its
    place, so that the table stays the maximum of what is valid. The history comes first: an event that the
    history refuses is in neither.

    Returns:
        What became of the records; and the records that the caller has to keep as dead letters: first the
        records that did not decode, then the records that PostgreSQL refused.

    Raises:
        asyncpg.PostgresError: a statement failed for a reason that is not a row's (see `faults.diagnosis`).
        asyncpg.InterfaceError: the connection broke.
        OSError: PostgreSQL is not reachable.
        TimeoutError: PostgreSQL did not answer in time.
    """
    accepted, refused = batch.accepted, list[Rejected]()
    if transaction.keeps_history:
        _, refused = await _merge(accepted, by_measurement, transaction.table.merge_history)
        accepted = without(accepted, refused)
    applied, others = await _merge(accepted, by_pattern, transaction.table.merge)
    refused += others
    accounting = Accounting(
        applied=applied,
        superseded=len(batch.accepted) - len(refused) - applied,
        dead_letters=len(batch.rejected) + len(refused),
    )
    return accounting, batch.rejected + refused


async def _merge(
    candidates: list[Accepted],
    key: Callable[[Event], Hashable],
    merge: Callable[[Iterable[Accepted]], Awaitable[tuple[int, list[Rejected]]]],
) -> tuple[int, list[Rejected]]:
    """Merge the latest event of each key or, where it is refused, the latest of the others of that key."""
    applied, refused = 0, list[Rejected]()
    while candidates:
        merged, losers = await merge(fold(candidates, key).values())
        applied += merged
        refused += losers
        if not losers:
            break
        records = {id(loser.record) for loser in losers}
        keys = {key(candidate.event) for candidate in candidates if id(candidate.record) in records}
        candidates = [one for one in without(candidates, losers) if key(one.event) in keys]
    return applied, refused


def without(accepted: list[Accepted], refused: Iterable[Rejected]) -> list[Accepted]:
    """Return the accepted records that PostgreSQL did not refuse after all."""
    records = {id(one.record) for one in refused}
    return [one for one in accepted if id(one.record) not in records] if records else accepted
