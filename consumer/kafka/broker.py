"""Questions to a broker over a connection of our own."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose
from pattern_metrics.consumer.kafka.topic_id_request import TopicIdRequest, told
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.timing import TIMING
from pattern_metrics.schemas.settings.kafka import KafkaSettings


async def require_topic(settings: KafkaSettings) -> int:
    """Ask a broker for the topic, without creating it, and return the number of its partitions.

    The leader of each partition must answer, too: it may be away, or advertise a name that its certificate
    does not have.

    Raises:
        KafkaError: the topic does not exist or may not be described; as `_ask`.
        OSError: as `_ask`.
    """
    metadata = await _metadata_of(settings, [settings.kafka_topic])
    (topic,) = metadata["topics"]
    error = for_code(topic["error_code"])
    if error is not NoError:
        raise error(settings.kafka_topic)
    brokers = {broker["node_id"]: (broker["host"], broker["port"]) for broker in metadata["brokers"]}
    for leader in {partition["leader"] for partition in topic["partitions"]}:
        if leader not in brokers:
            raise LeaderNotAvailableError(settings.kafka_topic)
        await _metadata_of(settings, [], [brokers[leader]])
    return len(topic["partitions"])


async def require_rights(settings: WorkerSettings) -> None:
    """Ask a broker what it answers only to who may read the topic, and be a member of the group.

    Raises:
        TopicAuthorizationFailedError: the topic is denied.
        GroupAuthorizationFailedError: the group is denied.
        KafkaError: as `_ask`.
        OSError: as `_ask`.
    """
    topic, group = settings.kafka_topic, settings.kafka_group_id
    fetched = await _ask(settings, FetchRequest(0, 0, 1, 1, [(topic, [(0, 0, 1)])]))
    codes = [code for _, partitions in fetched.topics for _, code, *_ in partitions]
    if TopicAuthorizationFailedError in map(for_code, codes):
        raise TopicAuthorizationFailedError(topic)
    beat = await _ask(settings, HeartbeatRequest(group, -1, "nobody"))
    if for_code(beat.error_code) is GroupAuthorizationFailedError:
        raise GroupAuthorizationFailedError(group)


async def topic_id(settings: KafkaSettings) -> UUID | None:
    """What tells the topic from one of the same name that was deleted before it (KIP-516).

    Returns:
        None where the broker gives topics no ID: Apache Kafka does from 2.8 on.

    Raises:
        KafkaError: there is no such topic at this moment; as `_ask`.
        OSError: as `_ask`.
    """
    try:
        code, identity = told(await _ask(settings, TopicIdRequest(settings.kafka_topic)))
    except NotImplementedError:
        return None
    if for_code(code) is not NoError:
        raise for_code(code)(settings.kafka_topic)
    return identity


async def topic_ids(settings: KafkaSettings) -> dict[str, UUID | None]:
    """Return the ID of each topic of KAFKA_TOPIC.

    Raises:
        KafkaError: as `topic_id`.
        OSError: as `topic_id`.
    """
    return {one.kafka_topic: await topic_id(one) for one in settings.each_topic()}


async def _metadata_of(
    settings: KafkaSettings, topics: list[str], brokers: Iterable[tuple[str, int]] = ()
) -> dict[str, Any]:
    request = MetadataRequest(topics, allow_auto_topic_creation=False)
    answer: dict[str, Any] = (await _ask(settings, request, brokers)).to_object()
    if not answer["brokers"]:
        # aiokafka 0.14 takes any OAUTHBEARER login for accepted; a broker that refused it names no broker.
        raise SaslAuthenticationFailed
    return answer


async def _ask(
    settings: KafkaSettings, request: Request, brokers: Iterable[tuple[str, int]] = ()
) -> Response:
    """Ask over a connection of its own: the client hides why it does not get through.

    Args:
        settings: how to get through.
        request: what to ask.
        brokers: whom, until one answers; without any, those of KAFKA_BOOTSTRAP_SERVERS.

    Raises:
        KafkaError: the login was refused, or no broker answers.
        OSError: no broker is reachable, or TLS failed.
    """
    options = settings.client_options()
    named = [(host, port) for host, port, _ in collect_hosts(options.pop("bootstrap_servers"))]
    failures: list[Exception] = []
    for host, port in brokers or named:
        try:
            connection = await create_conn(host, port, request_timeout_ms=10_000, **options)
        except (OSError, KafkaError, TimeoutError) as error:
            error.add_note(f"Kafka at {host}:{port}")
            failures.append(error)
            continue
        try:
            answer = await connection.send(request)
        except (KafkaError, TimeoutError) as error:
            error.add_note(f"Kafka at {host}:{port}")
            failures.append(error)
        else:
            return answer
        finally:
            connection.close()
    telling = (failure for failure in failures if diagnose(failure).fault is Fault.CONFIGURATION)
    raise next(telling, failures[-1])


async def create_topic(settings: KafkaSettings, *, partitions: int, replication_factor: int | None) -> bool:
    """Create the topic; one that is there is fine.

    Args:
        settings: where, and the topic's name.
        partitions: how many workers can share it at most.
        replication_factor: copies of each partition; None for three, or one a broker where there are fewer.

    Returns:
        Whether it was created now.

    Raises:
        KafkaError: the broker refused; as `_ask`.
        OSError: as `_ask`.
    """
    brokers = (await _metadata_of(settings, []))["brokers"]
    admin = AIOKafkaAdminClient(**settings.client_options(), request_timeout_ms=int(TIMING.request * 1000))
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
