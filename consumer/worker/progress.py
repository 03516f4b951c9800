"""Where a session begins to read each partition: asked of the broker, settled with the database."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from pattern_metrics.consumer.faults.diagnosis import diagnose
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import persevere
from pattern_metrics.consumer.kafka.broker import topic_id
from pattern_metrics.consumer.kafka.watch import SILENCE_SECONDS
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.offsets import Start, choose_start, restart_out_of_range
from pattern_metrics.consumer.settings import WorkerSettings

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Known:
    """What the broker knows.

    Attributes:
        topic_id: which of all topics that ever had this name it is, as far as that can be told.
        beginnings: partition → the first offset that the log still has.
        committed: partition → the group's offset, if there is one.
    """

    topic_id: UUID | None
    beginnings: Mapping[TopicPartition, int]
    committed: Mapping[TopicPartition, int | None]


async def ask_broker(
    consumer: AIOKafkaConsumer, settings: WorkerSettings, partitions: Iterable[TopicPartition]
) -> Known:
    """Ask what is to be known of these partitions.

    Raises:
        KafkaError: as `kafka.topic_id`.
        OSError: likewise.
    """
    # The ID first: of a topic that is made anew right now, too, it is noticed later that it is another one.
    identity = await topic_id(settings)
    beginnings = await consumer.beginning_offsets(list(partitions))
    committed = {partition: await consumer.committed(partition) for partition in beginnings}
    return Known(identity, beginnings, committed)


async def settle(
    store: Store, settings: WorkerSettings, known: Known, out_of_range: Mapping[TopicPartition, int]
) -> dict[TopicPartition, Start]:
    """Choose where to start, and write it down.

    Args:
        store: to write to.
        settings: group and topic.
        known: what the broker knows, of the partitions in question.
        out_of_range: the positions that it said it does not have.

    Raises:
        asyncpg.PostgresError: as `Store.transaction`.
    """
    group, topic = settings.kafka_group_id, settings.kafka_topic
    async with store.transaction() as transaction:
        stored = await transaction.progress(group, topic)
        progress = await transaction.progress(group, topic, known.topic_id)
        starts = {
            partition: restart_out_of_range(
                position=out_of_range[partition], progress=progress.get(partition), beginning=beginning
            )
            if partition in out_of_range
            else choose_start(
                committed=known.committed[partition], progress=progress.get(partition), beginning=beginning
            )
            for partition, beginning in known.beginnings.items()
        }
        await transaction.begin_at(group, starts, known.topic_id)
    for partition, start in starts.items():
        # Another worker, which has yet to learn that the partition is ours, may have moved it on in between.
        is_anew = progress.get(partition, 0) < stored.get(partition, 0)
        _tell(partition, start, out_of_range.get(partition), is_anew=is_anew)
    return starts


def _tell(partition: TopicPartition, start: Start, out_of_range: int | None, *, is_anew: bool) -> None:
    """Say where a partition is read from, and why, where that is not simply where we were."""
    number = partition.partition
    if is_anew:
        logger.warning(
            "topic_made_anew",
            partition=number,
            hint="the database knows a topic of this name with another ID; reading it from its beginning",
        )
    if start.gap is not None:
        logger.warning(
            "gap",
            partition=number,
            first_offset=start.gap.start,
            last_offset=start.gap.last,
            hint="retention removed these records before they were read; see table ingest_gaps",
        )
    elif out_of_range is not None:
        logger.warning(
            "position_beyond_the_log",
            partition=number,
            position=out_of_range,
            hint="the topic is not the one we knew; reading it from its beginning",
        )
    elif start.was_forgotten:
        logger.warning(
            "group_offset_forgotten",
            partition=number,
            hint="the topic was made anew, the offset has expired, or no worker has committed any yet; "
            "reading it from its beginning",
        )
    logger.info("reading_from", partition=number, offset=start.offset)


async def has_lost(
    written: Mapping[TopicPartition, int],
    of_topic: UUID | None,
    settings: WorkerSettings,
    store: Store,
    health: Health,
) -> bool:
    """Whether the database lacks what was written below these offsets; no, where it does not answer."""

    async def look() -> bool:
        async with store.transaction() as transaction:
            progress = await transaction.progress(settings.kafka_group_id, settings.kafka_topic, of_topic)
        return any(progress.get(partition, -1) < end for partition, end in written.items())

    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await persevere("postgresql", look, health)
    except TimeoutError as error:
        if "postgresql" not in health.conditions:
            health.report("postgresql", error, diagnose(error))
        return False
