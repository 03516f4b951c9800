"""A batch: filled from what there is, then decoded, both a slice at a time.

Between two slices the loop goes on with what is being written.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from consumer.ingestion import Batch, Breaker, decode_batch
from consumer.metrics import Metrics
from consumer.offsets import cut
from consumer.pacing import Part
from consumer.portions import Portion
from consumer.records import Record
from consumer.settings import WorkerSettings

POLL_SECONDS: Final = 0.5
"""How long a poll waits for the first record."""

SLICE_RECORDS: Final = 1_000

FIRST_RECORDS: Final = 16
"""So many are asked for before it is known how large they are."""

BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""A batch is full with so many bytes of values: a fetch is bounded too, but in bytes that are compressed."""


def room_for(records: int, size: int, records_max: int) -> int:
    """How many records to ask for next, by the size of those that are there.

    Args:
        records: in the batch.
        size: of their values, in bytes.
        records_max: BATCH_MAX_RECORDS.

    Returns:
        0 where the batch is full.
    """
    if records >= records_max or size >= BATCH_BYTES_MAX:
        return 0
    by_size = (BATCH_BYTES_MAX - size) * records // max(1, size) if records else FIRST_RECORDS
    return min(records_max - records, SLICE_RECORDS, max(1, by_size))


def size_of(record: Record) -> int:
    """Of its value, in bytes."""
    return len(record.value or b"")


async def fill(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], settings: WorkerSettings
) -> dict[TopicPartition, list[Record]]:
    """Take what is there, or comes within BATCH_MAX_WAIT_MS, until the batch is full.

    Raises:
        NoOffsetForPartitionError: where nothing was taken yet.
        OffsetOutOfRangeError: likewise.
    """
    filled: dict[TopicPartition, list[Record]] = {}
    records, size, wait_ms, deadline = 0, 0, int(POLL_SECONDS * 1000), 0.0
    while asked := room_for(records, size, settings.batch_max_records):
        try:
            more = await consumer.getmany(*partitions, timeout_ms=wait_ms, max_records=asked)
        except (NoOffsetForPartitionError, OffsetOutOfRangeError):
            # The broker will say so again; what was taken before would be passed over unwritten.
            if filled:
                break
            raise
        taken = sum(map(len, more.values()))
        for partition, part in more.items():
            filled.setdefault(partition, []).extend(part)
            size += sum(map(size_of, part))
        deadline = deadline or time.monotonic() + settings.batch_max_wait_ms / 1000
        wait_ms = max(0, int((deadline - time.monotonic()) * 1000))
        if not filled or (taken < asked and wait_ms == 0):
            break
        records += taken
        await asyncio.sleep(0)
    return filled


async def decode(
    portions: Iterable[Portion[TopicPartition]], settings: WorkerSettings, breaker: Breaker, metrics: Metrics
) -> list[Part]:
    """Decode up to the end, or up to the record at which the breaker opens."""
    parts = []
    for portion in portions:
        if breaker.is_open:
            break
        batch = await _decode_in_slices(portion.records, settings, breaker, metrics)
        is_whole = not portion.records or batch.last is portion.records[-1]
        parts.append(Part(batch, portion.ranges if is_whole else cut(portion.ranges, batch.last)))
    return parts


async def _decode_in_slices(
    records: Sequence[Record], settings: WorkerSettings, breaker: Breaker, metrics: Metrics
) -> Batch:
    accepted_until = settings.accepted_until()
    batch, seconds = Batch([], [], None), 0.0
    for start in range(0, len(records), SLICE_RECORDS):
        began_at = time.monotonic()
        part = decode_batch(
            records[start : start + SLICE_RECORDS], accepted_until=accepted_until, breaker=breaker
        )
        batch = Batch(batch.accepted + part.accepted, batch.rejected + part.rejected, part.last)
        seconds += time.monotonic() - began_at
        if breaker.is_open:
            break
        await asyncio.sleep(0)
    metrics.batch_decoded(batch, seconds)
    return batch
