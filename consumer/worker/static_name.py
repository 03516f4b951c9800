"""The worker's name in its group (KAFKA_GROUP_INSTANCE_ID), and the loss of it to another worker."""

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.faults.diagnosis import DuplicateInstanceError
from pattern_metrics.consumer.kafka.membership import member_id_of, require_own_name
from pattern_metrics.consumer.worker.equipment import Equipment


class StaticName:
    """Checks whether another worker has taken this worker's name.

    The worker that joined last has the name. The worker before it stays out, because two workers that take
    the name from each other would rebalance the group without end.

    Args:
        consumer: the member of the group.
        equipment: its settings have the name, if there is one.

    Attributes:
        lost: the error that another worker has the name; None while no such worker is known.
    """

    def __init__(self, consumer: AIOKafkaConsumer, equipment: Equipment) -> None:
        self.lost: DuplicateInstanceError | None = None
        self._consumer = consumer
        self._equipment = equipment
        self._member_id = ""

    def joined(self) -> None:
        """Remember the worker's id in the group; the client forgets it when it is refused."""
        self._member_id = member_id_of(self._consumer)

    async def is_lost(self) -> bool:
        """Return whether another worker has the name; False if the brokers do not answer."""
        member_id = member_id_of(self._consumer) or self._member_id
        if self._equipment.settings.kafka_group_instance_id and member_id and self.lost is None:
            try:
                async with asyncio.timeout(self._equipment.timing.leave):
                    await require_own_name(self._equipment.settings, member_id)
            except DuplicateInstanceError as error:
                self.lost = error
            except (KafkaError, OSError):
                pass
        return self.lost is not None

    async def check(self) -> None:
        """Ask the brokers, and require that no other worker has the name.

        Raises:
            DuplicateInstanceError: another worker has it.
        """
        await self.is_lost()
        self.require()

    def require(self) -> None:
        """Require that no other worker is known to have the name.

        Raises:
            DuplicateInstanceError: another worker has it.
        """
        if self.lost is not None:
            raise self.lost
