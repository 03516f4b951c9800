"""The leader epochs of the records that a consumer reads. They show whether a log was cut back (KIP-320)."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, LeaderNotAvailableError, NoError, for_code

from pattern_metrics.consumer.kafka.epoch_end_request import EpochEndRequest
from pattern_metrics.consumer.kafka.fetched_records import take_leader_epochs
from pattern_metrics.consumer.kafka.leaders import ask_leaders, leader_of
from pattern_metrics.consumer.records.offsets import EpochEnd


class LeaderEpochs:
    """The leader epochs of one consumer's partitions.

    Args:
        consumer: created by `create_consumer`, which records the epochs.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    def taken(self, partition: TopicPartition) -> dict[int, int]:
        """Return the leader epochs of the records of a partition read since the last call, in order.

        Returns:
            The position after the records of each leader epoch. The last epoch is that of the present
            position.
        """
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 - it offers no other way
        assignment = subscription and subscription.assignment
        if assignment is None or partition not in assignment.tps:
            return {}
        return take_leader_epochs(assignment.state_value(partition))

    async def ends(
        self, epochs: Mapping[TopicPartition, int], seconds: float
    ) -> tuple[dict[TopicPartition, EpochEnd], dict[TopicPartition, Exception]]:
        """Ask the leader of each partition for the end of a leader epoch.

        Args:
            epochs: the epoch, by partition.
            seconds: the longest wait for each leader.

        Returns:
            The answers by partition, from brokers that know the request; and the errors of the leaders that
            did not answer.

        Raises:
            KafkaError: an error that is not transient.
            OSError: an error that is not transient.
        """

        async def ask(some: list[TopicPartition]) -> dict[TopicPartition, EpochEnd]:
            return await self._ask({partition: epochs[partition] for partition in some})

        return await ask_leaders(self._consumer, ask, epochs, seconds)

    async def _ask(self, epochs: Mapping[TopicPartition, int]) -> dict[TopicPartition, EpochEnd]:
        """Ask the leader, which is the same for all of these partitions."""
        client = self._consumer._client  # noqa: SLF001 - aiokafka does not know the request
        leader = leader_of(self._consumer, next(iter(epochs)))
        if leader is None:
            raise LeaderNotAvailableError
        try:
            answer = await client.send(leader, EpochEndRequest(epochs))
        except (IncompatibleBrokerVersion, NotImplementedError):
            return {}
        ends = dict[TopicPartition, EpochEnd]()
        for topic, partitions in answer.topics:
            for code, number, epoch, end in partitions:
                if for_code(code) is not NoError:
                    client.force_metadata_update()
                    raise for_code(code)(topic, number)
                ends[TopicPartition(topic, number)] = EpochEnd(epoch, end)
        return ends
