"""`status`: shows the worker's progress in the topic and the state of the table on one screen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from pattern_metrics.consumer.kafka.broker import topic_ids
from pattern_metrics.consumer.kafka.topic import Bounds, read_bounds
from pattern_metrics.consumer.operations.migration import MigrationStatus, migration_status
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import Connection, Fetch, connected
from pattern_metrics.consumer.postgres.later_clock import LaterClock
from pattern_metrics.consumer.postgres.store import StoreTransaction
from pattern_metrics.consumer.records.offsets import Partition, Progress
from pattern_metrics.consumer.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition.

    Attributes:
        topic: the topic's name.
        partition: its number.
        next_offset: the next offset to write; None if the group has not begun.
        end: the last stable offset: the first offset that a reader cannot reach yet. None if the partition is
            unavailable.
        lag: offsets between `next_offset` and `end`, holes included. None if the partition is unavailable.
        beyond_end: offsets by which `next_offset` is beyond the end, because the log was truncated or
            recreated.
        unavailable: why the partition cannot be read; None if it can.
        held_back: offsets between the last stable offset and the high watermark, which a producer's open
            transaction holds back.
    """

    topic: str
    partition: int
    next_offset: int | None
    end: int | None
    lag: int | None
    beyond_end: int
    unavailable: str | None = None
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The whole status.

    Attributes:
        partitions: each partition of the topics.
        patterns: rows in the table.
        retired: patterns that are retired.
        last_write: when a row was last written; PostgreSQL's text if Python cannot hold that time.
        dead_letters: open dead letters by reason.
        gaps: recorded gaps of the group by reason.
        gap_offsets: offsets in these gaps.
        revision: the state of the schema.
        clock_difference: seconds by which PostgreSQL's clock is ahead of this machine's, negative if it is
            behind.
    """

    partitions: list[PartitionStatus]
    patterns: int
    retired: int
    last_write: datetime | str | None
    dead_letters: dict[str, int]
    gaps: dict[str, int]
    gap_offsets: int
    revision: MigrationStatus
    clock_difference: float

    @property
    def lag(self) -> int:
        """Offsets that are not written yet. Unavailable partitions are not counted."""
        return sum(partition.lag or 0 for partition in self.partitions)

    @property
    def unavailable(self) -> list[PartitionStatus]:
        """The partitions that cannot be read."""
        return [partition for partition in self.partitions if partition.unavailable]

    def as_dict(self) -> dict[str, Any]:
        """Return the status as JSON has it."""
        return {
            "lag": self.lag,
            "unavailable": len(self.unavailable),
            "held_back": sum(partition.held_back for partition in self.partitions),
            "beyond_end": sum(partition.beyond_end for partition in self.partitions),
            "patterns": self.patterns,
            "retired": self.retired,
            "dead_letters": sum(self.dead_letters.values()),
            "dead_letters_by_reason": self.dead_letters,
            "gaps": sum(self.gaps.values()),
            "gaps_by_reason": self.gaps,
            "gap_offsets": self.gap_offsets,
            "last_write": self.last_write.isoformat()
            if isinstance(self.last_write, datetime)
            else self.last_write,
            "revision": self.revision.current,
            "clock_difference": round(self.clock_difference, 3),
            "partitions": [
                {
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "next_offset": partition.next_offset,
                    "end": partition.end,
                    "lag": partition.lag,
                    "unavailable": partition.unavailable,
                    "held_back": partition.held_back,
                }
                for partition in self.partitions
            ],
        }


class TableCounts(NamedTuple):
    """The numbers of `Status` that only the tables have."""

    patterns: int
    retired: int
    last_write: datetime | str | None
    dead_letters: dict[str, int]
    gaps: dict[str, int]
    gap_offsets: int


async def read_status(settings: WorkerSettings) -> Status:
    """Read the topic and the database. Changes nothing.

    Raises:
        KafkaError: the topic cannot be described.
        MigrationError: the database holds a revision that this release does not know.
        asyncpg.PostgresError: a statement failed.
        OSError: PostgreSQL or Kafka cannot be reached.
    """
    database_url = settings.database_url.get_secret_value()
    revision = await migration_status(database_url)
    clock = LaterClock()
    async with connected(database_url) as connection:
        counts = await read_counts(connection.fetch, settings)
        clock_difference = await clock.compare(connection)
        partitions = await read_partitions(connection, settings)
    return Status(
        partitions=partitions, revision=revision, clock_difference=clock_difference, **counts._asdict()
    )


async def read_counts(fetch: Fetch, settings: WorkerSettings) -> TableCounts:
    """Read the numbers of the tables.

    Args:
        fetch: runs a statement.
        settings: the group and its topics.

    Raises:
        asyncpg.PostgresError: the statement failed.
    """
    [row] = await fetch(statement("select_status"), settings.kafka_group_id, settings.kafka_topics)
    return TableCounts(
        patterns=row["patterns"],
        retired=row["retired"],
        last_write=row["last_write"],
        dead_letters=json.loads(row["dead_letters"]),
        gaps=json.loads(row["gaps"]),
        gap_offsets=int(row["gap_offsets"]),
    )


async def read_partitions(connection: Connection, settings: WorkerSettings) -> list[PartitionStatus]:
    """Read the progress of the group, and the bounds of the topics.

    Raises:
        KafkaError: the topic cannot be described.
        asyncpg.PostgresError: a statement failed.
        OSError: Kafka cannot be reached.
    """
    progress = dict[Partition, Progress]()
    # No store, because it prepares statements for which a reader may lack the right.
    reading = StoreTransaction(connection, keeps_history=False)
    for topic, identity in (await topic_ids(settings)).items():
        progress |= await reading.progress(settings.kafka_group_id, topic, identity)
    bounds = await read_bounds(settings)  # after the progress, which a worker may advance meanwhile
    return _partitions(bounds, progress)


def _partitions(bounds: Bounds, progress: Mapping[Partition, Progress]) -> list[PartitionStatus]:
    partitions = []
    for tp in sorted([*bounds.ends, *bounds.unavailable]):
        next_offset = progress[tp].next_offset if tp in progress else None
        if why := bounds.unavailable.get(tp):
            partitions.append(PartitionStatus(tp.topic, tp.partition, next_offset, None, None, 0, why))
            continue
        end = bounds.ends[tp]
        behind = end - (bounds.beginnings[tp] if next_offset is None else next_offset)
        held_back = max(0, bounds.high_watermarks[tp] - end)
        lag, beyond = max(0, behind), max(0, -behind)
        partitions.append(
            PartitionStatus(tp.topic, tp.partition, next_offset, end, lag, beyond, held_back=held_back)
        )
    return partitions
