"""Polled records, decoded, split by partition between the writers. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Generic, cast

from pattern_metrics.consumer.records.accounting import Breaker
from pattern_metrics.consumer.records.decoding import decode_all
from pattern_metrics.consumer.records.offsets import OffsetRange, Partition, PartitionT, cut
from pattern_metrics.consumer.records.record import Accepted, Fate, Record, Rejected

WORTH_SPLITTING: Final = 1_000
"""Records, below which a second transaction costs more than it saves."""


@dataclass(slots=True)
class Portion(Generic[PartitionT]):
    """What one writer writes in one transaction: whole partitions of one poll.

    No other portion of the poll has a record of these partitions, so that progress in one of them never
    passes what another writer has yet to write.
    """

    fates: list[Fate] = field(default_factory=list)
    ranges: dict[PartitionT, OffsetRange] = field(default_factory=dict)


def split(
    polled: Mapping[PartitionT, Sequence[Fate]], ranges: Mapping[PartitionT, OffsetRange], writers: int
) -> list[Portion[PartitionT]]:
    """Split a poll into as many portions as writers can take, about equal in records.

    Args:
        polled: what becomes of the records of each partition, in the order they were read.
        ranges: the offsets that were read with them, also of partitions where no record was between.
        writers: how many portions there may be at most.
    """
    count = writers if sum(map(len, polled.values())) >= WORTH_SPLITTING else 1
    portions = [Portion[PartitionT]() for _ in range(count)]
    for partition in sorted(ranges, key=lambda one: -len(polled.get(one, ()))):
        portion = min(portions, key=lambda one: len(one.fates))
        portion.fates.extend(polled.get(partition, ()))
        portion.ranges[partition] = ranges[partition]
    return [portion for portion in portions if portion.ranges]


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


@dataclass(frozen=True, slots=True)
class Part:
    """Decoded records, and the offsets that are read with them, in the order of the records."""

    batch: Batch
    ranges: Mapping[Partition, OffsetRange]


def count(batch: Batch) -> int:
    """How many records it holds."""
    return len(batch.accepted) + len(batch.rejected)


def _in_order(whole: Part) -> list[Accepted | Rejected]:
    places = {partition: place for place, partition in enumerate(whole.ranges)}

    def place(fate: Accepted | Rejected) -> tuple[int, int]:
        record = fate.record
        return places[record.topic, record.partition], record.offset

    return sorted([*whole.batch.accepted, *whole.batch.rejected], key=place)


def _batch(fates: list[Accepted | Rejected]) -> Batch:
    return Batch(
        [fate for fate in fates if isinstance(fate, Accepted)],
        [fate for fate in fates if isinstance(fate, Rejected)],
        fates[-1].record,
    )


SLICE_RECORDS: Final = 500


FIRST_RECORDS: Final = 16
"""So many are asked for before it is known how large they are."""


BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""A batch is full with so many bytes of values: a fetch is bounded too, but in bytes that are compressed."""


def room_for(records: int, size: int, records_max: int) -> int:
    """How many records to ask for next, by the size of those that are there.

    Args:
        records: in the batch.
        size: of their values, in bytes.
        records_max: BATCH_MAX_RECORDS.

    Returns:
        0 where the batch is full.
    """
    if records >= records_max or size >= BATCH_BYTES_MAX:
        return 0
    by_size = (BATCH_BYTES_MAX - size) * records // max(1, size) if records else FIRST_RECORDS
    return min(records_max - records, SLICE_RECORDS, max(1, by_size))


def size_of(record: Record) -> int:
    """Of its value, in bytes."""
    return len(record.value or b"")


def up_to_the_breaker(portions: "Iterable[Portion[Any]]", breaker: Breaker) -> list[Part]:
    """What is to be written: all, or up to the record at which the breaker opens."""
    parts = []
    for portion in portions:
        if breaker.is_open:
            break
        batch = gather(portion.fates, breaker)
        is_whole = not portion.fates or batch.last is portion.fates[-1].record
        parts.append(Part(batch, portion.ranges if is_whole else cut(portion.ranges, batch.last)))
    return parts
