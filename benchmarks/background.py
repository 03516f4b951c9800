"""Publishes updates of the hot patterns at a constant rate until it is killed."""

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from aiokafka import AIOKafkaProducer

from benchmarks.events import HOT_PATTERNS, Shape, generate
from benchmarks.topics import ENCODINGS, TopicWriter

_TICK_SECONDS: Final = 0.01
_EVENTS_MAX: Final = 10_000_000


async def _publish(bootstrap_servers: str, topic: str, encoding: str, rate: str) -> None:
    # Each event is a millisecond newer than the one before. They begin yesterday, so that none is in the
    # future.
    shape = Shape("background", _EVENTS_MAX, HOT_PATTERNS, first_time=datetime.now(UTC) - timedelta(days=1))
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        writer = TopicWriter(producer, topic)
        started = time.monotonic()
        for number, (partition, event) in enumerate(generate(shape)):
            while (time.monotonic() - started) * float(rate) < number:
                await writer.flush()
                await asyncio.sleep(_TICK_SECONDS)
            await writer.append(partition, event, ENCODINGS[encoding](event.to_json()))


if __name__ == "__main__":
    asyncio.run(_publish(*sys.argv[1:]))
