"""The steps of a record: position → poll → write → commit. A session decides when each is due."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from pattern_metrics.consumer.faults.diagnosis import diagnose
from pattern_metrics.consumer.faults.retrying import persevere
from pattern_metrics.consumer.kafka.watch import StalledError
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch
from pattern_metrics.consumer.records.offsets import NO_TOPIC_ID, EpochEnd, Partition, Progress
from pattern_metrics.consumer.telemetry.tracing import OFF, BatchTrace, begin_batch
from pattern_metrics.consumer.worker.assignment import Assignment
from pattern_metrics.consumer.worker.availability import Availability
from pattern_metrics.consumer.worker.commits import Commits
from pattern_metrics.consumer.worker.equipment import Equipment
from pattern_metrics.consumer.worker.polling import fill
from pattern_metrics.consumer.worker.progress import (
    Known,
    Written,
    ask_broker,
    has_lost,
    read_progress,
    settle,
)
from pattern_metrics.consumer.worker.trickle import Trickle
from pattern_metrics.consumer.worker.writers import Writers

logger = structlog.get_logger()

TopicIds = Callable[[], Awaitable[Mapping[str, UUID]]]
"""Asks a broker for the ID of each topic (see `kafka.broker.topic_id`)."""


class Epochs(Protocol):
    """The leader epochs of the records that are read (see `kafka.leader_epochs`)."""

    def taken(self, partition: TopicPartition, /) -> Mapping[int, int]:
        """Return, by leader epoch, the position after the records of a partition read since the last call."""

    async def ends(
        self, epochs: Mapping[TopicPartition, int], seconds: float, /
    ) -> tuple[Mapping[TopicPartition, EpochEnd], Mapping[TopicPartition, Exception]]:
        """Ask the leader of each partition for the end of a leader epoch, for at most `seconds`.

        Returns:
            The answers by partition, from brokers that know the request; and the errors of the leaders that
            did not answer.

        Raises:
            KafkaError: an error that is not transient.
            OSError: an error that is not transient.
        """


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch that is polled and not yet committed, with its assignment and its trace."""

    batch: Batch
    assignment: Assignment
    trace: BatchTrace


