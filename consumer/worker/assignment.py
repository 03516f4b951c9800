"""The partitions of this worker from one rebalance to the next. Pure: no I/O, no clock, no `await`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from pattern_metrics.consumer.records.offsets import (
    NO_TOPIC_ID,
    OffsetRange,
    Partition,
    Progress,
    Start,
)


@dataclass(slots=True)
class Place:
    """The progress of a partition.

    Attributes:
        read_to: the next offset to read; None until it is known where to start, or start again.
        written_to: the database holds everything below; None until it is known.
        owed: the offset to commit; None if there is none.
        out_of_range: the position that the broker refused as out of range; None if it refused none.
        leader_epoch: the leader epoch of the last batch below `read_to`; None if it is unknown.
    """

    read_to: int | None = None
    written_to: int | None = None
    owed: int | None = None
    out_of_range: int | None = None
    leader_epoch: int | None = None


class Assignment:
    """The assigned partitions and their progress.

    A rebalance replaces the whole object. The holder of an older object, such as a batch in flight, compares
    it with the current one by identity. Changes of an older object have no effect.

    Args:
        partitions: all assigned partitions.
    """

    def __init__(self, partitions: Iterable[Partition] = ()) -> None:
        self._places = {partition: Place() for partition in sorted(partitions)}
        self.topic_ids: dict[str, UUID] = {}
        """The ID of the topic to which the offsets belong, by topic."""

    @property
    def partitions(self) -> frozenset[Partition]:
        """All assigned partitions."""
        return frozenset(self._places)

    @property
    def missing(self) -> frozenset[Partition]:
        """The partitions whose next offset is unknown."""
        return frozenset(each for each, place in self._places.items() if place.read_to is None)

    @property
    def in_doubt(self) -> frozenset[Partition]:
        """The partitions that were read, and whose next offset is no longer known."""
        return frozenset(each for each in self.missing if self._places[each].written_to is not None)

    @property
    def positions(self) -> dict[Partition, int]:
        """The next offset to read of each partition, if it is known."""
        return {each: place.read_to for each, place in self._places.items() if place.read_to is not None}

    @property
    def written_to(self) -> dict[Partition, int]:
        """The offset below which everything is written, of each partition, if it is known."""
        return {
            each: place.written_to for each, place in self._places.items() if place.written_to is not None
        }

    @property
    def owed(self) -> dict[Partition, int]:
        """The offset to commit, by partition."""
        return {each: place.owed for each, place in self._places.items() if place.owed is not None}

    @property
    def positions_out_of_range(self) -> dict[Partition, int]:
        """The position that the broker does not have, by partition."""
        return {
            each: place.out_of_range for each, place in self._places.items() if place.out_of_range is not None
        }

    @property
    def epochs_read(self) -> dict[Partition, Progress]:
        """The next offset to read and its leader epoch, by partition, where both are known."""
        return {
            each: Progress(place.read_to, place.leader_epoch)
            for each, place in self._places.items()
            if place.read_to is not None and place.leader_epoch is not None
        }

    def start(self, starts: Mapping[Partition, Start], topic_ids: Mapping[str, UUID]) -> None:
        """Begin to read partitions.

        If a topic turns out to have another ID, its other positions are void: they belong to the earlier
        topic.
        """
        for topic, topic_id in topic_ids.items():
            if self.topic_ids.get(topic) not in (None, topic_id):
                self._void(partition for partition in self._places if partition[0] == topic)
            self.topic_ids[topic] = topic_id
        for partition, start in starts.items():
            is_kept = start.gap is None and start.not_followed is None
            owed = self._places[partition].owed if is_kept else start.offset
            self._places[partition] = Place(
                read_to=start.offset, written_to=start.offset, owed=owed, leader_epoch=start.leader_epoch
            )

    def epochs_left(self, taken: Mapping[Partition, Mapping[int, int]]) -> list[tuple[Partition, Progress]]:
        """Return each leader epoch that reading has left, with the position up to which it was read.

        At these positions the leader may have changed, and its log may be another one.

        Args:
            taken: for each partition, the position after the records of each leader epoch, in order.
        """
        left = list[tuple[Partition, Progress]]()
        for partition, epochs in taken.items():
            place = self._places[partition]
            read = {epoch: position for epoch, position in epochs.items() if epoch >= 0}
            if read and place.read_to is not None and place.leader_epoch not in {None, *read}:
                left.append((partition, Progress(place.read_to, place.leader_epoch)))
            left += [(partition, Progress(position, epoch)) for epoch, position in list(read.items())[:-1]]
        return left

    def read(
        self, ends: Mapping[Partition, int], taken: Mapping[Partition, Mapping[int, int]]
    ) -> dict[Partition, OffsetRange]:
        """Move to the client's positions after a poll.

        Args:
            ends: the client's position, by partition.
            taken: see `epochs_left`.

        Returns:
            The offsets that were read of each partition that has moved, in the order of `ends`.
        """
        ranges = {}
        for partition, end in ends.items():
            place = self._places[partition]
            if place.read_to is not None and end > place.read_to:
                epoch = next(reversed(taken.get(partition, {})), -1)
                place.leader_epoch = epoch if epoch >= 0 else None
                of_topic = self.topic_ids.get(partition[0], NO_TOPIC_ID)
                ranges[partition] = OffsetRange(place.read_to, end, of_topic, place.leader_epoch)
                place.read_to = end
        return ranges

    def written(self, ranges: Mapping[Partition, OffsetRange]) -> None:
        """Record that the database holds these offsets. A commit of them is owed from now on."""
        for partition, offsets in ranges.items():
            self._places[partition].written_to = self._places[partition].owed = offsets.end

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """Record that these offsets are committed. Only offsets written since are still owed."""
        for partition, offset in offsets.items():
            if self._places[partition].owed == offset:
                self._places[partition].owed = None

    def out_of_range(self, offsets: Mapping[Partition, int]) -> None:
        """Record that the broker does not have these positions."""
        for partition, offset in offsets.items():
            if partition in self._places:
                self._places[partition].read_to = None
                self._places[partition].out_of_range = offset

    def unsettle(self, partitions: Iterable[Partition] | None = None) -> None:
        """Forget the next offsets of these partitions, or of all, so that they are looked up again."""
        self._void(self._places if partitions is None else partitions)

    def lost(self) -> None:
        """Record that the database went back: every position is void, and nothing is owed."""
        for place in self._places.values():
            place.read_to = place.owed = None

    def _void(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._places[partition].read_to = None
