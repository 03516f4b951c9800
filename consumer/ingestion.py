"""Decode → fold → store: the one path of everything that brings records into the table."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping

from pattern_metrics.consumer.postgres.store import StoreTransaction
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch
from pattern_metrics.consumer.records.folding import by_measurement, by_pattern, fold
from pattern_metrics.consumer.records.offsets import OffsetRange, Partition
from pattern_metrics.consumer.records.record import Accepted, Event, Rejected


async def store_batch(
    transaction: StoreTransaction,
    batch: Batch,
    *,
    group: str | None = None,
    ranges: Mapping[Partition, OffsetRange] | None = None,
) -> Accounting:
    """Write a batch, its dead letters and, for a consumer group, its progress: all or nothing.

    Where PostgreSQL refuses the latest event of a pattern, that record is a dead letter and the latest of the
    pattern's other events takes its place, so that the table stays the maximum of what is valid. Where there
    is a history it comes first: what it refuses is in neither.
    """
    accepted, refused = batch.accepted, list[Rejected]()
    if transaction.keeps_history:
        _, refused = await _merge(accepted, by_measurement, transaction.table.merge_history)
        accepted = _without(accepted, refused)
    applied, others = await _merge(accepted, by_pattern, transaction.table.merge)
    refused += others
    await transaction.insert_dead_letters(batch.rejected + refused)
    if group is not None and ranges:
        await transaction.advance_progress(group, ranges)
    return Accounting(
        applied=applied,
        superseded=len(batch.accepted) - len(refused) - applied,
        dead_letters=len(batch.rejected) + len(refused),
    )


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
        candidates = [one for one in _without(candidates, losers) if key(one.event) in keys]
    return applied, refused


def _without(accepted: list[Accepted], refused: list[Rejected]) -> list[Accepted]:
    records = {id(one.record) for one in refused}
    return [one for one in accepted if id(one.record) not in records] if records else accepted