class Pipeline:
    """The steps of one member of the consumer group.

    Args:
        equipment: the worker's objects.
        consumer: the member.
        topic_ids: asks for the IDs of the topics.
        epochs: has the leader epochs of the records that the member reads.

    Attributes:
        assignment: the group's assignment. Each rebalance replaces it.
        availability: the assigned partitions that cannot be read.
        accounting: the outcome of the records that are written.
        in_flight: the number of batches that are polled and not yet landed.
        settled: set while `in_flight` is 0.
    """

    def __init__(
        self, equipment: Equipment, consumer: AIOKafkaConsumer, topic_ids: TopicIds, epochs: Epochs
    ) -> None:
        self.assignment = Assignment()
        self.accounting = Accounting()
        self.in_flight = 0
        self.settled = asyncio.Event()
        self.settled.set()
        self._equipment = equipment
        self._consumer = consumer
        self._topic_ids = topic_ids
        self._epochs = epochs
        self._verified_at = equipment.clock.monotonic()
        self.availability = Availability(consumer, equipment)
        self._trickle = Trickle(equipment.timing.trickle)
        self._commits = Commits(consumer, equipment)
        self._writers = Writers(equipment)

    # Changes by the group

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin a new assignment. `position` finds the start offsets of its partitions."""
        self.assignment = Assignment(partitions)
        self.availability.assign(self.assignment.partitions)

    def revoke(self) -> None:
        """Drop the assignment, with everything read and not yet committed under it."""
        self.assignment = Assignment()
        self.availability.assign(())
        self._commits.forget()

    def go_back(self) -> None:
        """Read again from the database's progress."""
        logger.warning("database_went_back", hint="reading again from where the database is")
        self.assignment.lost()
        self._commits.forget()

    @property
    def is_reading(self) -> bool:
        """True if the next offsets of all available partitions are known, and of one partition at least."""
        missing = self.assignment.missing
        is_one_read = bool(self.assignment.positions)
        return not missing or (is_one_read and missing <= self.availability.unavailable)

    # The steps

    async def position(self) -> bool:
        """Find the next offset of the partitions that lack it, and seek there.

        The caller must have no batch in flight. A batch may come from a log that was cut back; if it were
        written while this runs, its progress would count as progress in the log of now.

        Returns:
            Whether any was found now: False if none was missing or a rebalance came in between.

        Raises:
            StalledError: the broker does not answer in time.
            KafkaError: the broker refused.
            OSError: no broker can be reached.
        """
        assignment, equipment = self.assignment, self._equipment
        is_reading = bool(assignment.positions)
        wanted = self.availability.askable(assignment.missing, delays_others=is_reading)
        if not wanted:
            return False
        known, written = await self._find_out(wanted)
        group, lost = equipment.settings.kafka_group_id, assignment.positions_out_of_range
        choose = partial(settle, equipment.stores[0], group, known, written, lost)
        starts = await persevere("postgresql", choose, equipment.health)
        if assignment is not self.assignment:
            return False
        unavailable = {**known.unavailable, **written.unavailable}
        answered = known.beginnings.keys() - unavailable
        self.availability.observe(answered, unavailable)
        if not (answered or is_reading):
            [error, *_] = unavailable.values()
            equipment.health.report("kafka", error, diagnose(error))
        assignment.start(starts, known.topic_ids)
        for partition, start in starts.items():
            self._consumer.seek(partition, start.offset)
            self._epochs.taken(partition)  # discard the epochs of the earlier position
        equipment.metrics.reading_started(starts)
        return bool(starts)

    async def _find_out(self, wanted: Iterable[TopicPartition]) -> tuple[Known, Written]:
        equipment = self._equipment
        try:
            async with asyncio.timeout(equipment.timing.answer):
                known = await ask_broker(self._consumer, self._topic_ids, wanted, equipment.timing.leader)
        except TimeoutError:
            raise StalledError("the broker does not return the group's offsets") from None
        group = equipment.settings.kafka_group_id
        read = partial(read_progress, equipment.stores[0], group, known.topic_ids)
        progress = await persevere("postgresql", read, equipment.health)
        progress = {one: progress[one] for one in known.beginnings if one in progress}
        return known, Written(progress, *await self._ends(progress))

    async def poll(self) -> Flight | None:
        """Take and decode the available records; None if there are none, or a rebalance came in between.

        If the leader changed meanwhile, and its log is not the log that was read, the records are dropped.
        `position` then finds the offset at which the logs part. From the last check of the assignment until
        the batch counts as in flight, nothing yields to the event loop.

        Raises:
            KafkaError: the client could not fetch.
        """
        assignment, equipment = self.assignment, self._equipment
        settings = equipment.settings
        trace = begin_batch(settings.kafka_topics, settings.kafka_group_id)
        positions = assignment.positions
        try:
            fates, decode_seconds = await fill(
                self._consumer,
                tuple(positions),
                settings,
                equipment.timing,
                equipment.stores[0].clock,
                self._trickle,
            )
        except NoOffsetForPartitionError:
            # aiokafka 0.14 may report a partition once as it was before it was positioned.
            assignment.unsettle()
            return None
        except OffsetOutOfRangeError as error:
            assignment.out_of_range(error.args[0])
            return None
        # The order of the records, then the partitions in which only markers or holes were passed.
        order = dict.fromkeys([*fates, *positions])
        taken = {one: self._epochs.taken(one) for one in order}
        is_of_one_log = await self._is_of_one_log(assignment.epochs_left(taken))
        if not is_of_one_log:
            assignment.unsettle()
        if not is_of_one_log or assignment is not self.assignment:
            return None
        ranges = assignment.read({one: await self._consumer.position(one) for one in order}, taken)
        if not ranges:
            return None
        batch = Batch(fates, ranges)
        self.in_flight += 1
        self.settled.clear()
        equipment.metrics.batch_read(batch, decode_seconds)
        trace.polled(fates.values(), decode_seconds)
        return Flight(batch.until(equipment.breaker), assignment, trace)

    async def write(self, flight: Flight) -> Accounting:
        """Write a batch with its dead letters and its progress.

        Raises:
            ProgressLostError: the database went back in time.
        """
        return await self._writers.write(flight.batch, partial(self._landed, flight.assignment), flight.trace)

    async def commit(self, trace: BatchTrace = OFF) -> None:
        """Commit the offsets of everything that is written. A commit always comes after the write."""
        await self._commits.commit(self.assignment, trace)

    def land(self) -> None:
        """Note that a batch is finished, whether it is committed or void."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self.settled.set()

    # Changes that no record shows

    async def look_for_another_topic(self) -> None:
        """Read from the beginning if a topic was recreated; do nothing if the broker does not answer.

        A topic that was filled beyond the worker's position looks unchanged. Records of it that were read
        before this check are not lost, because they are read again.
        """
        assignment = self.assignment
        if set(assignment.topic_ids.values()) <= {NO_TOPIC_ID}:
            return
        try:
            async with asyncio.timeout(self._equipment.timing.silence):
                now = await self._topic_ids()
        except (KafkaError, OSError, TimeoutError):
            return
        if assignment is self.assignment and any(
            now.get(topic, known) not in (NO_TOPIC_ID, known)
            for topic, known in assignment.topic_ids.items()
            if known != NO_TOPIC_ID
        ):
            self.assignment = Assignment(assignment.partitions)

    async def look_for_a_parted_log(self) -> None:
        """Look up new offsets for partitions whose log was cut back; do nothing without an answer.

        No record shows this if the log was cut back and has just grown to the worker's position again.
        """
        assignment = self.assignment
        read = assignment.epochs_read
        try:
            ends, _ = await self._ends(read)
        except (KafkaError, OSError):
            return
        assignment.unsettle(one for one, end in ends.items() if read[one].has_parted(end))

    async def look_for_lost_progress(self) -> None:
        """Check now and then whether the database went back, which no batch notices while nothing is read."""
        assignment, equipment = self.assignment, self._equipment
        if equipment.clock.monotonic() - self._verified_at < equipment.timing.silence:
            return
        if await has_lost(assignment, equipment) and assignment is self.assignment:
            self.go_back()
        self._verified_at = equipment.clock.monotonic()

    async def close(self) -> None:
        """End a commit that still runs, once the client is stopped."""
        await self._commits.close()

    async def _is_of_one_log(self, left: Iterable[tuple[Partition, Progress]]) -> bool:
        """Return whether the leaders have everything that was read under earlier leader epochs."""
        try:
            for partition, read in left:
                ends, unavailable = await self._ends({partition: read})
                if unavailable or any(read.has_parted(end) for end in ends.values()):
                    return False
        except (KafkaError, OSError):
            return False  # the next request reports the error
        return True

    async def _ends(
        self, read: Mapping[Partition, Progress]
    ) -> tuple[Mapping[TopicPartition, EpochEnd], Mapping[TopicPartition, Exception]]:
        """Ask for the end of each epoch. Return the answers, and the errors by partition."""
        epochs = {
            TopicPartition(*partition): progress.leader_epoch
            for partition, progress in read.items()
            if progress.leader_epoch is not None
        }
        return await self._epochs.ends(epochs, self._equipment.timing.leader)

    def _landed(self, assignment: Assignment, batch: Batch, accounting: Accounting) -> None:
        self.accounting += accounting
        assignment.written(batch.ranges)
