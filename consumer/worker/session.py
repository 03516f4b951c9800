"""One Kafka client's life: poll → ingest → commit, and what a rebalance does to it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.faults.retrying import persevere
from pattern_metrics.consumer.kafka.clients import REBALANCE_TIMEOUT_MS, create_consumer, learn_of_partitions
from pattern_metrics.consumer.kafka.watch import SILENCE_SECONDS, StalledError, Watch, is_another_topic
from pattern_metrics.consumer.postgres.store import ProgressLostError, Store
from pattern_metrics.consumer.records.accounting import Accounting, Breaker
from pattern_metrics.consumer.records.batch import Part, Portion, split, up_to_the_breaker
from pattern_metrics.consumer.records.offsets import OffsetRange, Partition, Start
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.stopping import Stop, cancel, end_within
from pattern_metrics.consumer.telemetry.metrics import Metrics, Span
from pattern_metrics.consumer.telemetry.tracing import BatchTrace, begin_batch
from pattern_metrics.consumer.worker.commits import Commits
from pattern_metrics.consumer.worker.observer import Observer
from pattern_metrics.consumer.worker.polling import POLL_SECONDS, fill
from pattern_metrics.consumer.worker.progress import ask_broker, has_lost, settle
from pattern_metrics.consumer.worker.writers import Writers

if TYPE_CHECKING:
    from uuid import UUID

logger = structlog.get_logger()

LEAVE_SECONDS_MAX: Final = 5.0
REVOKE_SECONDS_MAX: Final = REBALANCE_TIMEOUT_MS / 1000 / 2
"""How long a rebalance waits for what is in hand; half of what the group grants, so that we stay a member."""

ANSWER_SECONDS_MAX: Final = 2 * REBALANCE_TIMEOUT_MS / 1000
"""A call of the client that takes longer than two rebalances may never return."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What was polled and decoded, when it was published, and what is told of it."""

    portions: list[Portion[TopicPartition]]
    spans: dict[TopicPartition, Span]
    trace: BatchTrace


