"""What is written → the group's offsets. A commit that fails is no loss: `ingest_progress` knows better."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from pattern_metrics.consumer.faults.diagnosis import diagnose
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.stopping import Stop, cancel, see
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.consumer.telemetry.tracing import OFF, BatchTrace

logger = structlog.get_logger()

COMMIT_SECONDS_MAX: Final = 10.0


class Commits:
    """What is written and not yet committed.

    Args:
        consumer: the group's member.
        health: told, of the component `commit`, of what fails, until one succeeds or there is nothing left.
        stop: after which a commit may take no longer than the grace time.
        metrics: told of those that succeed.
    """

    def __init__(self, consumer: AIOKafkaConsumer, health: Health, stop: Stop, metrics: Metrics) -> None:
        self._consumer = consumer
        self._health = health
        self._stop = stop
        self._metrics = metrics
        self._ends: dict[TopicPartition, int] = {}
        self._asked: asyncio.Task[None] | None = None

    def owe(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note up to where partitions are written."""
        self._ends.update(ends)

    def forget(self) -> None:
        """Owe nothing any more."""
        self._ends.clear()
        self._health.recover("commit")

    async def commit(self, trace: BatchTrace = OFF) -> None:
        """Commit what is owed of the partitions that are still ours; what fails is owed as before."""
        assigned = self._consumer.assignment()
        offsets = {partition: end for partition, end in self._ends.items() if partition in assigned}
        self._ends = dict(offsets)
        if not offsets:
            return
        began_at = time.monotonic()
        try:
            with trace.span("commit"):
                await self._ask(offsets)
        except (CommitFailedError, IllegalStateError):
            logger.info("commit_superseded", hint="the group has moved on; its new owner reads again")
        except (KafkaError, TimeoutError) as error:
            self._health.report("commit", error, diagnose(error))
            return
        else:
            self._metrics.offsets_committed(time.monotonic() - began_at)
        self._health.recover("commit")
        for partition, end in offsets.items():
            if self._ends.get(partition) == end:
                del self._ends[partition]

    async def _ask(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Ask for one commit at a time.

        One that takes too long is not cancelled: aiokafka 0.14 shields it, goes on, and nobody would see how
        it ends. It is waited for before the next one is asked for.
        """
        async with asyncio.timeout(min(COMMIT_SECONDS_MAX, self._stop.seconds_left)):
            if self._asked is not None:
                await asyncio.wait({self._asked})
            self._asked = asyncio.ensure_future(self._consumer.commit(offsets))
            self._asked.add_done_callback(see)
            await asyncio.wait({self._asked})
        self._asked.result()

    async def close(self) -> None:
        """End what still goes on, once the client is stopped."""
        self.forget()
        if self._asked is not None:
            await cancel(self._asked)
