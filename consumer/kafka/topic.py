"""Reads the topic, or a slice of it, to its present end, without a consumer group."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.kafka.broker import find_topic
from pattern_metrics.consumer.kafka.clients import create_reader
from pattern_metrics.consumer.kafka.leaders import why_unavailable
from pattern_metrics.consumer.kafka.watch import Watch
from pattern_metrics.consumer.records.batch import room_for, size_of
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.records.record import Record
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.stopping import end_within

logger = structlog.get_logger()

POLL_MS: Final = 500
READER_STOP_SECONDS_MAX: Final = 10

Advance = Callable[[int, int], None]
"""Called with the number of offsets that are done, and the number of all."""


class InvalidSliceError(Exception):
    """The topic has no such partition."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A selection of the topic's records.

    Attributes:
        partition: the only partition; None for all.
        from_offset: the first offset, in each partition.
        since: the earliest time at which a record was written, by its own timestamp.
        until: the time before which a record was written.
    """

    partition: int | None = None
    from_offset: int = 0
    since: datetime | None = None
    until: datetime | None = None

    def partitions(self, topic: str, count: int) -> list[TopicPartition]:
        """Return the partitions of the slice, in a topic with `count` partitions.

        Raises:
            InvalidSliceError: the topic does not have the partition of the slice.
        """
        if self.partition is None:
            return [TopicPartition(topic, number) for number in range(count)]
        if self.partition >= count:
            raise InvalidSliceError(f"{topic} has no partition {self.partition}, only 0 to {count - 1}")
        return [TopicPartition(topic, self.partition)]

    def holds(self, record: Record) -> bool:
        """Return whether a record is in the slice: exactly, although a broker's search by time may not be."""
        written_at = record.timestamp / 1000
        return (
            record.offset >= self.from_offset
            and (self.since is None or written_at >= self.since.timestamp())
            and (self.until is None or written_at < self.until.timestamp())
        )


WHOLE_TOPIC = Slice()


@dataclass(frozen=True, slots=True)
class Bounds:
    """Beginning and end of each partition's log.

    Attributes:
        beginnings: the first offset that the log still has, by partition.
        ends: the first offset after the last stable record, by partition.
        high_watermarks: the first offset after the last record, by partition. It is greater than the end
            while a producer's transaction is open.
        unavailable: the reason why neither is known, by partition.
    """

    beginnings: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    high_watermarks: Mapping[TopicPartition, int]
    unavailable: Mapping[TopicPartition, str]


async def read_bounds(settings: WorkerSettings) -> Bounds:
    """Return the beginning and the end of each partition's log.

    Raises:
        KafkaError: see `kafka.find_topic`.
        OSError: see `kafka.find_topic`.
    """
    topics = [await find_topic(one) for one in settings.each_topic()]
    unavailable = {
        TopicPartition(topic.name, number): why_unavailable(error)
        for topic in topics
        for number, error in topic.unavailable.items()
    }
    every = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    partitions = [one for one in every if one not in unavailable]
    consumer, uncommitted = create_reader(settings), create_reader(settings, "read_uncommitted")
    try:
        await consumer.start()
        await uncommitted.start()
        # The high watermark first: a transaction that ends in between must not look open.
        high_watermarks = await uncommitted.end_offsets(partitions)
        beginnings, ends = (
            await consumer.beginning_offsets(partitions),
            await consumer.end_offsets(partitions),
        )
        return Bounds(beginnings, ends, high_watermarks, unavailable)
    finally:
        await end_within(READER_STOP_SECONDS_MAX, consumer.stop())
        await end_within(READER_STOP_SECONDS_MAX, uncommitted.stop())


