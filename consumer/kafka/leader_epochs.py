"""The leader epochs of what a consumer reads: by them a log that was cut back is noticed (KIP-320)."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, LeaderNotAvailableError, NoError, for_code

from pattern_metrics.consumer.kafka.epoch_end_request import EpochEndRequest
from pattern_metrics.consumer.kafka.fetched_records import take_leader_epochs
from pattern_metrics.consumer.records.offsets import EpochEnd


class LeaderEpochs:
    """The leader epochs of one consumer's partitions.

    Args:
        consumer: made by `create_consumer`, which notes the epochs.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    def taken(self, partition: TopicPartition) -> dict[int, int]:
        """Return what was read of a partition since the last call, in its order.

        Returns:
            Leader epoch → the position behind what was read of it. The last one is the epoch of the position.
        """
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 - it offers no other way
        assignment = subscription and subscription.assignment
        if assignment is None or partition not in assignment.tps:
            return {}
        return take_leader_epochs(assignment.state_value(partition))

    async def ends(self, epochs: Mapping[TopicPartition, int]) -> dict[TopicPartition, EpochEnd]:
        """Ask the leader of each partition for the end of a leader epoch.

        Args:
            epochs: partition → the epoch.

        Returns:
            The answers; nothing if a broker does not know the request.

        Raises:
            KafkaError: a partition has no leader, or its leader refused.
        """
        client = self._consumer._client  # noqa: SLF001 - aiokafka does not know the request
        by_leader = dict[int, dict[TopicPartition, int]]()
        for partition, epoch in epochs.items():
            leader = client.cluster.leader_for_partition(partition)
            if leader is None or leader < 0:
                raise LeaderNotAvailableError(partition)
            by_leader.setdefault(leader, {})[partition] = epoch
        found = dict[TopicPartition, EpochEnd]()
        for leader, asked in by_leader.items():
            try:
                answer = await client.send(leader, EpochEndRequest(asked))
            except (IncompatibleBrokerVersion, NotImplementedError):
                continue
            for topic, partitions in answer.topics:
                for code, number, epoch, end in partitions:
                    if for_code(code) is not NoError:
                        client.force_metadata_update()
                        raise for_code(code)(topic, number)
                    found[TopicPartition(topic, number)] = EpochEnd(epoch, end)
        return found
