"""A batch: filled from what there is, and decoded, a slice at a time.

Between two slices the loop goes on with what is being written.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from pattern_metrics.consumer.records.batch import room_for, size_of
from pattern_metrics.consumer.records.decoding import decode_all
from pattern_metrics.consumer.records.record import Fate, Record
from pattern_metrics.consumer.settings import WorkerSettings

POLL_SECONDS: Final = 0.5
"""How long a poll waits for the first record."""


@dataclass(slots=True)
class Filled:
    """What was polled.

    Attributes:
        fates: what becomes of the records of each partition, in their order.
        decode_seconds: how long it took in all to decide that.
    """

    fates: dict[TopicPartition, list[Fate]] = field(default_factory=dict)
    decode_seconds: float = 0.0

    @property
    def records(self) -> int:
        """How many."""
        return sum(map(len, self.fates.values()))

    def decode(self, polled: Mapping[TopicPartition, Sequence[Record]], accepted_until: datetime) -> None:
        """Decode what was polled, at once: a value takes more memory than what is kept of it."""
        began_at = time.monotonic()
        for partition, records in polled.items():
            fates = decode_all(records, accepted_until=accepted_until)
            self.fates.setdefault(partition, []).extend(fates)
        self.decode_seconds += time.monotonic() - began_at


async def fill(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], settings: WorkerSettings
) -> Filled:
    """Take and decode what is there, or comes within BATCH_MAX_WAIT_MS, until the batch is full.

    Raises:
        NoOffsetForPartitionError: where nothing was taken yet.
        OffsetOutOfRangeError: likewise.
    """
    filled = Filled()
    size, wait_ms, deadline = 0, int(POLL_SECONDS * 1000), 0.0
    while asked := room_for(filled.records, size, settings.batch_max_records):
        try:
            more = await consumer.getmany(*partitions, timeout_ms=wait_ms, max_records=asked)
        except (NoOffsetForPartitionError, OffsetOutOfRangeError):
            # The broker will say so again; what was taken before would be passed over unwritten.
            if filled.records:
                break
            raise
        taken = sum(map(len, more.values()))
        size += sum(map(size_of, chain.from_iterable(more.values())))  # before they are let go of
        filled.decode(more, settings.accepted_until())
        deadline = deadline or time.monotonic() + settings.batch_max_wait_ms / 1000
        wait_ms = max(0, int((deadline - time.monotonic()) * 1000))
        if not filled.records or (taken < asked and wait_ms == 0):
            break
        await asyncio.sleep(0)  # in this turn of the loop answers are read,
        await asyncio.sleep(0)  # and in this one whoever waited for them goes on
    return filled
