"""Finds where a session begins to read each partition, from the broker's and the database's offsets."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from pattern_metrics.consumer.faults.diagnosis import diagnose
from pattern_metrics.consumer.faults.retrying import persevere
from pattern_metrics.consumer.kafka.leaders import ask_leaders
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.offsets import (
    EpochEnd,
    Partition,
    Progress,
    Start,
    find_start,
)
from pattern_metrics.consumer.worker.assignment import Assignment
from pattern_metrics.consumer.worker.equipment import Equipment

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Known:
    """The broker's answers.

    Attributes:
        topic_ids: the ID of each topic.
        beginnings: the first offset that the log still has, by partition.
        committed: the group's offset, by partition; None if there is none.
        unavailable: the error of each partition whose leader did not answer.
    """

    topic_ids: Mapping[str, UUID]
    beginnings: Mapping[TopicPartition, int]
    committed: Mapping[TopicPartition, int | None]
    unavailable: Mapping[TopicPartition, Exception] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """The database's progress, and whether the log still holds what was written.

    Attributes:
        progress: the progress when the leaders were asked, by partition.
        ends: the leader's answer to the leader epoch of `progress`, by partition, if it gave one.
        unavailable: the error of each partition whose leader did not answer.
    """

    progress: Mapping[Partition, Progress]
    ends: Mapping[TopicPartition, EpochEnd]
    unavailable: Mapping[TopicPartition, Exception] = field(default_factory=dict)


async def ask_broker(
    consumer: AIOKafkaConsumer,
    topic_ids: Callable[[], Awaitable[Mapping[str, UUID]]],
    partitions: Iterable[TopicPartition],
    seconds: float,
) -> Known:
    """Ask for the beginnings of the logs of these partitions, and for the group's offsets.

    Each leader is asked for at most `seconds`.

    Raises:
        KafkaError: see `kafka.broker.topic_id`.
        OSError: see `kafka.broker.topic_id`.
    """
    # Ask for the IDs first: if a topic is recreated after this moment, its new ID is noticed later.
    identities = await topic_ids()
    beginnings, unavailable = await ask_leaders(consumer, consumer.beginning_offsets, partitions, seconds)
    committed = {partition: await consumer.committed(partition) for partition in beginnings}
    return Known(identities, beginnings, committed, unavailable)


async def read_progress(store: Store, group: str, topic_ids: Mapping[str, UUID]) -> dict[Partition, Progress]:
    """Return the database's progress in each partition of these topics, as far as it is known.

    Raises:
        asyncpg.PostgresError: see `Store.transaction`.
        OSError: see `Store.transaction`.
    """
    progress = dict[Partition, Progress]()
    async with store.transaction() as transaction:
        for topic, topic_id in topic_ids.items():
            progress |= await transaction.progress(group, topic, topic_id)
    return progress


async def settle(
    store: Store, group: str, known: Known, written: Written, out_of_range: Mapping[Partition, int]
) -> dict[Partition, Start]:
    """Choose where to start, and write it to the database.

    Args:
        store: the database.
        group: the consumer group.
        known: the broker's answers about these partitions.
        written: the database's progress in them. A partition whose progress has changed since is left out:
            another worker, which has yet to learn of the rebalance, may have advanced it.
        out_of_range: the positions that the broker refused as out of range.

    Raises:
        asyncpg.PostgresError: see `Store.transaction`.
        OSError: see `Store.transaction`.
    """
    cases = list[_Case]()
    async with store.transaction() as transaction:
        for topic, topic_id in known.topic_ids.items():
            progress = await transaction.progress(group, topic, topic_id)
            others = await transaction.known_by_another_id(group, topic, topic_id) - progress.keys()
            chosen = [
                _Case(
                    partition,
                    known.beginnings[partition],
                    known.committed[partition],
                    progress.get(partition, Progress(0) if partition in others else None),
                    written.ends.get(partition),
                    out_of_range.get(partition),
                )
                for partition in known.beginnings
                if partition[0] == topic
                and partition not in written.unavailable
                and progress.get(partition) == written.progress.get(partition)
            ]
            await transaction.begin_at(group, {case.partition: case.start for case in chosen}, topic_id)
            cases += chosen
            if new := sorted(case.partition[1] for case in chosen if case.partition in others):
                logger.warning("new_topic_id", topic=topic, partitions=new, hint=_NEW)
    for case in cases:
        case.log()
    return {case.partition: case.start for case in cases}


@dataclass(frozen=True)
class _Case:
    """Everything that is known about a partition when its start is chosen."""

    partition: Partition
    beginning: int
    committed: int | None
    progress: Progress | None
    end: EpochEnd | None
    out_of_range: int | None

    @cached_property
    def start(self) -> Start:
        """The start of reading."""
        return find_start(
            committed=self.committed,
            progress=self.progress,
            beginning=self.beginning,
            found=self.end,
            out_of_range=self.out_of_range,
        )

    def log(self) -> None:
        """Log the start of reading, and the reason if reading does not simply continue."""
        (topic, partition), start, gap = self.partition, self.start, self.start.gap
        has_parted = self.progress and self.end and self.progress.has_parted(self.end)
        if has_parted:
            logger.warning(
                "log_parted",
                topic=topic,
                partition=partition,
                first_offset=gap and gap.start,
                last_offset=gap and gap.last,
                hint=_PARTED,
            )
        elif gap:
            logger.warning(
                "gap",
                topic=topic,
                partition=partition,
                first_offset=gap.start,
                last_offset=gap.last,
                hint=_GAP,
            )
        elif self.out_of_range is not None:
            logger.warning(
                "position_beyond_the_log",
                topic=topic,
                partition=partition,
                position=self.out_of_range,
                hint=_BEYOND,
            )
        elif start.was_forgotten:
            logger.warning("group_offset_forgotten", topic=topic, partition=partition, hint=_FORGOTTEN)
        if start.not_followed is not None and not has_parted:
            logger.warning(
                "group_offset_not_followed",
                topic=topic,
                partition=partition,
                group_offset=start.not_followed,
                written_to=self.progress.next_offset if self.progress else None,
                hint=_NOT_FOLLOWED,
            )
        logger.info("reading_from", topic=topic, partition=partition, offset=start.offset)


_NEW: Final = (
    "the database knows a topic of this name with another ID (recreated, or of another cluster); reading "
    "this topic from its beginning"
)
_PARTED: Final = (
    "the log was cut back (an unclean election, a restored volume) and is no longer the log that was read; "
    "reading on from where the logs part; the lost offsets are in the table ingest_gaps"
)
_GAP: Final = "retention removed these records before they were read; see the table ingest_gaps"
_BEYOND: Final = "the topic was recreated or truncated; reading it from its beginning"
_FORGOTTEN: Final = (
    "the topic was recreated, the offset has expired, or no worker has committed an offset yet; reading the "
    "topic from its beginning"
)
_NOT_FOLLOWED: Final = (
    "the group's offset is ahead of the database: somebody moved the offset, or the database was restored; "
    "reading from where the database is; to skip records, stop the workers and run `pattern-metrics skip "
    "--to latest|OFFSET|TIME --because TEXT`"
)


async def has_lost(assignment: Assignment, equipment: Equipment) -> bool:
    """Return whether the database lacks what it is known to hold; False if it does not answer."""
    health, group = equipment.health, equipment.settings.kafka_group_id

    async def look() -> bool:
        progress = await read_progress(equipment.stores[0], group, assignment.topic_ids)
        return any(
            partition not in progress or progress[partition].next_offset < end
            for partition, end in assignment.positions.items()
        )

    try:
        async with asyncio.timeout(equipment.timing.silence):
            return await persevere("postgresql", look, health)
    except TimeoutError as error:
        if "postgresql" not in health.conditions:
            health.report("postgresql", error, diagnose(error))
        return False
