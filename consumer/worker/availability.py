"""Tracks the assigned partitions that cannot be read, while others can."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import LeaderNotAvailableError

from pattern_metrics.consumer.kafka.leaders import has_leader, why_unavailable
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.worker.equipment import Equipment

logger = structlog.get_logger()

_ADVICE: Final = "no leader, or a leader that does not answer: see the brokers; the other partitions are read"


class Availability:
    """The partitions that have no leader, or whose leader does not answer.

    They keep the worker neither from reading the other partitions nor from being ready: a metric and a log
    line name them.

    Args:
        consumer: its client knows which partitions have a leader.
        equipment: its `metrics` show what is unavailable.
    """

    def __init__(self, consumer: AIOKafkaConsumer, equipment: Equipment) -> None:
        self._consumer = consumer
        self._equipment = equipment
        self._assigned = frozenset[Partition]()
        self._unavailable: dict[Partition, float] = {}
        """The time at which each leader was last asked in vain."""

    @property
    def unavailable(self) -> frozenset[Partition]:
        """The partitions that cannot be read."""
        return frozenset(self._unavailable)

    def askable(self, partitions: Iterable[Partition], *, delays_others: bool) -> list[Partition]:
        """Return the partitions whose leader may be asked now.

        Args:
            partitions: the partitions to ask about.
            delays_others: whether other partitions are being read and wait for the answer. A leader that did
                not answer is then left alone for a while.
        """
        partitions = list(partitions)
        leaderless = [each for each in partitions if not has_leader(self._consumer, each)]
        if leaderless:
            self.observe((), {each: LeaderNotAvailableError() for each in leaderless})
        asked_before = self._equipment.clock.monotonic() - self._equipment.timing.leader_again
        return [
            one
            for one in partitions
            if one not in leaderless
            and not (delays_others and self._unavailable.get(one, -inf) > asked_before)
        ]

    def observe(self, answered: Iterable[Partition], failures: Mapping[Partition, Exception]) -> None:
        """Record the partitions whose leader answered, and the partitions whose leader did not.

        Args:
            answered: the partitions with an answer.
            failures: the error of each other partition.
        """
        now = self._equipment.clock.monotonic()
        back = self._unavailable.keys() & set(answered)
        news = failures.keys() & self._assigned - self._unavailable.keys()
        for partition in back:
            del self._unavailable[partition]
        for partition in failures.keys() & self._assigned:
            # The client learns of a new leader by itself. The partition is then asked about at once.
            is_leaderless = isinstance(failures[partition], LeaderNotAvailableError)
            self._unavailable[partition] = -inf if is_leaderless else now
        self._show()
        if news:
            said = {why_unavailable(failures[one]) for one in news}
            logger.warning("partitions_unavailable", partitions=_names(news), said=sorted(said), hint=_ADVICE)
        if back:
            logger.info("partitions_available", partitions=_names(back))

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Start again with the partitions that the group has assigned, if any."""
        self._assigned = frozenset(partitions)
        self._unavailable = {}
        self._show()

    def _show(self) -> None:
        unavailable = {one: one in self._unavailable for one in self._assigned}
        self._equipment.metrics.availability_observed(unavailable)


def _names(partitions: Iterable[Partition]) -> list[str]:
    return [f"{topic}-{number}" for topic, number in sorted(partitions)]
