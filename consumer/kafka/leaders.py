"""Questions to the leaders of partitions: a silent leader delays no other partition's answer."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import LeaderNotAvailableError

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose, said_by

T = TypeVar("T")

NO_LEADER: Final = -1
"""The node that a broker names as the leader of a partition without a leader."""


def why_unavailable(error: Exception) -> str:
    """Return, in one line, why the leader of a partition did not answer."""
    return "no leader" if isinstance(error, LeaderNotAvailableError) else said_by(error)


def has_leader(consumer: AIOKafkaConsumer, partition: TopicPartition) -> bool:
    """Return whether the partition has a leader, or may have one, as of the client's last metadata."""
    return leader_of(consumer, partition) != NO_LEADER


def leader_of(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return the leader by the client's last metadata: NO_LEADER for none, None if that is unknown."""
    leader: int | None = consumer._client.cluster.leader_for_partition(partition)  # noqa: SLF001
    return leader


async def ask_leaders(
    consumer: AIOKafkaConsumer,
    question: Callable[[list[TopicPartition]], Awaitable[Mapping[TopicPartition, T]]],
    partitions: Iterable[TopicPartition],
    seconds: float,
) -> tuple[dict[TopicPartition, T], dict[TopicPartition, Exception]]:
    """Ask the leader of each partition, all leaders at once.

    Args:
        consumer: knows the leaders.
        question: asks about partitions of one leader, such as `consumer.end_offsets`.
        partitions: the partitions to ask about.
        seconds: the longest wait for each leader.

    Returns:
        The answers by partition; and the errors of the partitions without an answer, by partition.

    Raises:
        KafkaError: an error that is not transient.
        OSError: an error that is not transient.
    """
    by_leader = defaultdict[int | None, list[TopicPartition]](list)
    for partition in partitions:
        by_leader[leader_of(consumer, partition)].append(partition)
    unavailable: dict[TopicPartition, Exception] = {
        partition: LeaderNotAvailableError() for partition in by_leader.pop(NO_LEADER, ())
    }

    async def ask(some: list[TopicPartition]) -> Mapping[TopicPartition, T]:
        async with asyncio.timeout(seconds):
            return await question(some)

    asked = list(by_leader.values())
    answers = dict[TopicPartition, T]()
    for some, answer in zip(
        asked, await asyncio.gather(*map(ask, asked), return_exceptions=True), strict=True
    ):
        if not isinstance(answer, BaseException):
            answers |= answer
        elif isinstance(answer, Exception) and diagnose(answer).fault is Fault.TRANSIENT:
            unavailable |= dict.fromkeys(some, answer)
        else:
            raise answer
    return answers, unavailable
