"""Sets the metrics that no batch sets: the growth of the log, and the age of the dead letters."""

import asyncio
from collections.abc import Callable, Mapping

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.dead_letters.letters import seconds_since_oldest
from pattern_metrics.consumer.kafka.leaders import ask_leaders
from pattern_metrics.consumer.kafka.watch import lags, open_transactions, stable_end
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.worker.availability import Availability
from pattern_metrics.consumer.worker.equipment import Equipment

logger = structlog.get_logger()


class Observer:
    """Sets the metrics that no batch sets. A metric that it cannot learn keeps its value.

    Args:
        consumer: its partitions are observed.
        equipment: its metrics are set; its first store is queried between two batches.
        written: returns, by partition, the offset below which everything is written.
        availability: receives the partitions whose leader answers, and the others.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        equipment: Equipment,
        written: Callable[[], Mapping[Partition, int]],
        availability: Availability,
    ) -> None:
        self._consumer = consumer
        self._store = equipment.stores[0]
        self._metrics = equipment.metrics
        self._timing = equipment.timing
        self._clock = equipment.clock
        self._written = written
        self._availability = availability
        self._asked_at = -equipment.timing.letters
        self._open_at: dict[Partition, int | None] = {}
        self._logged: set[Partition] = set()

    async def run(self, *, asks_database: bool) -> None:
        """Observe, until cancelled.

        Args:
            asks_database: whether the age of the oldest dead letter is observed, too.
        """
        while True:
            if asks_database:
                await self._ask_for_the_oldest_dead_letter()
            await asyncio.sleep(self._timing.lag)
            await self._ask_for_the_ends()

    def observe_lag(self, ends: Mapping[Partition, int] | None = None) -> dict[Partition, int]:
        """Set the lag from the given ends, or from those of the last fetches, whichever are greater.

        Returns:
            The offsets that open transactions hold back, by partition.
        """
        written = self._written()
        self._metrics.lag_observed(lags(self._consumer, written, ends))
        held_back = open_transactions(self._consumer, written)
        self._metrics.open_transactions_observed(held_back)
        return held_back

    async def _ask_for_the_ends(self) -> None:
        written = self._written()
        if not written:
            return
        try:
            ends, unavailable = await ask_leaders(
                self._consumer, self._consumer.end_offsets, written, self._timing.leader
            )
        except (KafkaError, OSError):
            return  # the watch and the worker's next step report the error
        if not ends:
            return  # the watch reports the outage
        self._availability.observe(ends, unavailable)
        self._log_open_transactions(self.observe_lag(ends))

    def _log_open_transactions(self, held_back: Mapping[Partition, int]) -> None:
        """Log a transaction that stays open between two observations, once, until it ends."""
        open_at = {one: stable_end(self._consumer, one) for one, offsets in held_back.items() if offsets}
        lasting = {one for one, offset in open_at.items() if self._open_at.get(one) == offset}
        for topic, partition in sorted(lasting - self._logged):
            logger.warning(
                "transaction_open",
                topic=topic,
                partition=partition,
                offset=open_at[topic, partition],
                held_back=held_back[topic, partition],
                hint="a producer's transaction holds the partition back; do not restart the worker",
            )
        self._open_at, self._logged = open_at, lasting

    async def _ask_for_the_oldest_dead_letter(self) -> None:
        if self._clock.monotonic() - self._asked_at < self._timing.letters:
            return
        self._asked_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timing.lag_answer), self._store.transaction() as transaction:
                await self._store.clock.compare(transaction.connection)
                seconds = await seconds_since_oldest(transaction.connection, self._timing.letters_statement)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return  # the worker's next write reports the error
        self._metrics.oldest_dead_letter_observed(seconds)
