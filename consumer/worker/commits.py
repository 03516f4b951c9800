"""Commits the group's offsets after the write. A failed commit loses nothing: `ingest_progress` is exact."""

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
    """Commits the offsets that an assignment owes.

    Args:
        consumer: the group's member.
        equipment: failures go to its health as component `commit`, until a commit succeeds or nothing is
            owed; commits that succeed go to its metrics. After a stop, a commit takes no longer than the
            grace time.
    """

    def __init__(self, consumer: AIOKafkaConsumer, equipment: Equipment) -> None:
        self._consumer = consumer
        self._equipment = equipment
        self._asked: asyncio.Task[None] | None = None

    async def commit(self, assignment: Assignment, trace: BatchTrace = OFF) -> None:
        """Commit what is owed for the partitions that are still ours. After a failure it is still owed.

        Kafka's errors are not raised: they are reported to the health.
        """
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
            logger.info(
                "commit_superseded", hint="the group has rebalanced; the new owner reads the batch again"
            )
        except (KafkaError, TimeoutError) as error:
            health.report("commit", error, diagnose(error))
            return
        else:
            self._equipment.metrics.offsets_committed(clock.monotonic() - began_at)
        health.recover("commit")
        assignment.committed(offsets)

    async def _ask(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets, one request at a time.

        A commit that takes too long is not cancelled: aiokafka 0.14 shields it, and nobody would see its
        result. The next call waits for it before it sends a new commit.

        Raises:
            TimeoutError: there was no answer in time.
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
        """End a commit that still runs, once the client is stopped."""
        self.forget()
        if self._asked is not None:
            await cancel(self._asked)