class Session(ConsumerRebalanceListener):
    """A member of the consumer group, from joining to leaving."""

    def __init__(
        self,
        settings: WorkerSettings,
        stores: Sequence[Store],
        health: Health,
        stop: Stop,
        breaker: Breaker,
        metrics: Metrics,
    ) -> None:
        self.accounting = Accounting()
        self._settings = settings
        self._store = stores[0]
        self._health = health
        self._stop = stop
        self._breaker = breaker
        self._metrics = metrics
        self._writers = Writers(stores, settings.kafka_group_id, health, breaker, metrics)
        self._writers_max = len(stores)
        self._consumer = create_consumer(settings)
        self._commits = Commits(self._consumer, health, stop, metrics)
        self._epoch = 0
        self._topic_id: UUID | None = None
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._reassigned = asyncio.Event()
        self._ends_of_batches: dict[TopicPartition, int] = {}
        self._out_of_range: dict[TopicPartition, int] = {}
        self._written: dict[TopicPartition, int] = {}
        self._in_hand = 0
        self._settled = asyncio.Event()
        self._settled.set()
        self._writing: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._verified_at = time.monotonic()
        self._watch = Watch(settings, self._consumer, health)
        self._observer = Observer(self._consumer, self._store, metrics, self._written)

    # The life of the session

    async def run(self, *, until_caught_up: bool) -> bool:
        """Consume until a stop is requested or, if asked to, until the end as of the beginning is reached.

        Returns:
            Whether it is, and all up to there is written.

        Raises:
            StalledError: the client has to be built anew.
            KafkaError: likewise, where the client says so by itself.
            GraceExpiredError: a stop could not finish what was in hand.
        """
        reached_end = False
        # What ends by itself is watched by nobody: nothing of the database's time goes into its metrics.
        observing = [] if until_caught_up else [asyncio.create_task(self._observer.run())]
        observing.append(asyncio.create_task(self._watch_the_topic()))
        try:
            self._consumer.subscribe([self._settings.kafka_topic], listener=self)
            await self._join()
            while not self._stop.is_requested:
                await self._take_turn()
                if self._breaker.is_open:
                    await self._finish_writing()
                    if until_caught_up:
                        break
                    await self._pause()
                elif until_caught_up and await self._is_caught_up():
                    reached_end = True
                    break
            await self._finish_writing()
            await self._finish_committing()
            await self._commits.commit()
        finally:
            self._health.is_assigned = False
            self._metrics.partitions_given_up()
            for task in (*observing, self._writing, self._committing):
                if task is not None:
                    await cancel(task)
            await self._leave()
            await self._commits.close()
        return reached_end

    async def _join(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self._stop.interrupt(self._consumer.start())
        except TimeoutError:
            raise StalledError("the client could not join the group") from None

    async def _take_turn(self) -> None:
        """Poll a batch, which decodes it, while the one before it is written; then write it."""
        await self._position()
        polled = await self._poll()
        if polled is None:
            await self._rest()
            return
        with polled.trace.ending_on_failure():
            parts = up_to_the_breaker(polled.portions, self._breaker)
            is_next = await self._finish_writing()
        if is_next:
            self._writing = asyncio.create_task(self._write(parts, polled))
        else:
            with polled.trace:
                self._put_down()

    async def _is_caught_up(self) -> bool:
        """Whether all that was assigned is read to its end as of the start, and written."""
        is_positioned = self._reassigned.is_set() and self._assigned == self._ends_of_batches.keys()
        return is_positioned and self._in_hand == 0 and await self._watch.is_at_the_end(self._assigned)

    async def _rest(self) -> None:
        """What is due when there was nothing to read."""
        if self._writing is not None and self._writing.done():
            await self._finish_writing()
        if self._committing is not None and self._committing.done():
            await self._finish_committing()
        if self._in_hand == 0:
            await self._commits.commit()
            await self._stop.interrupt(self._look_for_lost_progress())
        await self._stop.interrupt(self._watch.look_for_a_stall(self._ends_of_batches))

    async def _pause(self) -> None:
        """The breaker is open: stay in the group, not ready, until somebody restarts the worker."""
        hint = (
            f"{self._breaker.count} invalid records in a row (DEAD_LETTER_MAX_CONSECUTIVE): mend the "
            "producer, then restart the worker; see table dead_letters"
        )
        while not self._stop.is_requested:
            self._health.fail("breaker", "BreakerOpen", hint)
            await self._stop.interrupt(asyncio.sleep(1))

    async def _leave(self) -> None:
        failure = await end_within(LEAVE_SECONDS_MAX, self._consumer.stop())
        if failure is not None:
            logger.warning("leave_failed", error=failure)

    # Poll

    async def _poll(self) -> Polled | None:
        if not self._ends_of_batches:
            await self._stop.interrupt(asyncio.sleep(POLL_SECONDS))
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await self._stop.interrupt(self._fetch())
        except NoOffsetForPartitionError:
            # aiokafka 0.14 may report, once, a partition as of before it was positioned.
            self._ends_of_batches.clear()
        except OffsetOutOfRangeError as error:
            for partition, offset in error.args[0].items():
                self._ends_of_batches.pop(partition, None)
                self._out_of_range[partition] = offset
        except TimeoutError:
            raise StalledError("a poll did not return") from None
        return None

    async def _fetch(self) -> Polled | None:
        """Take what is there. Between the poll's return and its counting as in hand nothing yields."""
        epoch = self._epoch
        trace = begin_batch(self._settings.kafka_topic, self._settings.kafka_group_id)
        filled = await fill(self._consumer, tuple(self._ends_of_batches), self._settings)
        if epoch != self._epoch:
            return None
        ranges = {
            partition: OffsetRange(self._ends_of_batches[partition], end, self._topic_id)
            # In the order of the records, which is that of their arrival: see `cut`.
            for partition in dict.fromkeys([*filled.fates, *self._ends_of_batches])
            # Past markers and holes, also where there is no record before or between them.
            if (end := await self._consumer.position(partition)) > self._ends_of_batches[partition]
        }
        if not ranges:
            return None
        self._ends_of_batches |= {partition: offsets.end for partition, offsets in ranges.items()}
        self._in_hand += 1
        self._settled.clear()
        self._watch.touch()
        self._health.recover("kafka")
        spans = {
            partition: Span(fates[0].record.timestamp / 1000, fates[-1].record.timestamp / 1000)
            for partition, fates in filled.fates.items()
            if fates
        }
        self._metrics.spans_read(spans)
        self._metrics.batch_decoded(filled.records, filled.decode_seconds)
        trace.polled(filled.fates.values(), filled.decode_seconds)
        return Polled(split(filled.fates, ranges, self._writers_max), spans, trace)

    # Ingest

    async def _write(self, parts: Sequence[Part], polled: Polled) -> None:
        """Write, then commit: the first invariant. The next batch is written while this one is committed."""
        began_at = time.monotonic()
        try:
            with polled.trace.ending_on_failure():
                accounting = await self._writers.write(parts, polled.spans, self._note_written, polled.trace)
                self._observer.observe_lag()
                write_ms = round((time.monotonic() - began_at) * 1000, 1)
                await self._finish_committing()
        except BaseException:
            self._put_down()
            raise
        self._committing = asyncio.create_task(self._commit_written(accounting, write_ms, polled.trace))

    async def _commit_written(self, accounting: Accounting, write_ms: float, trace: BatchTrace) -> None:
        began_at = time.monotonic()
        try:
            with trace:
                await self._commits.commit(trace)
        finally:
            self._put_down()
        logger.info(
            "batch_written",
            **accounting.as_dict(),
            lag=self._watch.lag(self._ends_of_batches),
            write_ms=write_ms,
            commit_ms=round((time.monotonic() - began_at) * 1000, 1),
        )

    def _note_written(self, accounting: Accounting, ends: Mapping[Partition, int]) -> None:
        self._watch.touch()
        self.accounting += accounting
        written = {TopicPartition(*partition): end for partition, end in ends.items()}
        self._commits.owe(written)
        self._written.update(written)

    async def _finish_writing(self) -> bool:
        """Wait for the batch that is being written; False where it, and all that was read since, is void."""
        if self._writing is None:
            return True
        writing, self._writing = self._writing, None
        try:
            await self._stop.finish(writing)
        except ProgressLostError:
            self._go_back()
            return False
        return True

    async def _finish_committing(self) -> None:
        committing, self._committing = self._committing, None
        if committing is not None:
            await self._stop.finish(committing)

    async def _look_for_lost_progress(self) -> None:
        """While nothing is read, no batch would notice that the database went back in time."""
        if time.monotonic() - self._verified_at < SILENCE_SECONDS:
            return
        epoch, ends = self._epoch, dict(self._ends_of_batches)
        topic = self._topic_id
        if await has_lost(ends, topic, self._settings, self._store, self._health) and epoch == self._epoch:
            self._go_back()
        self._verified_at = time.monotonic()

    def _go_back(self) -> None:
        logger.warning("database_went_back", hint="reading again from where the database is")
        self._ends_of_batches.clear()
        self._commits.forget()

    def _put_down(self) -> None:
        self._in_hand -= 1
        if self._in_hand == 0:
            self._settled.set()

    # Rebalance

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Write and commit what is in hand before the partitions are given up, within a bound."""
        if revoked:
            try:
                async with asyncio.timeout(REVOKE_SECONDS_MAX):
                    await self._settled.wait()
            except TimeoutError:
                logger.warning("revoked_with_a_batch_in_hand", hint="its records will be read again")
        self._epoch += 1
        self._assigned = frozenset()
        self._health.is_assigned = False
        self._metrics.partitions_given_up()
        self._reassigned.clear()
        self._ends_of_batches.clear()
        self._out_of_range.clear()
        self._commits.forget()
        self._written.clear()
        self._observer.observe_lag()

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Note the partitions; where they start is found out by the session, not inside the rebalance."""
        self._epoch += 1
        self._assigned = frozenset(assigned)
        self._reassigned.set()
        self._metrics.partitions_assigned(len(assigned))
        logger.info("partitions_assigned", partitions=sorted(partition.partition for partition in assigned))

    async def _position(self) -> None:
        """Seek each newly assigned partition; only those are polled."""
        if self._out_of_range:
            await self._finish_writing()  # what is in hand is no gap, unless the database went back
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self._stop.interrupt(self._reassigned.wait())
        except TimeoutError:
            raise StalledError("the group did not assign any partitions") from None
        epoch = self._epoch
        missing = self._assigned - self._ends_of_batches.keys()
        is_there = self._consumer.partitions_for_topic(self._settings.kafka_topic) is not None
        self._health.is_assigned = is_there and not missing
        if not missing or self._stop.is_requested:
            return
        starts = await self._stop.interrupt(self._choose_starts(missing))
        if starts is None or epoch != self._epoch:
            return
        for partition, start in starts.items():
            self._consumer.seek(partition, start.offset)
            self._ends_of_batches[partition] = start.offset
            self._out_of_range.pop(partition, None)
            self._written[partition] = start.offset
            if start.gap is not None:
                self._commits.owe({partition: start.offset})
        self._health.is_assigned = True
        self._metrics.reading_started(starts)
        self._observer.observe_lag()
        self._watch.touch()

    async def _choose_starts(self, partitions: frozenset[TopicPartition]) -> dict[TopicPartition, Start]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                known = await ask_broker(self._consumer, self._settings, partitions)
        except TimeoutError:
            raise StalledError("the broker does not tell the group's offsets") from None
        choose = partial(settle, self._store, self._settings, known, dict(self._out_of_range))
        starts = await persevere("postgresql", choose, self._health)
        if self._topic_id not in (None, known.topic_id):
            self._ends_of_batches.clear()  # they are those of another topic, and will be chosen anew
        self._topic_id = known.topic_id
        return starts

    async def _watch_the_topic(self) -> None:
        """Read from the beginning where the topic turns out to be another one than we thought.

        What was read of it before this was noticed is no loss: it is read again.
        """
        while True:
            await asyncio.sleep(SILENCE_SECONDS)
            if not self._assigned:  # the topic may have been away for a moment
                await learn_of_partitions(self._consumer)
            if self._topic_id is not None and await is_another_topic(self._topic_id, self._settings):
                self._epoch += 1
                self._ends_of_batches.clear()
