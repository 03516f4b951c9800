"""Start offsets and offsets to commit. Pure. Offsets have holes, so never count records by subtraction."""

from dataclasses import dataclass, replace
from typing import Final, TypeAlias
from uuid import UUID

from pattern_metrics.consumer.records.record import Record

Partition: TypeAlias = tuple[str, int]
"""A topic and a partition number (aiokafka's `TopicPartition` is one)."""

NO_TOPIC_ID: Final = UUID(int=0)
"""The ID of every topic of a broker that gives topics no ID."""

RETENTION: Final = "retention"
"""The reason of a gap: retention removed the records before they were read."""

TRUNCATION: Final = "truncation"
"""The reason of a gap: the log was cut back, and the records that it held there are gone."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets of one partition from `start` up to, not including, `end`.

    Attributes:
        start: the first offset inside.
        end: the first offset after the range.
        topic_id: the ID of the topic to which the offsets belong.
        leader_epoch: the leader epoch of the last batch that was read; None if the broker gives none.
    """

    start: int
    end: int
    topic_id: UUID = NO_TOPIC_ID
    leader_epoch: int | None = None

    @property
    def last(self) -> int:
        """The last offset inside the range."""
        return self.end - 1


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of the database in a partition.

    Attributes:
        next_offset: everything below is accounted for.
        leader_epoch: the leader epoch under which the last record below was written; None if it is unknown.
    """

    next_offset: int
    leader_epoch: int | None = None

    def has_parted(self, found: "EpochEnd") -> bool:
        """Return whether the log is no longer the log that was read (KIP-320).

        Args:
            found: the leader's answer to `leader_epoch`.
        """
        return found.epoch != self.leader_epoch or found.end < self.next_offset


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """A leader's answer to a leader epoch.

    Attributes:
        epoch: the largest epoch in its log that is not larger than the epoch in question; -1 for none.
        end: the first offset behind that epoch; -1 for none.
    """

    epoch: int
    end: int


@dataclass(frozen=True, slots=True)
class Start:
    """The start of reading in a partition.

    Attributes:
        offset: the first offset to read.
        gap: the offsets that are not read, or whose records are gone; None if no gap is known.
        was_forgotten: whether Kafka lost the group's offset, as happens when a topic is recreated.
        leader_epoch: see `Progress`; for this offset.
        reason: why there is a gap.
        not_followed: the group's offset, if it is larger than `offset`; None otherwise.
    """

    offset: int
    gap: OffsetRange | None = None
    was_forgotten: bool = False
    leader_epoch: int | None = None
    reason: str = RETENTION
    not_followed: int | None = None


def next_offset(record: Record) -> int:
    """Return the offset to commit once the record is accounted for. No other code adds one to an offset."""
    return record.offset + 1


def find_start(
    *,
    committed: int | None,
    progress: Progress | None,
    beginning: int,
    found: EpochEnd | None = None,
    out_of_range: int | None = None,
) -> Start:
    """Choose where to start reading a partition, by everything that is known of it.

    Args:
        committed: Kafka's committed offset of the group; None if there is none.
        progress: the progress in `ingest_progress`; None if there is none, and offset 0 if the database knows
            only another topic of the same name.
        beginning: the first offset that the log still has.
        found: the leader's answer to the epoch of `progress`; None if it gave none.
        out_of_range: the position that the broker refused as out of range; None if it refused none.
    """
    if progress is not None and found is not None and progress.has_parted(found):
        return restart_parted(committed=committed, progress=progress, found=found, beginning=beginning)
    if out_of_range is not None:
        at = progress.next_offset if progress else None
        return restart_out_of_range(position=out_of_range, progress=at, beginning=beginning)
    return choose_start(committed=committed, progress=progress, beginning=beginning)


def choose_start(*, committed: int | None, progress: Progress | None, beginning: int) -> Start:
    """Return where to start reading a partition. In doubt, it reads more.

    Args:
        committed: see `find_start`.
        progress: see `find_start`.
        beginning: see `find_start`.
    """
    written = None if progress is None else progress.next_offset
    gap = _gap_before(beginning, committed, written)
    if committed is None:
        return Start(beginning, gap, was_forgotten=written is not None and written > beginning)
    start = beginning if written is None else max(beginning, min(committed, written))
    epoch = progress.leader_epoch if progress is not None and start <= progress.next_offset else None
    return Start(start, gap, leader_epoch=epoch, not_followed=committed if committed > start else None)


def restart_parted(*, committed: int | None, progress: Progress, found: EpochEnd, beginning: int) -> Start:
    """Return where to continue if the log parts from the log that was read.

    If the leader knows the epoch, the logs part at the end that the leader has of it. If not, the place
    cannot be known for certain, and the log is read from its beginning.

    Args:
        committed: see `find_start`.
        progress: the progress in `ingest_progress`.
        found: the leader's answer to the epoch of `progress`.
        beginning: see `find_start`.
    """
    has_epoch = found.epoch == progress.leader_epoch
    left = replace(progress, next_offset=found.end) if has_epoch else Progress(beginning)
    start = choose_start(committed=committed, progress=left, beginning=beginning)
    if not 0 <= found.end < progress.next_offset:
        return start
    gone = OffsetRange(found.end, max(progress.next_offset, beginning))
    return replace(start, gap=gone, reason=TRUNCATION)


def restart_out_of_range(*, position: int, progress: int | None, beginning: int) -> Start:
    """Choose where to continue when the broker does not have `position`.

    If `position` is below the beginning, retention has removed records: a gap. Otherwise it is beyond the end
    of the log, so the log is not the one we knew (a recreated topic, a truncated log) and is read from its
    beginning. If the database was restored to an earlier state meanwhile, the gap begins at the progress that
    the database has now.

    Args:
        position: the offset that the broker refused.
        progress: the next offset in `ingest_progress`; None if there is none.
        beginning: the first offset that the log still has.
    """
    return Start(beginning, _gap_before(beginning, position, progress))


def _gap_before(beginning: int, *offsets: int | None) -> OffsetRange | None:
    """Return the offsets between the smallest known offset and the log's beginning; None without a gap."""
    known = [offset for offset in offsets if offset is not None]
    return OffsetRange(min(known), beginning) if known and min(known) < beginning else None
