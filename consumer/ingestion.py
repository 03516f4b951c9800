"""Decode → fold → store: the one path of everything that brings records into the table."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import cast

from pattern_metrics.consumer.decoding import decode_all
from pattern_metrics.consumer.folding import by_measurement, by_pattern, fold
from pattern_metrics.consumer.offsets import OffsetRange, Partition
from pattern_metrics.consumer.records import Accepted, Event, Fate, Record, Rejected
from pattern_metrics.consumer.store import StoreTransaction


@dataclass(frozen=True, slots=True)
class Accounting:
    """What became of the records read: `read == applied + superseded + dead_letters`, always."""

    applied: int = 0
    superseded: int = 0
    dead_letters: int = 0

    @property
    def read(self) -> int:
        """All records that were read."""
        return self.applied + self.superseded + self.dead_letters

    def __add__(self, other: "Accounting") -> "Accounting":
        return Accounting(
            self.applied + other.applied,
            self.superseded + other.superseded,
            self.dead_letters + other.dead_letters,
        )

    def as_dict(self) -> dict[str, int]:
        """The four numbers, for a program."""
        return {
            "read": self.read,
            "applied": self.applied,
            "superseded": self.superseded,
            "dead_letters": self.dead_letters,
        }

    def __str__(self) -> str:
        return (
            f"read {self.read:,} = applied {self.applied:,} + superseded {self.superseded:,} "
            f"+ dead letters {self.dead_letters:,}"
        )


@dataclass(slots=True)
class Breaker:
    """Guards the table of dead letters: opens after `limit` invalid records without a valid one between.

    What only the database refuses is known once the batch is written and the next one decoded; hence it is
    counted by itself, and by whole batches.
    """

    limit: int
    consecutive: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)

    def observe(self, *, valid: bool) -> None:
        """Count a record that was decoded, or several valid ones."""
        self.consecutive = 0 if valid else self.consecutive + 1

    def observe_written(self, accounting: Accounting) -> None:
        """Count the records of a batch that was written, where the table took none of them."""
        is_any_valid = accounting.applied + accounting.superseded > 0
        self.refused = 0 if is_any_valid else self.refused + accounting.dead_letters

    @property
    def count(self) -> int:
        """How many records in a row were invalid, at least."""
        return max(self.consecutive, self.refused)

    @property
    def is_open(self) -> bool:
        """Whether a producer was, most likely, deployed with a wrong schema."""
        return self.count >= self.limit


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded records, in the order they were read."""

    accepted: list[Accepted]
    rejected: list[Rejected]
    last: Record | None
    """The last record that was decoded: not the last one given, where the breaker opened before it."""


def decode_batch(records: Sequence[Record], *, accepted_until: datetime, breaker: Breaker | None) -> Batch:
    """Decode records up to the end, or up to the one at which the breaker opens."""
    return gather(decode_all(records, accepted_until=accepted_until), breaker)


def gather(fates: Sequence[Fate], breaker: Breaker | None) -> Batch:
    """Take decoded records up to the end, or up to the one at which the breaker opens."""
    accepted, rejected = list[Accepted](), list[Rejected]()
    for fate in _together(fates):
        if isinstance(fate, Rejected):
            rejected.append(fate)
        else:
            accepted += fate
        if breaker is not None:
            breaker.observe(valid=not isinstance(fate, Rejected))
            if breaker.is_open:
                break
    done = len(accepted) + len(rejected)
    return Batch(accepted, rejected, fates[done - 1].record if done else None)


def _together(fates: Sequence[Fate]) -> Iterator[list[Accepted] | Rejected]:
    """One that is refused by itself, valid ones as many as come together."""
    for kind, some in groupby(fates, type):
        if kind is Accepted:
            yield cast("list[Accepted]", list(some))
        else:
            yield from cast("Iterable[Rejected]", some)


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
