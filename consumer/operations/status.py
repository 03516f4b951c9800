"""`status`: where the worker is, in the topic and in the table, on one screen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pattern_metrics.consumer.kafka.broker import topic_ids
from pattern_metrics.consumer.kafka.topic import Bounds, read_bounds
from pattern_metrics.consumer.operations.migration import MigrationStatus, migration_status
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import connected
from pattern_metrics.consumer.postgres.store import StoreTransaction
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition.

    Attributes:
        topic: the topic's name.
        partition: its number.
        next_offset: the next offset to be written; None where the group has not begun.
        end: the log's end; the last stable offset, which is what a reader can reach. None if the partition is
            unavailable.
        lag: offsets between the two; they may have holes. None if the partition is unavailable.
        beyond_end: offsets by which `next_offset` lies beyond the end: the log was truncated or recreated.
        unavailable: why the partition cannot be read; None if it can.
    """

    topic: str
    partition: int
    next_offset: int | None
    end: int | None
    lag: int | None
    beyond_end: int
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """All of it.

    Attributes:
        partitions: each partition of the topic.
        patterns: rows in the table.
        last_write: when a row was last written.
        dead_letters: reason → how many.
        gaps: recorded gaps of the group, and how many offsets they hold.
        revision: where the schema stands.
    """

    partitions: list[PartitionStatus]
    patterns: int
    last_write: datetime | None
    dead_letters: dict[str, int]
    gaps: int
    gap_offsets: int
    revision: MigrationStatus

    @property
    def lag(self) -> int:
        """Offsets that are not written yet, without those of unavailable partitions."""
        return sum(partition.lag or 0 for partition in self.partitions)

    @property
    def unavailable(self) -> list[PartitionStatus]:
        """The partitions that cannot be read."""
        return [partition for partition in self.partitions if partition.unavailable]

    def as_dict(self) -> dict[str, Any]:
        """For a program."""
        return {
            "lag": self.lag,
            "unavailable": len(self.unavailable),
            "beyond_end": sum(partition.beyond_end for partition in self.partitions),
            "patterns": self.patterns,
            "dead_letters": sum(self.dead_letters.values()),
            "dead_letters_by_reason": self.dead_letters,
            "gaps": self.gaps,
            "gap_offsets": self.gap_offsets,
            "last_write": self.last_write.isoformat() if self.last_write else None,
            "revision": self.revision.current,
            "partitions": [
                {
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "next_offset": partition.next_offset,
                    "end": partition.end,
                    "lag": partition.lag,
                    "unavailable": partition.unavailable,
                }
                for partition in self.partitions
            ],
        }


async def read_status(settings: WorkerSettings) -> Status:
    """Look at the topic and the database; changes nothing.

    Raises:
        KafkaError: the topic cannot be described.
        asyncpg.PostgresError: a statement failed.
        OSError: something is not reachable.
    """
    database_url = settings.database_url.get_secret_value()
    revision = await migration_status(database_url)
    identities, group = await topic_ids(settings), settings.kafka_group_id
    progress = dict[Partition, int]()
    # A reader may lack the right to what a store prepares.
    async with connected(database_url) as connection:
        reading = StoreTransaction(connection, keeps_history=False)
        for topic, topic_id in identities.items():
            progress |= await reading.progress(group, topic, topic_id)
        [row] = await connection.fetch(statement("select_status"), group, list(identities))
    bounds = await read_bounds(settings)  # after the progress, which a worker moves on meanwhile
    return Status(
        partitions=_partitions(bounds, progress),
        patterns=row["patterns"],
        last_write=row["last_write"],
        dead_letters=json.loads(row["dead_letters"]),
        gaps=row["gaps"],
        gap_offsets=int(row["gap_offsets"]),
        revision=revision,
    )


def _partitions(bounds: Bounds, progress: Mapping[Partition, int]) -> list[PartitionStatus]:
    partitions = []
    for tp in sorted([*bounds.ends, *bounds.unavailable]):
        next_offset = progress.get(tp)
        if why := bounds.unavailable.get(tp):
            partitions.append(PartitionStatus(tp.topic, tp.partition, next_offset, None, None, 0, why))
            continue
        end = bounds.ends[tp]
        behind = end - (bounds.beginnings[tp] if next_offset is None else next_offset)
        partitions.append(
            PartitionStatus(tp.topic, tp.partition, next_offset, end, max(0, behind), max(0, -behind))
        )
    return partitions
