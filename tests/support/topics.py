"""Changes to a topic from outside: retention, compaction, deletion."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import OffsetAndMetadata

from pattern_metrics.consumer.kafka.broker import require_topic
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.support.kafka import administering
from tests.support.waiting import eventually

COMPACTED = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"}
"""Compacts a topic as soon as the broker can."""

KEPT = {"cleanup.policy": "delete"}
"""Removes nothing from a topic while a test runs."""


async def delete_records_before(settings: WorkerSettings, offset: int) -> None:
    async with administering(settings.kafka_bootstrap_servers) as admin:
        await admin.delete_records(
            {TopicPartition(settings.kafka_topic, 0): RecordsToDelete(before_offset=offset)}
        )


async def configure(settings: KafkaSettings, configs: Mapping[str, str]) -> None:
    """Set these configs of the topic, and reset all others."""
    async with administering(settings.kafka_bootstrap_servers) as admin:
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, settings.kafka_topic, dict(configs))]
        )


async def commit_group(settings: WorkerSettings, offset: int) -> None:
    """Commit an offset, as `kafka-consumer-groups --reset-offsets` does."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.kafka_group_id,
        enable_auto_commit=False,
    )
    async with consumer:
        partition = TopicPartition(settings.kafka_topic, 0)
        consumer.assign([partition])
        await consumer.commit({partition: OffsetAndMetadata(offset, "")})


async def recreate_topic(
    settings: WorkerSettings, *, partitions: int, configs: Mapping[str, str] | None = None
) -> None:
    """Delete the topic, and create another topic under its name."""
    async with administering(settings.kafka_bootstrap_servers) as admin:
        await admin.delete_topics([settings.kafka_topic])
        await eventually(lambda: _is_gone(settings))
        await admin.create_topics([NewTopic(settings.kafka_topic, partitions, 1, topic_configs=configs)])
        await eventually(lambda: _is_there(settings, partitions))


async def _is_there(settings: WorkerSettings, partitions: int) -> bool:
    return await require_topic(settings) == partitions


async def _is_gone(settings: WorkerSettings) -> bool:
    try:
        await require_topic(settings)
    except UnknownTopicOrPartitionError:
        return True
    return False


async def readable(settings: WorkerSettings) -> tuple[int, int]:
    """Return the number of committed records in the first partition, and its end."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, isolation_level="read_committed"
    )
    async with consumer:
        partition = TopicPartition(settings.kafka_topic, 0)
        consumer.assign([partition])
        [end] = (await consumer.end_offsets([partition])).values()
        consumer.seek(partition, 0)
        count, position = 0, 0
        while position < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                count += len(records)
            position = await consumer.position(partition)
    return count, end
