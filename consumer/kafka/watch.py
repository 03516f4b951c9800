"""Watches a Kafka client from outside, and computes its lag."""

import asyncio
from collections.abc import Iterable, Mapping, Set
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.kafka.broker import find_topic
from pattern_metrics.consumer.kafka.leaders import ask_leaders
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.settings.timing import CLOCK, TIMING, Clock, Timing

CLIENT_FAILURES_MAX: Final = 2
"""The number of probes in a row in which a fresh connection works and the client's connection does not."""


class StalledError(Exception):
    """There is lag without progress, or the client does not answer. The client has to be rebuilt."""


class Watch:
    """Watches one Kafka client from outside."""

    def __init__(
        self,
        settings: WorkerSettings,
        consumer: AIOKafkaConsumer,
        health: Health,
        timing: Timing = TIMING,
        clock: Clock = CLOCK,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._health = health
        self._timing = timing
        self._clock = clock
        self._targets: dict[Partition, int] = {}
        self._active_at = self._probed_at = clock.monotonic()
        self._client_failures = 0

    def touch(self) -> None:
        """Record that the client made progress. A silence is measured from here."""
        self._active_at = self._clock.monotonic()

    async def is_at_the_end(self, partitions: Iterable[Partition]) -> bool:
        """Return whether each partition was read to its end at its first fetch.

        The end is the last stable offset in the fetch's response, which `read_committed` can reach.
        """
        for partition in partitions:
            end = stable_end(self._consumer, partition)
            if end is None:
                return False
            if await self._consumer.position(partition) < self._targets.setdefault(partition, end):
                return False
        return True

    def lag(self, ends: Mapping[Partition, int]) -> int:
        """Return the offsets between these positions and the log's end, as of the last fetches."""
        return sum(lags(self._consumer, ends).values())

    async def look_for_a_stall(self, partitions: Iterable[Partition]) -> None:
        """After a silence, ask the broker over a fresh connection whether it is up, and whether there is lag.

        Raises:
            StalledError: the broker has records and the client does not deliver them; or a fresh connection
                works, and the client's connection does not.
            KafkaError: the configuration is wrong. A new client will use the corrected one.
            OSError: a certificate or another file of the configuration is wrong.
        """
        now = self._clock.monotonic()
        if now - max(self._active_at, self._probed_at) < self._timing.silence:
            return
        self._probed_at = now
        try:
            async with asyncio.timeout(self._timing.silence):
                topics = await asyncio.gather(*map(find_topic, self._settings.each_topic()))
        except (KafkaError, OSError, TimeoutError) as error:
            diagnosis = diagnose(error)
            if diagnosis.fault is Fault.CONFIGURATION:
                raise
            self._health.report("kafka", error, diagnosis)
            self.touch()  # an outage is not a stall: the client gets its full time once the broker is back
            return
        unavailable = {(topic.name, number) for topic in topics for number in topic.unavailable}
        ends = await self._ends(partitions, unavailable)
        if ends is None:
            return
        self._health.recover("kafka")
        assigned = self._consumer.assignment()
        behind = [
            partition
            for partition, end in ends.items()
            if partition in assigned and await self._consumer.position(partition) < end
        ]
        if not behind:
            self.touch()  # a record that arrives from now on has not been waiting all this time
        elif now - self._active_at > self._timing.stall:
            raise StalledError(f"{len(behind)} partitions have lag, and no record arrives")

    async def _ends(
        self, partitions: Iterable[Partition], unavailable: Set[Partition]
    ) -> dict[Partition, int] | None:
        """Ask the client itself for the ends; None if the client fails for the first time.

        The client keeps the password and the certificates that it was built with, which may have been
        replaced since.

        Args:
            partitions: the partitions.
            unavailable: the partitions whose leader answers no fresh connection either.

        Raises:
            StalledError: the client failed for the second time.
        """
        ends, failures = dict[Partition, int](), list[Exception]()
        try:
            ends, unanswered = await ask_leaders(
                self._consumer, self._consumer.end_offsets, partitions, self._timing.silence
            )
            failures += [error for partition, error in unanswered.items() if partition not in unavailable]
        except (KafkaError, OSError) as error:
            failures.append(error)
        if failures:
            self._health.report("kafka", failures[0], diagnose(failures[0]))
            self._client_failures += 1
            if self._client_failures == CLIENT_FAILURES_MAX:
                raise StalledError("a fresh connection gets through, and the client's does not") from None
            return None
        self._client_failures = 0
        return ends


def stable_end(consumer: AIOKafkaConsumer, partition: Partition) -> int | None:
    """Return the end that `read_committed` can reach, as of the last fetch; None if it is not known."""
    stable: int | None = consumer.last_stable_offset(partition)
    if stable is not None and stable < 0:  # a broker without transactions
        stable = consumer.highwater(partition)
    return stable


def open_transactions(consumer: AIOKafkaConsumer, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """Return the offsets that open transactions hold back in each assigned partition, as of the last fetch.

    These are the offsets between the last stable offset and the high watermark.
    """
    assigned = consumer.assignment()
    return {
        partition: max(0, (consumer.highwater(partition) or 0) - end)
        for partition in partitions
        if partition in assigned and (end := stable_end(consumer, partition)) is not None
    }


def lags(
    consumer: AIOKafkaConsumer,
    positions: Mapping[Partition, int],
    ends: Mapping[Partition, int] | None = None,
) -> dict[Partition, int]:
    """Return the offsets between positions and the stable end, for each partition that is still assigned.

    Args:
        consumer: the partitions' consumer, whose last fetches have an end too.
        positions: offset by partition.
        ends: the ends that the broker returned. The greater end counts.
    """
    assigned, asked = consumer.assignment(), ends or {}
    return {
        partition: max(
            0, (stable_end(consumer, partition) or 0) - position, asked.get(partition, 0) - position
        )
        for partition, position in positions.items()
        if partition in assigned
    }
