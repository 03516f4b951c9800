"""Sends requests to a broker over separate connections."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
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
from pattern_metrics.consumer.kafka.leaders import why_unavailable
from pattern_metrics.consumer.kafka.topic_id_request import TopicIdRequest, read_answer
from pattern_metrics.consumer.records.offsets import NO_TOPIC_ID
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from pattern_metrics.schemas.settings.kafka_client import NoAnswerError, ask_side_by_side, first_answer
from pattern_metrics.schemas.settings.timing import TIMING

LEADER_SECONDS_MAX: Final = 5.0
"""Longest wait for the leader of a partition before the partition counts as unavailable."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, and the partitions of it that cannot be read.

    Attributes:
        name: its name.
        partitions: the number of its partitions.
        unavailable: the error of each leader that does not answer, by partition. These partitions cannot be
            read now.
    """

    name: str
    partitions: int
    unavailable: Mapping[int, Exception]

    def describe_unavailable(self, numbers: Iterable[int] | None = None) -> str | None:
        """Return one line that names the unavailable partitions; None if all are available.

        Args:
            numbers: the partitions that matter; by default all.
        """
        by_reason = defaultdict[str, list[int]](list)
        for number in sorted(self.unavailable if numbers is None else self.unavailable.keys() & set(numbers)):
            by_reason[why_unavailable(self.unavailable[number])].append(number)
        named = (f"{', '.join(map(str, some))} ({reason})" for reason, some in by_reason.items())
        return f"unavailable partitions of {self.name}: {'; '.join(named)}" if by_reason else None

    def require(self, numbers: Iterable[int]) -> None:
        """Require that these partitions are available.

        Raises:
            LeaderNotAvailableError: names the partitions that are unavailable.
        """
        if line := self.describe_unavailable(numbers):
            raise LeaderNotAvailableError(line)


async def require_topic(settings: KafkaSettings) -> int:
    """Return the number of partitions of the topic. At least one of them is available.

    Raises:
        KafkaError: see `find_topic`.
        OSError: see `find_topic`.
    """
    return (await find_topic(settings)).partitions


async def find_topic(settings: KafkaSettings) -> Topic:
    """Ask a broker for the topic, without creating it, and ask the leader of each partition for an answer.

    A leader may be down, or advertise a name that its certificate does not have.

    Raises:
        KafkaError: the topic does not exist or may not be described, or no partition is available; see `ask`.
        OSError: no partition is available; see `ask`.
    """
    metadata = await _metadata_of(settings, [settings.kafka_topic])
    (topic,) = metadata["topics"]
    error = for_code(topic["error_code"])
    if error is not NoError:
        raise error(settings.kafka_topic)
    brokers = {broker["node_id"]: (broker["host"], broker["port"]) for broker in metadata["brokers"]}
    leaders = {partition["partition"]: partition["leader"] for partition in topic["partitions"]}
    nodes = sorted(set(leaders.values()))
    answers = await asyncio.gather(*(_knock(settings, brokers.get(node)) for node in nodes))
    failures = {node: error for node, error in zip(nodes, answers, strict=True) if error is not None}
    unavailable = {number: failures[leader] for number, leader in leaders.items() if leader in failures}
    found = Topic(settings.kafka_topic, len(leaders), unavailable)
    if len(unavailable) == len(leaders):
        failure = next(iter(unavailable.values()))
        failure.add_note(found.describe_unavailable() or "")
        raise failure
    return found


async def _knock(settings: KafkaSettings, broker: tuple[str, int] | None) -> Exception | None:
    """Return why the leader of a partition does not answer; None if it does."""
    if broker is None:
        return LeaderNotAvailableError()  # type: ignore[no-any-return] # aiokafka's classes have no types
    failure: Exception | None = None
    try:
        async with asyncio.timeout(LEADER_SECONDS_MAX):
            await _metadata_of(settings, [], [broker])
    except TimeoutError:
        failure = TimeoutError("does not answer")
        failure.add_note(f"Kafka at {broker[0]}:{broker[1]}")
    except (KafkaError, OSError) as error:
        failure = error
    return failure


async def require_rights(settings: WorkerSettings) -> None:
    """Send requests that a broker answers only to members of the group that may read the topic.

    Raises:
        TopicAuthorizationFailedError: the topic is denied.
        GroupAuthorizationFailedError: the group is denied.
        KafkaError: see `ask`.
        OSError: see `ask`.
    """
    topic, group = settings.kafka_topic, settings.kafka_group_id
    fetched = await ask(settings, FetchRequest(0, 0, 1, 1, [(topic, [(0, 0, 1)])]))
    codes = [code for _, partitions in fetched.topics for _, code, *_ in partitions]
    if TopicAuthorizationFailedError in map(for_code, codes):
        raise TopicAuthorizationFailedError(topic)
    beat = await ask(settings, HeartbeatRequest(group, -1, "nobody"))
    if for_code(beat.error_code) is GroupAuthorizationFailedError:
        raise GroupAuthorizationFailedError(group)


async def topic_id(settings: KafkaSettings) -> UUID:
    """Return the ID of the topic, which no other topic of any cluster has (KIP-516).

    Returns:
        The ID; NO_TOPIC_ID if the broker gives topics no ID, as Apache Kafka before 2.8.

    Raises:
        KafkaError: there is no such topic at this moment; see `ask`.
        OSError: see `ask`.
    """
    try:
        code, identity = read_answer(await ask(settings, TopicIdRequest(settings.kafka_topic)))
    except NotImplementedError:
        return NO_TOPIC_ID
    if for_code(code) is not NoError:
        raise for_code(code)(settings.kafka_topic)
    return identity


async def topic_ids(settings: KafkaSettings) -> dict[str, UUID]:
    """Return the ID of each topic of KAFKA_TOPIC.

    Raises:
        KafkaError: see `topic_id`.
        OSError: see `topic_id`.
    """
    return {one.kafka_topic: await topic_id(one) for one in settings.each_topic()}


async def group_members(settings: WorkerSettings) -> list[str]:
    """Return the host of each member that the group of KAFKA_GROUP_ID has at this moment.

    Raises:
        KafkaError: the broker refused, or no broker answers.
    """
    admin = AIOKafkaAdminClient(**settings.client_options(), request_timeout_ms=int(TIMING.request * 1000))
    try:
        await admin.start()
        [answer] = await admin.describe_consumer_groups([settings.kafka_group_id])
    finally:
        await admin.close()
    [group] = answer.to_object()["groups"]
    if for_code(group["error_code"]) is not NoError:
        raise for_code(group["error_code"])(settings.kafka_group_id)
    return [member["client_host"].lstrip("/") for member in group["members"]]


async def _metadata_of(
    settings: KafkaSettings, topics: list[str], brokers: Iterable[tuple[str, int]] = ()
) -> dict[str, Any]:
    request = MetadataRequest(topics, allow_auto_topic_creation=False)
    answer: dict[str, Any] = (await ask(settings, request, brokers)).to_object()
    if not answer["brokers"]:
        # aiokafka 0.14 takes each OAUTHBEARER login as accepted. A broker that refused it names no broker.
        raise SaslAuthenticationFailed
    return answer


async def ask(settings: KafkaSettings, request: Request, brokers: Iterable[tuple[str, int]] = ()) -> Response:
    """Send a request over a separate connection, because the client hides why it cannot connect.

    Args:
        settings: the brokers and the login.
        request: the request.
        brokers: host and port of each broker to ask; the first answer counts. Without any, the brokers of
            KAFKA_BOOTSTRAP_SERVERS.

    Raises:
        KafkaError: the login was refused, or no broker answers.
        OSError: no broker can be reached, or TLS failed.
    """
    options = settings.client_options()
    named = [(host, port) for host, port, _ in collect_hosts(options.pop("bootstrap_servers"))]
    try:
        return await first_answer(
            partial(_ask_at, host, port, request, options) for host, port in brokers or named
        )
    except NoAnswerError as error:
        failures = error.failures
    telling = (failure for failure in failures if diagnose(failure).fault is Fault.CONFIGURATION)
    raise next(telling, failures[-1])


async def _ask_at(host: str, port: int, request: Request, options: Mapping[str, Any]) -> Response:
    try:
        connection = await create_conn(host, port, request_timeout_ms=10_000, **options)
        try:
            return await connection.send(request)
        finally:
            connection.close()
    except (OSError, KafkaError, TimeoutError) as error:
        error.add_note(f"Kafka at {host}:{port}")
        raise


async def create_topic(settings: KafkaSettings, *, partitions: int, replication_factor: int | None) -> bool:
    """Create the topic, unless it exists.

    Args:
        settings: the brokers, and the topic's name.
        partitions: the number of partitions, which is the greatest number of workers that can share the
            topic.
        replication_factor: copies of each partition; None for three, or one per broker if there are fewer.

    Returns:
        Whether it was created now.

    Raises:
        KafkaError: the broker refused; see `ask`.
        OSError: see `ask`.
    """
    brokers = (await _metadata_of(settings, []))["brokers"]
    admin = AIOKafkaAdminClient(**settings.client_options(), request_timeout_ms=int(TIMING.request * 1000))
    ask_side_by_side(admin._client)  # noqa: SLF001 - aiokafka has no option for this
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
