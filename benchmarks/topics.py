"""Loads topics in the form of `ScorePublisher`: its key, value, headers, compression and batch size."""

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
from benchmarks.spellings import speller
from pattern_metrics.publisher.records import cloud_event_headers
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.kafka import administering

COMPRESSION: Final = "lz4"
_BATCH_BYTES: Final = 128 * 1024

Encode = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Fold:
    """The content of the table after a topic was read.

    Attributes:
        since: every row that existed before is older than this.
        rows: number of rows.
        digest: a digest of their event ids, in the order of their pattern ids.
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


def with_metadata_as_text(value: bytes) -> bytes:
    """Return the value for Kafka Connect, which has no type for an object without a schema."""
    fields: dict[str, Any] = json.loads(value)
    separators = (", ", ": ") if b'": ' in value else (",", ":")
    fields["metadata"] = json.dumps(fields["metadata"], separators=separators, ensure_ascii=False)
    return json.dumps(fields, separators=separators, ensure_ascii=False).encode()


ENCODINGS: Final[Mapping[str, Encode]] = {"published": bytes, "text": with_metadata_as_text}
"""The encodings of the value: as agents send it, or with metadata as text."""


def digest(event_ids: list[UUID]) -> str:
    """Return what PostgreSQL computes as `md5(string_agg(event_id::text, ''))`."""
    text = "".join(map(str, event_ids))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def load(bootstrap_servers: str, name: str, shape: Shape, encoding: str) -> Topic:
    """Create a topic, and fill it."""
    await create(bootstrap_servers, name)
    latest: dict[UUID, UUID] = {}
    encode, spell = ENCODINGS[encoding], speller(shape.spelling)
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, compression_type=COMPRESSION, max_batch_size=_BATCH_BYTES
    ) as producer:
        writer = TopicWriter(producer, name)
        for partition, event in generate(shape):
            latest[event.pattern_id] = event.event_id
            await writer.append(partition, event, encode(spell(event)))
        await writer.flush()
    ids = [event_id for _, event_id in sorted(latest.items())]
    return Topic(name, shape, Fold(shape.first_time, len(ids), digest(ids)))


async def create(bootstrap_servers: str, name: str) -> None:
    """Create a topic without a record."""
    async with administering(bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])


class TopicWriter:
    """Fills batches itself, which is several times as fast as sending single events."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._batches = {partition: producer.create_batch() for partition in range(PARTITIONS)}
        self._sent: list[asyncio.Future[Any]] = []

    async def append(self, partition: int, event: PatternScored, value: bytes) -> None:
        """Add an event to the batch of its partition, which is sent once it is full."""
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
        """Send the remaining batches, and wait until all are acknowledged."""
        for partition in self._batches:
            await self._send(partition)
        await asyncio.gather(*self._sent)
        self._sent.clear()
