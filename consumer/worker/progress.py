"""Where a session begins to read each partition: asked of the broker, settled with the database."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from pattern_metrics.consumer.faults.diagnosis import diagnose
from pattern_metrics.consumer.faults.retrying import persevere
from pattern_metrics.consumer.kafka.leaders import ask_leaders
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.offsets import Partition, Start, choose_start, restart_out_of_range
from pattern_metrics.consumer.worker.assignment import Assignment
from pattern_metrics.consumer.worker.equipment import Equipment

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Known:
    """What the broker knows.

    Attributes:
        topic_ids: topic → which of all topics that ever had this name it is; None where that cannot be told.
        beginnings: partition → the first offset that the log still has.
        committed: partition → the group's offset, if there is one.
        unavailable: partition → why nothing else is known of it.
    """

    topic_ids: Mapping[str, UUID | None]
    beginnings: Mapping[TopicPartition, int]
    committed: Mapping[TopicPartition, int | None]
    unavailable: Mapping[TopicPartition, Exception] = field(default_factory=dict)


async def ask_broker(
    consumer: AIOKafkaConsumer,
    topic_ids: Callable[[], Awaitable[Mapping[str, UUID | None]]],
    partitions: Iterable[TopicPartition],
    seconds: float,
) -> Known:
    """Ask what is to be known of these partitions, each leader for at most so many seconds.

    Raises:
        KafkaError: as `kafka.broker.topic_id`.
        OSError: likewise.
    """
    # The IDs first: a topic that is recreated right now is noticed later to be another one.
    identities = await topic_ids()
    beginnings, unavailable = await ask_leaders(consumer, consumer.beginning_offsets, partitions, seconds)
    committed = {partition: await consumer.committed(partition) for partition in beginnings}
    return Known(identities, beginnings, committed, unavailable)


async def settle(
    store: Store, group: str, known: Known, out_of_range: Mapping[Partition, int]
) -> dict[Partition, Start]:
    """Choose where to start, and write it down.

    Args:
        store: to write to.
        group: the consumer group.
        known: what the broker knows, of the partitions in question.
        out_of_range: the positions that it said it does not have.

    Raises:
        asyncpg.PostgresError: as `Store.transaction`.
        OSError: as `Store.transaction`.
    """
    starts, anew = dict[Partition, Start](), set[Partition]()
    async with store.transaction() as transaction:
        for topic, topic_id in known.topic_ids.items():
            stored = await transaction.progress(group, topic)
            progress = await transaction.progress(group, topic, topic_id)
            chosen = {
                partition: _start(partition, known, progress.get(partition), out_of_range.get(partition))
                for partition in known.beginnings
                if partition[0] == topic
            }
            await transaction.begin_at(group, chosen, topic_id)
            # Another worker, which has yet to learn of the rebalance, may have moved it on in between.
            anew |= {one for one in chosen if progress.get(one, 0) < stored.get(one, 0)}
            starts |= chosen
    for partition, start in starts.items():
        _log(partition, start, out_of_range.get(partition), is_anew=partition in anew)
    return starts


def _start(partition: Partition, known: Known, progress: int | None, out_of_range: int | None) -> Start:
    beginning = known.beginnings[partition]
    if out_of_range is not None:
        return restart_out_of_range(position=out_of_range, progress=progress, beginning=beginning)
    return choose_start(committed=known.committed[partition], progress=progress, beginning=beginning)


def _log(partition: Partition, start: Start, out_of_range: int | None, *, is_anew: bool) -> None:
    """Say where a partition is read from, and why, where that is not simply where we were."""
    topic, number = partition
    if is_anew:
        logger.warning(
            "topic_recreated",
            topic=topic,
            partition=number,
            hint="the topic has another ID than in the database; reading it from its beginning",
        )
    if start.gap is not None:
        logger.warning(
            "gap",
            topic=topic,
            partition=number,
            first_offset=start.gap.start,
            last_offset=start.gap.last,
            hint="retention removed these records before they were read; see the table ingest_gaps",
        )
    elif out_of_range is not None:
        logger.warning(
            "position_beyond_the_log",
            topic=topic,
            partition=number,
            position=out_of_range,
            hint="the topic was recreated or truncated; reading it from its beginning",
        )
    elif start.was_forgotten:
        logger.warning(
            "group_offset_forgotten",
            topic=topic,
            partition=number,
            hint="the topic was recreated, the offset has expired, or no worker has committed an offset yet; "
            "reading the topic from its beginning",
        )
    logger.info("reading_from", topic=topic, partition=number, offset=start.offset)


async def has_lost(assignment: Assignment, equipment: Equipment) -> bool:
    """Return whether the database lacks what it is known to hold; False where it does not answer."""
    health, group = equipment.health, equipment.settings.kafka_group_id

    async def look() -> bool:
        progress = dict[Partition, int]()
        async with equipment.stores[0].transaction() as transaction:
            for topic, topic_id in assignment.topic_ids.items():
                progress |= await transaction.progress(group, topic, topic_id)
        return any(progress.get(partition, -1) < end for partition, end in assignment.positions.items())

    try:
        async with asyncio.timeout(equipment.timing.silence):
            return await persevere("postgresql", look, health)
    except TimeoutError as error:
        if "postgresql" not in health.conditions:
            health.report("postgresql", error, diagnose(error))
        return False
