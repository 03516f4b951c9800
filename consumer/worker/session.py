"""The life of one Kafka client: decides when each step of the pipeline is due, and handles rebalances."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from pattern_metrics.consumer.kafka.broker import topic_ids
from pattern_metrics.consumer.kafka.clients import create_consumer, learn_of_partitions
from pattern_metrics.consumer.kafka.leader_epochs import LeaderEpochs
from pattern_metrics.consumer.kafka.membership import leave_the_first_generation, stop_contending
from pattern_metrics.consumer.kafka.watch import StalledError, Watch
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.stopping import cancel, end_within
from pattern_metrics.consumer.worker.batch_log import BatchLog
from pattern_metrics.consumer.worker.equipment import Equipment
from pattern_metrics.consumer.worker.landing import Landing
from pattern_metrics.consumer.worker.observer import Observer
from pattern_metrics.consumer.worker.pipeline import Flight, Pipeline
from pattern_metrics.consumer.worker.static_name import StaticName

logger = structlog.get_logger()

T = TypeVar("T")


class Session(ConsumerRebalanceListener):
    """A member of the consumer group, from joining to leaving.

    Args:
        equipment: the objects that the sessions share.
    """

    def __init__(self, equipment: Equipment) -> None:
        self._equipment = equipment
        self._settings = equipment.settings
        self._timing = equipment.timing
        self._stop = equipment.stop
        self._consumer = create_consumer(equipment.settings, equipment.timing)
        self._pipeline = Pipeline(
            equipment,
            self._consumer,
            partial(topic_ids, equipment.settings),
            LeaderEpochs(self._consumer),
        )
        self._assigned = asyncio.Event()
        self._watch = Watch(
            equipment.settings, self._consumer, equipment.health, equipment.timing, equipment.clock
        )
        written = lambda: self._pipeline.assignment.written_to  # noqa: E731
        self._observer = Observer(self._consumer, equipment, written, self._pipeline.availability)
        self._name = StaticName(self._consumer, equipment)
        log = BatchLog(self._lag, equipment.timing, equipment.clock)
        self._landing = Landing(equipment, self._pipeline, log, self._written, self._name.check)

    @property
    def accounting(self) -> Accounting:
        """The outcome of the records that are written."""
        return self._pipeline.accounting

    async def run(self, *, until_caught_up: bool) -> bool:
        """Consume until a stop is requested or, if asked to, until the log's end at the start is reached.

        Returns:
            Whether the end is reached, and everything up to it is written.

        Raises:
            StalledError: the client has to be rebuilt.
            KafkaError: the client failed, and has to be rebuilt.
            DuplicateInstanceError: another worker has this worker's name.
            GraceExpiredError: a stop could not finish the work in flight.
        """
        # Nobody watches a run that ends by itself, so no time of the database is spent on its metrics.
        observing = [asyncio.create_task(self._observer.run(asks_database=not until_caught_up))]
        observing.append(asyncio.create_task(self._watch_the_topics()))
        try:
            self._consumer.subscribe(list(self._settings.kafka_topics), listener=self)
            await self._answered(self._consumer.start(), "the client could not join the group")
            return await self._consume(until_caught_up=until_caught_up)
        except KafkaError:
            await self._name.check()
            raise
        finally:
            self._equipment.health.is_assigned = False
            self._equipment.metrics.partitions_given_up()
            for task in observing:
                await cancel(task)
            await self._landing.close()
            if self._name.lost:
                await stop_contending(self._consumer)
            leave_the_first_generation(self._consumer)
            failure = await end_within(self._timing.leave, self._consumer.stop())
            if failure is not None:
                logger.warning("leave_failed", error=failure)
            await self._pipeline.close()

    async def _consume(self, *, until_caught_up: bool) -> bool:
        reached_end = False
        while not self._stop.is_requested and not reached_end:
            await self._take_turn()
            if self._equipment.breaker.is_open:
                await self._landing.finish_writing()
                if until_caught_up:
                    break
                await self._pause()
            else:
                reached_end = until_caught_up and await self._is_caught_up()
        await self._landing.finish()
        await self._pipeline.commit()
        return reached_end

    def _lag(self) -> int:
        return self._watch.lag(self._pipeline.assignment.written_to)

    async def _answered(self, call: Coroutine[Any, Any, T], complaint: str) -> T | None:
        """Await a call of the client. Return its result, or None if a stop came first.

        Raises:
            StalledError: the call took so long that it may never return.
        """
        try:
            async with asyncio.timeout(self._timing.answer):
                return await self._stop.interrupt(call)
        except TimeoutError:
            raise StalledError(complaint) from None

    async def _take_turn(self) -> None:
        """Poll a batch, which decodes it, while the batch before it is written; then write it."""
        await self._position()
        flight = await self._poll()
        if flight is None:
            await self._rest()
            return
        with flight.trace.ending_on_failure():
            is_next = await self._landing.finish_writing()
        if is_next:
            self._landing.begin(flight)
        else:
            with flight.trace:
                self._pipeline.land()

    async def _is_caught_up(self) -> bool:
        """Return whether all assigned partitions are read to their ends at the start, and written."""
        assignment = self._pipeline.assignment
        is_positioned = self._assigned.is_set() and not assignment.missing
        is_written = is_positioned and self._pipeline.in_flight == 0
        return is_written and await self._watch.is_at_the_end(assignment.partitions)

    async def _rest(self) -> None:
        """Do the work that is due when there was nothing to read."""
        await self._landing.finish_what_is_done()
        if self._pipeline.in_flight == 0:
            await self._pipeline.commit()
            await self._stop.interrupt(self._pipeline.look_for_lost_progress())
        await self._stop.interrupt(self._watch.look_for_a_stall(self._pipeline.assignment.positions))

    async def _pause(self) -> None:
        """Wait while the breaker is open: in the group and not ready, until somebody restarts the worker."""
        hint = (
            f"{self._equipment.breaker.count} invalid records in a row (DEAD_LETTER_MAX_CONSECUTIVE): fix "
            "the producer, then restart the worker; see table dead_letters"
        )
        while not self._stop.is_requested:
            self._equipment.health.fail("breaker", "BreakerOpen", hint, lag=self._lag())
            await self._position()  # after a rebalance, a partition's lag is known only with its position
            await self._stop.interrupt(asyncio.sleep(1))

    async def _position(self) -> None:
        # A batch in flight would look like a gap, unless the database went back.
        if self._pipeline.assignment.in_doubt:
            await self._landing.finish_writing()
        await self._answered(self._assigned.wait(), "the group did not assign any partitions")
        self._name.require()
        is_there = all(map(self._consumer.partitions_for_topic, self._settings.kafka_topics))
        self._equipment.health.is_assigned = is_there and self._pipeline.is_reading
        if not self._stop.is_requested and await self._stop.interrupt(self._pipeline.position()):
            self._equipment.health.is_assigned = self._pipeline.is_reading
            self._observer.observe_lag()
            self._watch.touch()

    async def _poll(self) -> Flight | None:
        if not self._pipeline.assignment.positions:
            await self._stop.interrupt(asyncio.sleep(self._timing.poll))
            return None
        flight = await self._answered(self._pipeline.poll(), "a poll did not return")
        if flight is not None:
            self._watch.touch()
            self._equipment.health.recover("kafka")
        return flight

    def _written(self) -> None:
        self._watch.touch()
        self._observer.observe_lag()

    async def _watch_the_topics(self) -> None:
        while True:
            await asyncio.sleep(self._timing.silence)
            if not self._pipeline.assignment.partitions:  # the topic may have been away for a moment
                await learn_of_partitions(self._consumer)
            await self._pipeline.look_for_another_topic()
            await self._pipeline.look_for_a_parted_log()

    # Rebalance

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Wait until the batches in flight are written and committed, but no longer than `revoke`."""
        if revoked:
            try:
                async with asyncio.timeout(self._timing.revoke):
                    await self._pipeline.settled.wait()
            except TimeoutError:
                logger.warning(
                    "revoked_with_a_batch_in_flight", hint="the records of the batch will be read again"
                )
        self._assigned.clear()
        self._pipeline.revoke()
        self._equipment.health.is_assigned = False
        self._equipment.metrics.partitions_given_up()
        self._observer.observe_lag()
        if await self._name.is_lost():
            self._assigned.set()  # so that the session ends
            await asyncio.Event().wait()  # for `stop_contending`: the client would join again at once

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Record the partitions. The session looks up their start later, outside of the rebalance."""
        self._name.joined()
        self._pipeline.assign(assigned)
        self._assigned.set()
        self._equipment.metrics.partitions_assigned(len(assigned))
        logger.info("partitions_assigned", partitions=sorted(partition.partition for partition in assigned))
