"""What a batch does not tell the metrics: how far the log has grown, and what became of dead letters."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.dead_letters.sql import statement
from pattern_metrics.consumer.kafka.watch import lags
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.telemetry.metrics import Metrics

LOG_SECONDS: Final = 15.0
"""How often the broker is asked for the log's end: during an outage of PostgreSQL no fetch tells it."""

DEAD_LETTERS_SECONDS: Final = 60.0
"""How often the database is asked for its oldest open dead letter, which reads all of them."""

ANSWER_SECONDS_MAX: Final = 10.0
STATEMENT_SECONDS_MAX: Final = 2.0
"""How long that may take of the worker's one connection, whatever the number of dead letters."""


class Observer:
    """Tells the metrics what no batch does; what it cannot learn, it leaves as it was.

    Args:
        consumer: whose partitions are observed.
        store: asked between two batches.
        metrics: told.
        written: partition → what is written, up to there; kept up to date by its owner.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        store: Store,
        metrics: Metrics,
        written: Mapping[TopicPartition, int],
    ) -> None:
        self._consumer = consumer
        self._store = store
        self._metrics = metrics
        self._written = written
        self._asked_at = -DEAD_LETTERS_SECONDS

    async def run(self) -> None:
        """Observe, until cancelled."""
        while True:
            await self._ask_for_the_oldest_dead_letter()
            await asyncio.sleep(LOG_SECONDS)
            await self._ask_for_the_ends()

    def observe_lag(self, ends: Mapping[TopicPartition, int] | None = None) -> None:
        """By the ends that were asked for, or those that the last fetches told, whichever is further."""
        self._metrics.lag_observed(lags(self._consumer, self._written, ends))

    async def _ask_for_the_ends(self) -> None:
        if not self._written:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                ends = await self._consumer.end_offsets(list(self._written))
        except (KafkaError, OSError, TimeoutError):
            return  # the watch, and whatever the worker does next, report it
        self.observe_lag(ends)

    async def _ask_for_the_oldest_dead_letter(self) -> None:
        if time.monotonic() - self._asked_at < DEAD_LETTERS_SECONDS:
            return
        self._asked_at = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX), self._store.transaction() as transaction:
                seconds = await transaction.connection.fetchval(
                    statement("select_oldest_dead_letter"), timeout=STATEMENT_SECONDS_MAX
                )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return  # whatever the worker writes next reports it
        self._metrics.oldest_dead_letter_observed(None if seconds is None else float(seconds))