async def read_topic(
    settings: WorkerSettings,
    which: Slice = WHOLE_TOPIC,
    *,
    ends: Mapping[Partition, int] | None = None,
    on_short: Callable[[Partition, int], None] = lambda _partition, _position: None,
    advance: Advance,
) -> AsyncGenerator[list[Record], None]:
    """Read a slice, one partition after the other, without changing any group's offsets.

    Each batch has `batch_max_records` records of one partition. It has fewer only at the end of the partition
    or if its records are large. So as long as the topic does not change, every reading has the same batches
    and the same counts.

    Args:
        settings: the broker and the topic.
        which: the slice.
        ends: the offset to read up to, by partition; a partition that is missing is not read. Without it,
            each partition is read to its end at its first fetch.
        on_short: called with each partition whose log ends before that offset, and with the log's end.
        advance: called with the progress.

    Raises:
        KafkaError: see `kafka.find_topic`.
        OSError: see `kafka.find_topic`.
        LeaderNotAvailableError: names the partitions of the slice that are unavailable.
        InvalidSliceError: the topic has no such partition.
        StalledError: the broker has records and the client does not deliver them.
    """
    partitions = await _partitions(settings, which, ends)
    if not partitions:
        return
    consumer = create_reader(settings)
    try:
        await consumer.start()
        starts, last = await _find_bounds(consumer, partitions, which)
        stops = last if ends is None else {tp: ends[tp] for tp in partitions}
        total, done = sum(max(0, stops[tp] - starts[tp]) for tp in partitions), 0
        consumer.assign(partitions)
        for tp in partitions:
            consumer.seek(tp, starts[tp])
        # One assignment for all partitions: aiokafka 0.14 may hang if it is stopped soon after a second one.
        consumer.pause(*partitions)
        for tp in partitions:
            consumer.resume(tp)
            reading = _Partition(settings, consumer, tp, None if ends is None else ends[tp])
            filling = _Filling(settings.batch_max_records)
            while not await reading.is_done():
                records = await reading.poll(filling.room)
                advance(done + await consumer.position(tp) - starts[tp], total)
                for batch in filling.add(filter(which.holds, records)):
                    yield batch
            if filling.records:
                yield filling.records
            if ends is not None and await consumer.position(tp) < ends[tp]:
                on_short(tp, await consumer.position(tp))
            done += await consumer.position(tp) - starts[tp]
            consumer.pause(tp)
    finally:
        await end_within(READER_STOP_SECONDS_MAX, consumer.stop())


async def _partitions(
    settings: WorkerSettings, which: Slice, ends: Mapping[Partition, int] | None
) -> list[TopicPartition]:
    partitions = list[TopicPartition]()
    for one in settings.each_topic():
        topic = await find_topic(one)
        every = which.partitions(topic.name, topic.partitions)
        wanted = [partition for partition in every if ends is None or partition in ends]
        topic.require(partition.partition for partition in wanted)
        partitions += wanted
    return partitions


@dataclass(slots=True)
class _Filling:
    """A batch that is being filled. It ends at the same record in every reading."""

    records_max: int
    records: list[Record] = field(default_factory=list)
    size: int = 0

    @property
    def room(self) -> int:
        return room_for(len(self.records), self.size, self.records_max)

    def add(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        """Yield each batch that becomes full, and begin the next."""
        for record in records:
            self.records.append(record)
            self.size += size_of(record)
            if self.room == 0:
                batch, self.records, self.size = self.records, [], 0
                yield batch


async def _find_bounds(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], which: Slice
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Return the start of the slice in each partition, and the end of each log as the broker reports it."""
    beginnings: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    starts = {tp: max(beginnings[tp], min(which.from_offset, ends[tp])) for tp in partitions}
    if which.since is not None:
        time_ms = max(0, int(which.since.timestamp() * 1000))
        for tp, found in (await consumer.offsets_for_times(dict.fromkeys(partitions, time_ms))).items():
            starts[tp] = max(starts[tp], ends[tp] if found is None else found.offset)
    return starts, ends


class _Partition:
    """A partition that is being read."""

    def __init__(
        self, settings: WorkerSettings, consumer: AIOKafkaConsumer, partition: TopicPartition, end: int | None
    ) -> None:
        self._consumer = consumer
        self._partition = partition
        self._end = end
        self._watch = Watch(settings, consumer, Health())

    async def is_done(self) -> bool:
        """Return whether the given end, or the log's end at the first fetch, is reached."""
        if self._end is not None and await self._consumer.position(self._partition) >= self._end:
            return True
        return await self._watch.is_at_the_end([self._partition])

    async def poll(self, limit: int) -> list[Record]:
        """Return at most `limit` records, none of them at or after the end."""
        try:
            polled = await self._consumer.getmany(self._partition, timeout_ms=POLL_MS, max_records=limit)
        except OffsetOutOfRangeError:
            [beginning] = (await self._consumer.beginning_offsets([self._partition])).values()
            topic, partition = self._partition
            logger.warning("overtaken_by_retention", topic=topic, partition=partition, offset=beginning)
            self._consumer.seek(self._partition, beginning)
            return []
        records: list[Record] = polled.get(self._partition, [])
        if records:
            self._watch.touch()
        else:
            await self._watch.look_for_a_stall([self._partition])
        return records if self._end is None else [record for record in records if record.offset < self._end]
