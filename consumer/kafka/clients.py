"""Creates the worker's Kafka clients, with every option that matters written out."""

from collections.abc import Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer

from pattern_metrics.consumer.kafka.fetched_records import FetchedRecord, unpack_by_these_rules
from pattern_metrics.consumer.records.record import Record
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from pattern_metrics.schemas.settings.kafka_client import ask_side_by_side
from pattern_metrics.schemas.settings.timing import TIMING, Timing

SESSION_TIMEOUT_MS: Final = 10_000
REBALANCE_TIMEOUT_MS: Final = 60_000
METADATA_AGE_MS: Final = 30_000

_FETCH_BYTES_MAX: Final = 32 * 1024 * 1024
_PARTITION_FETCH_BYTES_MAX: Final = 512 * 1024

_POLL_INTERVAL_MS_MAX: Final = 7 * 24 * 3600 * 1000
"""A worker that waits for PostgreSQL does not poll, and must stay in its group."""


def create_consumer(settings: WorkerSettings, timing: Timing) -> AIOKafkaConsumer:
    """Return a member of the consumer group."""
    return _create_consumer(
        settings,
        timing,
        group_id=settings.kafka_group_id,
        group_instance_id=settings.kafka_group_instance_id,
    )


def create_reader(settings: KafkaSettings, isolation_level: str = "read_committed") -> AIOKafkaConsumer:
    """Return a consumer without a group, which changes no group's offsets.

    Args:
        settings: the broker.
        isolation_level: with `read_uncommitted`, the end of a log is its high watermark.
    """
    return _create_consumer(
        settings, TIMING, group_id=None, group_instance_id=None, isolation_level=isolation_level
    )


def _create_consumer(
    settings: KafkaSettings,
    timing: Timing,
    *,
    group_id: str | None,
    group_instance_id: str | None,
    isolation_level: str = "read_committed",
) -> AIOKafkaConsumer:
    """Return a consumer that never commits by itself and never changes its position by itself."""
    unpack_by_these_rules()
    consumer = AIOKafkaConsumer(
        **settings.client_options(),
        client_id="pattern-metrics",
        group_id=group_id,
        group_instance_id=group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=isolation_level,
        check_crcs=True,
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=SESSION_TIMEOUT_MS // 3,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        max_poll_interval_ms=_POLL_INTERVAL_MS_MAX,
        request_timeout_ms=int(timing.request * 1000),
        retry_backoff_ms=200,
        metadata_max_age_ms=METADATA_AGE_MS,
        fetch_max_wait_ms=500,
        fetch_max_bytes=_FETCH_BYTES_MAX,
        max_partition_fetch_bytes=_PARTITION_FETCH_BYTES_MAX,
    )
    ask_side_by_side(consumer._client)  # noqa: SLF001 - aiokafka has no option for this
    return consumer


async def learn_of_partitions(consumer: AIOKafkaConsumer) -> None:
    """Make the client ask for the topics' partitions now. By itself it asks every METADATA_AGE_MS."""
    await consumer._client.force_metadata_update()  # noqa: SLF001 - aiokafka offers no other way


def release_values(records: Iterable[Record]) -> None:
    """Free the values of decoded records.

    A value takes more memory than its decoded event. A later reader of the value unpacks it again.
    """
    for record in records:
        if isinstance(record, FetchedRecord):
            record.release_value()
