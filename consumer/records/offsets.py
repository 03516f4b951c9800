"""Start offsets and offsets to commit. Pure. Offsets have holes, so never count records by subtraction."""

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from pattern_metrics.consumer.records.record import Record

Partition: TypeAlias = tuple[str, int]
"""A topic and a partition number (aiokafka's `TopicPartition` is one)."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets of one partition from `start` up to, not including, `end`.

    Attributes:
        start: the first offset inside.
        end: the first offset after the range.
        topic_id: the topic to which the offsets belong; None if the broker gives topics no ID.
    """

    start: int
    end: int
    topic_id: UUID | None = None

    @property
    def last(self) -> int:
        """The last offset inside the range."""
        return self.end - 1


@dataclass(frozen=True, slots=True)
class Start:
    """The start of reading in a partition.

    Attributes:
        offset: the first offset to read.
        gap: the offsets that retention removed before they were read; None if no gap is known.
        was_forgotten: whether Kafka lost the group's offset, as happens when a topic is recreated.
    """

    offset: int
    gap: OffsetRange | None = None
    was_forgotten: bool = False


def next_offset(record: Record) -> int:
    """Return the offset to commit once the record is accounted for. No other code adds one to an offset."""
    return record.offset + 1


def choose_start(*, committed: int | None, progress: int | None, beginning: int) -> Start:
    """Choose where to start reading a partition. In doubt, it reads more.

    Args:
        committed: Kafka's committed offset of the group; None if there is none.
        progress: the next offset in `ingest_progress`; None if there is none, and 0 if it belongs to an
            earlier topic of the same name.
        beginning: the first offset that the log still has.
    """
    gap = _gap_before(beginning, committed, progress)
    if committed is None or progress is None:
        was_forgotten = committed is None and progress is not None and progress > beginning
        return Start(beginning, gap, was_forgotten)
    return Start(max(beginning, min(committed, progress)), gap)


def restart_out_of_range(*, position: int, progress: int | None, beginning: int) -> Start:
    """Choose where to continue when the broker does not have `position`.

    If `position` is below the beginning, retention has removed records: a gap. Otherwise it is beyond the end
    of the log, so the log is not the one we knew (a recreated topic, a truncated log) and is read from its
    beginning. If the database was restored to an earlier state meanwhile, the gap begins at the progress of the database.

    Args:
        position: the offset that the broker refused.
        progress: see `choose_start`.
        beginning: the first offset that the log still has.
    """
    return Start(beginning, _gap_before(beginning, position, progress))


def _gap_before(beginning: int, *offsets: int | None) -> OffsetRange | None:
    """Return the offsets between the smallest known offset and the log's beginning; None without a gap."""
    known = [offset for offset in offsets if offset is not None]
    return OffsetRange(min(known), beginning) if known and min(known) < beginning else None
