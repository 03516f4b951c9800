"""What is written → the group's offsets. A commit that fails is no loss: `ingest_progress` knows better."""

import asyncio
from collections.abc import Mapping

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from pattern_metrics.consumer.faults.diagnosis import diagnose
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.stopping import cancel, see
from pattern_metrics.consumer.telemetry.tracing import OFF, BatchTrace
from pattern_metrics.consumer.worker.assignment import Assignment
from pattern_metrics.consumer.worker.equipment import Equipment

logger = structlog.get_logger()


class Commits:
    """Commits what an assignment owes.

    Args:
        consumer: the group's member.
        equipment: its `health` is told, of the component `commit`, of what fails, until a commit succeeds or
            nothing is owed any more; its `metrics` of commits that succeed; after a stop, a commit takes no
            longer than the grace time.
    """

    def __init__(self, consumer: AIOKafkaConsumer, equipment: Equipment) -> None:
        self._consumer = consumer
        self._equipment = equipment
        self._asked: asyncio.Task[None] | None = None

    async def commit(self, assignment: Assignment, trace: BatchTrace = OFF) -> None:
        """Commit what is owed of the partitions that are still ours; what fails is owed as before."""
        ours = self._consumer.assignment()
        offsets = {partition: end for partition, end in assignment.owed.items() if partition in ours}
        if not offsets:
            return
        health, clock = self._equipment.health, self._equipment.clock
        began_at = clock.monotonic()
        try:
            with trace.span("commit"):
                await self._ask(offsets)
        except (CommitFailedError, IllegalStateError):
            logger.info("commit_superseded", hint="the group has moved on; its new owner reads again")
        except (KafkaError, TimeoutError) as error:
            health.report("commit", error, diagnose(error))
            return
        else:
            self._equipment.metrics.offsets_committed(clock.monotonic() - began_at)
        health.recover("commit")
        assignment.committed(offsets)

    async def _ask(self, offsets: Mapping[Partition, int]) -> None:
        """Ask for one commit at a time.

        A commit that takes too long is not cancelled: aiokafka 0.14 shields it, goes on, and nobody would see
        how it ends. It is waited for before the next commit is asked for.

        Raises:
            TimeoutError: no answer came in time.
            KafkaError: the broker refused.
        """
        equipment = self._equipment
        async with asyncio.timeout(min(equipment.timing.commit, equipment.stop.seconds_left)):
            if self._asked is not None:
                await asyncio.wait({self._asked})
            self._asked = asyncio.ensure_future(self._consumer.commit(offsets))
            self._asked.add_done_callback(see)
            await asyncio.wait({self._asked})
        self._asked.result()

    def forget(self) -> None:
        """Note that nothing is owed any more."""
        self._equipment.health.recover("commit")

    async def close(self) -> None:
        """End what still goes on, once the client is stopped."""
        self.forget()
        if self._asked is not None:
            await cancel(self._asked)
