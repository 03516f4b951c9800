"""One container from the poll to the table: decoded records by partition. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Final

from pattern_metrics.consumer.records.accounting import Breaker
from pattern_metrics.consumer.records.decoding import decode_all
from pattern_metrics.consumer.records.offsets import OffsetRange, Partition, next_offset
from pattern_metrics.consumer.records.record import Accepted, Fate, Record, Rejected, Retired

WORTH_SPLITTING: Final = 1_000
"""Size of a batch in records, below which a second transaction costs more than it saves."""

BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of values that fill a batch. A fetch is limited too, but in compressed bytes."""

SLICE_RECORDS: Final = 500
"""Records to request at once. Between two slices the event loop continues with the write."""

FIRST_RECORDS: Final = 16
"""Records to request before their size is known."""


@dataclass(frozen=True, slots=True)
class Timespan:
    """Timestamps of a partition's first and last record in a batch, in seconds since the epoch."""

    first: float
    last: float


@dataclass(frozen=True)
class Batch:
    """Decoded records by partition, and the offsets that were read with them.

    Attributes:
        fates: the fate of each record, in the order of the offsets.
        ranges: the offsets that the batch covers. Because of transaction markers and compaction, a range may
            have more offsets than records, or no record at all. A batch that belongs to no consumer group has
            no ranges.
    """

    fates: dict[Partition, list[Fate]] = field(default_factory=dict)
    ranges: dict[Partition, OffsetRange] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """The number of records."""
        return sum(map(len, self.fates.values()))

    @cached_property
    def accepted(self) -> list[Accepted]:
        """The records that hold a valid measurement."""
        return [fate for fates in self.fates.values() for fate in fates if isinstance(fate, Accepted)]

    @cached_property
    def retired(self) -> list[Retired]:
        """The records that hold a valid retirement."""
        if len(self.accepted) == self.size:
            return []
        return [fate for fates in self.fates.values() for fate in fates if isinstance(fate, Retired)]

    @cached_property
    def rejected(self) -> list[Rejected]:
        """The records that hold no valid event."""
        if len(self.accepted) == self.size:
            return []
        return [fate for fates in self.fates.values() for fate in fates if isinstance(fate, Rejected)]

    @property
    def timespans(self) -> dict[Partition, Timespan]:
        """The timestamps of each partition's first and last record."""
        return {
            partition: Timespan(fates[0].record.timestamp / 1000, fates[-1].record.timestamp / 1000)
            for partition, fates in self.fates.items()
            if fates
        }

    def split(self, parts: int) -> "list[Batch]":
        """Split into at most `parts` batches of whole partitions, with about equally many records.

        No partition is in two batches, so the progress of one batch never passes records that another has yet
        to write.
        """
        if not self.ranges:
            return []
        if parts == 1 or self.size < WORTH_SPLITTING:
            return [self]
        batches = [Batch() for _ in range(parts)]
        sizes = [0] * parts
        for partition in sorted(self.ranges, key=lambda key: -len(self.fates.get(key, ()))):
            place = sizes.index(min(sizes))
            fates = self.fates.get(partition, [])
            sizes[place] += len(fates)
            batches[place].put(partition, fates, self.ranges[partition])
        return [batch for batch in batches if batch.ranges]

    def first(self, records: int) -> "tuple[Batch, Batch | None]":
        """Split after `records` records. The second batch is None if nothing is left."""
        return (self, None) if self.size <= records else self._cut(records)

    def until(self, breaker: Breaker) -> "Batch":
        """Count the records with a breaker, and cut after the record at which it opens."""
        was_open = breaker.is_open
        if was_open:
            return Batch()
        if not self.rejected:
            if self.size:
                breaker.observe(valid=True)
            return self
        for done, fate in enumerate(chain.from_iterable(self.fates.values()), start=1):
            breaker.observe(valid=not isinstance(fate, Rejected))
            if breaker.is_open:
                return self._cut(done)[0]
        return self

    def _cut(self, records: int) -> "tuple[Batch, Batch | None]":
        now, later, room = Batch(), Batch(), records
        for partition in dict.fromkeys([*self.fates, *self.ranges]):
            fates, offsets = self.fates.get(partition, []), self.ranges.get(partition)
            taken, left = fates[:room], fates[room:]
            room -= len(taken)
            if room:
                now.put(partition, fates, offsets)
            elif not taken:
                later.put(partition, fates, offsets)
            else:
                end = next_offset(taken[-1].record)
                now.put(partition, taken, offsets and replace(offsets, end=end))
                later.put(partition, left, offsets and replace(offsets, start=end))
        return now, later if later.fates or later.ranges else None

    def put(self, partition: Partition, fates: list[Fate], offsets: OffsetRange | None) -> None:
        """Add one partition to a batch that is being built."""
        if fates:
            self.fates[partition] = fates
        if offsets is not None and offsets.start < offsets.end:
            self.ranges[partition] = offsets


def decode_batch(
    records: Sequence[Record], *, accepted_until: datetime, envelope: Sequence[str] = ()
) -> Batch:
    """Decode records that belong to no consumer group.

    Args:
        records: records of any partitions, those of one partition in the order of their offsets.
        accepted_until: the latest acceptable measurement time.
        envelope: the path of KAFKA_ENVELOPE_FIELD, one name a level.
    """
    return batch_of(decode_all(records, accepted_until=accepted_until, envelope=envelope))


def batch_of(fates: Iterable[Fate]) -> Batch:
    """Return a batch of these records, without ranges."""
    batch = Batch()
    for fate in fates:
        batch.fates.setdefault((fate.record.topic, fate.record.partition), []).append(fate)
    return batch


def room_for(records: int, size: int, records_max: int) -> int:
    """Return how many records to request next, judged by the size of the records already read.

    Args:
        records: number of records in the batch.
        size: size of their values, in bytes.
        records_max: BATCH_MAX_RECORDS.

    Returns:
        0 for a full batch.
    """
    if records >= records_max or size >= BATCH_BYTES_MAX:
        return 0
    by_size = (BATCH_BYTES_MAX - size) * records // max(1, size) if records else FIRST_RECORDS
    return min(records_max - records, SLICE_RECORDS, max(1, by_size))


def size_of(record: Record) -> int:
    """Return the size of a record's value, in bytes."""
    return len(record.value or b"")
