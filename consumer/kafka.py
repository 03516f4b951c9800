"""The Kafka clients of the worker's side: every option that matters is said here, aloud."""

from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, NoError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from consumer.header_names import tolerate_header_names
from consumer.settings import WorkerSettings
from schemas.kafka_settings import KafkaSettings

logger = structlog.get_logger()

SESSION_TIMEOUT_MS: Final = 10_000
REBALANCE_TIMEOUT_MS: Final = 60_000
REQUEST_TIMEOUT_MS: Final = 40_000

_FETCH_BYTES_MAX: Final = 32 * 1024 * 1024
_PARTITION_FETCH_BYTES_MAX: Final = 1024 * 1024

_POLL_INTERVAL_MS_MAX: Final = 7 * 24 * 3600 * 1000
"""A worker that waits out an outage of PostgreSQL does not poll, and must stay in its group."""


def create_consumer(settings: WorkerSettings) -> AIOKafkaConsumer:
    """A member of the consumer group."""
    return _create_consumer(
        settings, group_id=settings.kafka_group_id, group_instance_id=settings.kafka_group_instance_id
    )


def create_reader(settings: KafkaSettings) -> AIOKafkaConsumer:
    """A consumer without a group: it touches nobody's offsets."""
    return _create_consumer(settings, group_id=None, group_instance_id=None)


def _create_consumer(
    settings: KafkaSettings, *, group_id: str | None, group_instance_id: str | None
) -> AIOKafkaConsumer:
    """A consumer that commits only what it is told to and never jumps by itself."""
    tolerate_header_names()
    return AIOKafkaConsumer(
        **settings.client_options(),
        client_id="pattern-metrics",
        group_id=group_id,
        group_instance_id=group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        check_crcs=True,
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=SESSION_TIMEOUT_MS // 3,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        max_poll_interval_ms=_POLL_INTERVAL_MS_MAX,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        retry_backoff_ms=200,
        metadata_max_age_ms=30_000,
        fetch_max_wait_ms=500,
        fetch_max_bytes=_FETCH_BYTES_MAX,
        max_partition_fetch_bytes=_PARTITION_FETCH_BYTES_MAX,
    )


async def require_topic(settings: KafkaSettings) -> int:
    """Ask a broker for the topic, without creating it, and return the number of its partitions.

    Raises:
        KafkaError: the topic does not exist or may not be described; as `_metadata_of`.
        OSError: as `_metadata_of`.
    """
    metadata = await _metadata_of(settings, [settings.kafka_topic])
    (answer,) = metadata["topics"]
    error = for_code(answer["error_code"])
    if error is not NoError:
        raise error(settings.kafka_topic)
    return len(answer["partitions"])


async def _metadata_of(settings: KafkaSettings, topics: list[str]) -> dict[str, Any]:
    """Ask for metadata over a connection of its own: the client's bootstrap hides why a login was refused.

    Raises:
        KafkaError: the login was refused, or no broker of KAFKA_BOOTSTRAP_SERVERS answers.
        OSError: no broker is reachable, or TLS failed.
    """
    options = settings.client_options()
    failure: Exception = KafkaConnectionError("KAFKA_BOOTSTRAP_SERVERS names no broker")
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers")):
        try:
            connection = await create_conn(host, port, request_timeout_ms=10_000, **options)
        except (OSError, KafkaError, TimeoutError) as error:
            failure = error
            continue
        try:
            response = await connection.send(MetadataRequest(topics, allow_auto_topic_creation=False))
        except (KafkaError, TimeoutError) as error:
            failure = error
            continue
        finally:
            connection.close()
        answer: dict[str, Any] = response.to_object()
        return answer
    raise failure


async def create_topic(settings: KafkaSettings, *, partitions: int, replication_factor: int | None) -> bool:
    """Create the topic; one that is there is fine.

    Args:
        settings: where, and the topic's name.
        partitions: how many workers can share it at most.
        replication_factor: copies of each partition; None for three, or one a broker where there are fewer.

    Returns:
        Whether it was created now.

    Raises:
        KafkaError: the broker refused; as `_metadata_of`.
        OSError: as `_metadata_of`.
    """
    brokers = (await _metadata_of(settings, []))["brokers"]
    admin = AIOKafkaAdminClient(**settings.client_options(), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        new = NewTopic(settings.kafka_topic, partitions, replication_factor or min(3, len(brokers)))
        response = await admin.create_topics([new])
    finally:
        await admin.close()
    for _, code, *detail in response.topic_errors:
        error = for_code(code)
        if error is TopicAlreadyExistsError:
            return False
        if error is not NoError:
            raise error(*detail)
    return True
