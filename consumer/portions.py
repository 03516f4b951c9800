"""Polled records, decoded, split by partition between the writers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic

from pattern_metrics.consumer.offsets import OffsetRange, PartitionT
from pattern_metrics.consumer.records import Fate

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
