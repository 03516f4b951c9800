"""Topics, loaded as `ScorePublisher` would: its key, value, headers, compression and batch size."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from benchmarks.events import PARTITIONS, Shape, generate
from pattern_metrics.publisher.client import cloud_event_headers
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.kafka import administering

COMPRESSION: Final = "lz4"
_BATCH_BYTES: Final = 128 * 1024

Encode = Callable[[PatternScored], bytes]


@dataclass(frozen=True)
class Fold:
    """What the table holds of a topic once it is read.

    Attributes:
        since: no row that existed before is as new as that.
        rows: how many are.
        digest: of their event ids, in the order of their pattern ids.
    """

    since: datetime
    rows: int
    digest: str


@dataclass(frozen=True)
class Topic:
    """A loaded topic."""

    name: str
    shape: Shape
    fold: Fold


def as_published(event: PatternScored) -> bytes:
    """The value that agents send."""
    return event.to_json()


def with_metadata_as_text(event: PatternScored) -> bytes:
    """The same for Kafka Connect, which has no type for an object without a schema."""
    fields: dict[str, Any] = json.loads(event.to_json())
    fields["metadata"] = json.dumps(fields["metadata"], separators=(",", ":"))
    return json.dumps(fields, separators=(",", ":")).encode()


ENCODINGS: Final[Mapping[str, Encode]] = {"published": as_published, "text": with_metadata_as_text}
"""How the value is written: as agents do, or with metadata as a text."""


def digest(event_ids: list[UUID]) -> str:
    """What PostgreSQL computes as `md5(string_agg(event_id::text, ''))`."""
    text = "".join(map(str, event_ids))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def load(bootstrap_servers: str, name: str, shape: Shape, encoding: str) -> Topic:
    """Create a topic, and fill it."""
    await create(bootstrap_servers, name)
    latest: dict[UUID, UUID] = {}
    encode = ENCODINGS[encoding]
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, compression_type=COMPRESSION, max_batch_size=_BATCH_BYTES
    ) as producer:
        writer = TopicWriter(producer, name)
        for partition, event in generate(shape):
            latest[event.pattern_id] = event.event_id
            await writer.append(partition, event, encode(event))
        await writer.flush()
    ids = [event_id for _, event_id in sorted(latest.items())]
    return Topic(name, shape, Fold(shape.first_time, len(ids), digest(ids)))


async def create(bootstrap_servers: str, name: str) -> None:
    """Create a topic without a record."""
    async with administering(bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])


class TopicWriter:
    """Fills batches by itself: several times as fast as to send one event after the other."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._batches = {partition: producer.create_batch() for partition in range(PARTITIONS)}
        self._sent: list[asyncio.Future[Any]] = []

    async def append(self, partition: int, event: PatternScored, value: bytes) -> None:
        """Put an event into the batch of its partition, which is sent once it is full."""
        record: dict[str, Any] = {
            "key": str(event.pattern_id).encode(),
            "value": value,
            "timestamp": None,
            "headers": cloud_event_headers(event, "/pattern-metrics"),
        }
        if self._batches[partition].append(**record) is None:
            await self._send(partition)
            self._batches[partition].append(**record)

    async def _send(self, partition: int) -> None:
        batch, self._batches[partition] = self._batches[partition], self._producer.create_batch()
        if batch.record_count():
            batch.close()
            self._sent.append(await self._producer.send_batch(batch, self._topic, partition=partition))

    async def flush(self) -> None:
        """Send what there is, and wait until all is acknowledged."""
        for partition in self._batches:
            await self._send(partition)
        await asyncio.gather(*self._sent)
        self._sent.clear()
