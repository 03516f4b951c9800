"""Where reading starts and what may be committed. Pure; offsets have holes: nothing counts by subtraction."""

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
        start: the first one.
        end: the first one that is not inside.
        topic_id: the topic in which they mean something; None where the broker gives topics no ID.
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
    """Where a partition is read from.

    Attributes:
        offset: the first offset to read.
        gap: what retention took before it was read; None where nothing is known of any.
        was_forgotten: whether Kafka lost the group's offset, as it does with a topic that is made anew.
    """

    offset: int
    gap: OffsetRange | None = None
    was_forgotten: bool = False


def next_offset(record: Record) -> int:
    """The offset to commit once the record is accounted for: the only place that adds one."""
    return record.offset + 1


def choose_start(*, committed: int | None, progress: int | None, beginning: int) -> Start:
    """Where to start reading a partition: every doubt is settled by reading more.

    Args:
        committed: Kafka's committed offset of the group, if there is one.
        progress: the next offset that `ingest_progress` holds, if it does; 0 where it is that of a topic of
            the same name that was there before this one.
        beginning: the first offset the log still has.
    """
    gap = _gap_before(beginning, committed, progress)
    if committed is None or progress is None:
        was_forgotten = committed is None and progress is not None and progress > beginning
        return Start(beginning, gap, was_forgotten)
    return Start(max(beginning, min(committed, progress)), gap)


def restart_out_of_range(*, position: int, progress: int | None, beginning: int) -> Start:
    """Where to go on when the broker says that it does not have `position`.

    Below the beginning, retention ran ahead: a gap. Otherwise the position lies beyond the log's end, so this
    is not the log we knew (a topic made anew, a truncated log): it is read from its beginning. Of a database
    that went back meanwhile, the gap begins where it is by now.

    Args:
        position: where the worker was.
        progress: as for `choose_start`.
        beginning: likewise.
    """
    return Start(beginning, _gap_before(beginning, position, progress))


def _gap_before(beginning: int, *offsets: int | None) -> OffsetRange | None:
    """What lies between the smallest offset that is known and the log's beginning."""
    known = [offset for offset in offsets if offset is not None]
    return OffsetRange(min(known), beginning) if known and min(known) < beginning else None
