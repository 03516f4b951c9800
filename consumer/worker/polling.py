"""Fills a batch with the available records, and decodes it, a slice at a time.

Between two slices the event loop continues with the write.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from pattern_metrics.consumer.kafka.clients import release_values
from pattern_metrics.consumer.postgres.later_clock import LaterClock
from pattern_metrics.consumer.records.batch import room_for, size_of
from pattern_metrics.consumer.records.decoding import decode_all
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.records.record import Fate, Record, Rejected
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.worker.trickle import Trickle
from pattern_metrics.schemas.settings.timing import Timing

DECODED_AT_ONCE: Final = 64
"""The number of records whose value and decoded event are in memory at the same time."""


async def fill(
    consumer: AIOKafkaConsumer,
    partitions: Sequence[TopicPartition],
    settings: WorkerSettings,
    timing: Timing,
    later: LaterClock,
    trickle: Trickle,
) -> tuple[dict[Partition, list[Fate]], float]:
    """Take and decode records that are there or arrive in time, until the batch is full.

    A batch that has begun waits for more records: for BATCH_MAX_WAIT_MS or `trickle.seconds`, whichever is
    longer.

    Returns:
        The fates of each partition's records, in their order; and the seconds of decoding.

    Raises:
        NoOffsetForPartitionError: the client does not know where to read. Nothing was taken.
        OffsetOutOfRangeError: the broker does not have a position. Nothing was taken.
    """
    fates, decode_seconds = dict[Partition, list[Fate]](), 0.0
    records, size, wait_ms, deadline = 0, 0, int(timing.poll * 1000), 0.0
    while asked := room_for(records, size, settings.batch_max_records):
        try:
            more = await consumer.getmany(*partitions, timeout_ms=wait_ms, max_records=asked)
        except (NoOffsetForPartitionError, OffsetOutOfRangeError):
            # The broker will repeat the error. Raising it now would skip the records that were taken before.
            if records:
                break
            raise
        began_at = later.clock.monotonic()
        taken = sum(map(len, more.values()))
        size += sum(map(size_of, chain.from_iterable(more.values())))
        for partition, some in more.items():
            fates.setdefault(partition, []).extend(_decode(some, settings, later))
        records += taken
        now = later.clock.monotonic()
        decode_seconds += now - began_at
        trickle.note(taken, now)
        deadline = deadline or now + max(settings.batch_max_wait_ms / 1000, trickle.seconds)
        wait_ms = max(0, int((deadline - now) * 1000))
        if not taken or (taken < asked and wait_ms == 0):
            break
        # Yield twice: the first turn reads from the sockets, the second resumes the tasks that waited for it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return fates, decode_seconds


def _decode(records: Sequence[Record], settings: WorkerSettings, later: LaterClock) -> Iterator[Fate]:
    """Decode a few records at a time and free their values. The decoded events take less memory."""
    for start in range(0, len(records), DECODED_AT_ONCE):
        some = records[start : start + DECODED_AT_ONCE]
        accepted_until = settings.accepted_until(later.now())
        decoded = decode_all(some, accepted_until=accepted_until, envelope=settings.envelope)
        release_values(fate.record for fate in decoded if not isinstance(fate, Rejected))
        yield from decoded
