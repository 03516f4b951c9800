"""The worker: one session after another, until it is stopped or caught up."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.faults.diagnosis import DuplicateInstanceError, Fault, diagnose, said_by
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import RECOVERABLE, persevere
from pattern_metrics.consumer.kafka.broker import require_rights, require_topic
from pattern_metrics.consumer.kafka.membership import require_own_name
from pattern_metrics.consumer.kafka.watch import StalledError
from pattern_metrics.consumer.postgres.later_clock import LaterClock
from pattern_metrics.consumer.postgres.store import Store, require_all
from pattern_metrics.consumer.records.accounting import Accounting, Breaker
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.stopping import GraceExpiredError, Stop, cancel, hearing_signals
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.consumer.worker.equipment import Equipment
from pattern_metrics.consumer.worker.session import Session
from pattern_metrics.schemas.backoff import backoff_seconds
from pattern_metrics.schemas.settings.timing import TIMING, Timing

logger = structlog.get_logger()

CONNECTIONS: Final = 2
"""Connections to PostgreSQL that write at once. A backend is busy for longer than a batch takes to decode."""

REBUILDS_MAX: Final = 3
"""Clients that are rebuilt without progress between them, before the process ends and has to be restarted."""


class Worker:
    """Reads the topic as a member of its consumer group, and keeps the table equal to the topic's fold.

    Attributes:
        reached_end: whether a run with `until_caught_up` has read and written everything.
    """

    def __init__(self, settings: WorkerSettings, timing: Timing = TIMING) -> None:
        self.metrics = Metrics()
        self.health = Health(self.metrics.failed)
        self.breaker = Breaker(settings.dead_letter_max_consecutive)
        self._settings = settings
        self._timing = timing
        self._stop = Stop(settings.shutdown_grace_seconds)
        self.reached_end = False
        self._has_lost_name = False
        self._earlier = Accounting()
        self._session: Session | None = None

    @property
    def accounting(self) -> Accounting:
        """The outcome of the records read so far."""
        return self._earlier + (self._session.accounting if self._session else Accounting())

    def stop(self) -> None:
        """Write and commit the batch in flight, and leave the group. `run` then returns."""
        self._stop.request()

    async def run(self, *, until_caught_up: bool = False) -> Accounting:
        """Consume until stopped or, if asked to, until the log's end at the start is written.

        Returns:
            The outcome of the records read.

        Raises:
            StalledError: the client was rebuilt several times without progress.
            KafkaError: the client was rebuilt several times without progress.
        """
        logger.info("worker_started", topic=self._settings.kafka_topic, group=self._settings.kafka_group_id)
        url, keeps_history = self._settings.database_url.get_secret_value(), self._settings.history_enabled
        clock = LaterClock(observe=self.metrics.clocks_compared)
        stores = [Store(url, keeps_history=keeps_history, clock=clock) for _ in range(CONNECTIONS)]
        try:
            await self._run_sessions(stores, until_caught_up=until_caught_up)
        except GraceExpiredError:
            logger.warning(
                "stopped_with_a_batch_in_flight", hint="the records of the batch will be read again"
            )
        finally:
            for store in stores:
                await store.close()
        logger.info("worker_stopped", **self.accounting.as_dict())
        return self.accounting

    async def _run_sessions(self, stores: Sequence[Store], *, until_caught_up: bool) -> None:
        equipment = Equipment(
            self._settings, stores, self._stop, self.health, self.breaker, self.metrics, self._timing
        )
        failures = rebuilds = 0
        while await self._stop.interrupt(self._wait_for_kafka()):
            try:
                self._session = Session(equipment)
                self.reached_end = await self._session.run(until_caught_up=until_caught_up)
            except (KafkaError, OSError, StalledError, DuplicateInstanceError) as error:
                self._has_lost_name = isinstance(error, DuplicateInstanceError)
                if self._session is not None and self._session.accounting.read:
                    failures = rebuilds = 0
                failures += 1
                rebuilds += self._judge(error, rebuilds)
                seconds = backoff_seconds(failures, longest=self._timing.backoff)
                await self._stop.interrupt(asyncio.sleep(seconds))
            else:
                return
            finally:
                self._earlier, self._session = self.accounting, None

    async def _wait_for_kafka(self) -> bool:
        looking: list[asyncio.Task[None]] = []

        async def require_topic_and_rights() -> bool:
            try:
                await self._require_topics()
                if self._has_lost_name:
                    await require_own_name(self._settings)
            except Exception:
                # A new installation may lack the tables too. Report both at once, and not one after the
                # other.
                looking[:] = looking or [asyncio.create_task(self._look_at_the_database())]
                raise
            return True

        try:
            # Do not mark Kafka as recovered yet: permission to read is not the same as receiving records.
            return await persevere("kafka", require_topic_and_rights, self.health, recovers=False)
        finally:
            for task in looking:
                await cancel(task)

    async def _require_topics(self) -> None:
        """Ask for each topic, and for the rights on it.

        Raises:
            KafkaError: the error of the first topic that fails. Its notes name the other topics that fail.
            OSError: no broker is reachable.
        """
        failures: list[KafkaError] = []
        for topic in self._settings.each_topic():
            try:
                await require_topic(topic)
                await require_rights(topic)
            except KafkaError as error:
                failures.append(error)
                if diagnose(error).fault is not Fault.CONFIGURATION:
                    break
        if failures:
            for other in failures[1:]:
                failures[0].add_note(said_by(other))
            raise failures[0]

    async def _look_at_the_database(self) -> None:
        url, keeps_history = self._settings.database_url.get_secret_value(), self._settings.history_enabled
        await persevere("postgresql", partial(require_all, url, keeps_history=keeps_history), self.health)

    def _judge(self, error: Exception, rebuilds: int) -> int:
        """Report why a session ended. Return 0 if an outage or the configuration explains it, else 1.

        Raises:
            Exception: the error, if rebuilding the client has not helped so far.
        """
        diagnosis = diagnose(error)
        if diagnosis.fault in RECOVERABLE:
            self.health.report("kafka", error, diagnosis)
            return 0
        if rebuilds == REBUILDS_MAX:
            raise error
        self.metrics.failed("kafka", Fault.UNKNOWN)
        logger.warning("client_rebuilt", error=type(error).__name__, detail=str(error), rebuilds=rebuilds + 1)
        return 1


async def run_until_signal(worker: Worker, *, until_caught_up: bool = False) -> Accounting:
    """Run the worker. SIGTERM, SIGINT or SIGHUP stops it cleanly, a second signal at once.

    Raises:
        asyncio.CancelledError: a second signal came.
        Exception: see `Worker.run`.
    """
    running = asyncio.ensure_future(worker.run(until_caught_up=until_caught_up))
    with hearing_signals(worker.stop, running.cancel):
        return await running
