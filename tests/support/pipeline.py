"""Tools for tests of the whole path: settings, a producer of raw records, a running worker, the table."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.worker.worker import Worker
from pattern_metrics.schemas.pattern_scored import PatternScored
from pattern_metrics.schemas.settings.timing import TIMING, Timing
from tests.support.kafka import Broker

SettingsFactory = Callable[..., WorkerSettings]

BASE_TIME = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings_for(broker: Broker, topic: str, migrated_database_url: str) -> SettingsFactory:
    """Worker settings for this test's topic and database; a new group each time, unless one is named."""

    def make(**changes: Any) -> WorkerSettings:
        return worker_settings(broker.bootstrap_servers, topic, migrated_database_url, **changes)

    return make


def worker_settings(bootstrap_servers: str, topic: str, database_url: str, **changes: Any) -> WorkerSettings:
    return WorkerSettings(
        **{
            "kafka_bootstrap_servers": bootstrap_servers,
            "kafka_topic": topic,
            "kafka_group_id": f"group-{uuid.uuid4()}",
            "kafka_enable_idempotence": False,
            "database_url": SecretStr(database_url),
            "http_port": 0,
            **changes,
        }
    )


def an_event(
    pattern: int = 1, seconds: float = 0, event: int | None = None, score: float = 0.5, **changes: Any
) -> PatternScored:
    """Return an event of a numbered pattern, measured `seconds` after the base time."""
    return PatternScored(
        **{
            "event_id": uuid.uuid4() if event is None else uuid.UUID(int=event),
            "pattern_id": uuid.UUID(int=pattern),
            "quality_score": score,
            "confidence": 0.9,
            "measurement_timestamp": BASE_TIME + timedelta(seconds=seconds),
            "metadata": {"name": f"pattern {pattern}"},
            **changes,
        }
    )


@asynccontextmanager
async def producing(settings: WorkerSettings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Open a plain producer, for records that no publisher would send."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(settings: WorkerSettings, values: Iterable[bytes | None], partition: int = 0) -> None:
    """Publish bare values to one partition, in order."""
    async with producing(settings) as producer:
        for value in values:
            # aiokafka refuses a record with neither key nor value
            await producer.send_and_wait(
                settings.kafka_topic, value, key=None if value is not None else b"k", partition=partition
            )


async def catch_up(settings: WorkerSettings) -> Accounting:
    """Run a worker to the end of the log."""
    async with asyncio.timeout(60):
        return await Worker(settings).run(until_caught_up=True)


@asynccontextmanager
async def running(settings: WorkerSettings, timing: Timing = TIMING) -> AsyncIterator[Worker]:
    """Run a worker during the block. It must still run at the end."""
    worker = Worker(settings, timing)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
        assert not task.done(), "the worker ended by itself"
    finally:
        worker.stop()
        async with asyncio.timeout(60):
            await task


async def fetch(settings: WorkerSettings, query: str, *arguments: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
        return rows
    finally:
        await connection.close()


async def execute(settings: WorkerSettings, script: str) -> None:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def table(settings: WorkerSettings) -> dict[uuid.UUID, tuple[datetime, uuid.UUID, float]]:
    """Return the table: measurement time, event and score by pattern. Fails if a pattern has two rows."""
    rows = await fetch(
        settings,
        "SELECT pattern_id, measurement_timestamp, event_id, quality_score FROM pattern_quality_metrics",
    )
    found = {row[0]: (row[1], row[2], row[3]) for row in rows}
    assert len(found) == len(rows), "a pattern has two rows"
    return found


RETIRED: Final = -1.0
"""Stands for the score of a pattern that is retired."""


async def states(settings: WorkerSettings) -> dict[uuid.UUID, tuple[datetime, uuid.UUID, float]]:
    """Return the table together with the retired patterns. Fails if a pattern is in both."""
    query = """
        SELECT pattern_id, measurement_timestamp, event_id, quality_score FROM pattern_quality_metrics
        UNION ALL SELECT pattern_id, retired_at, event_id, $1 FROM pattern_quality_retired
    """
    rows = await fetch(settings, query, RETIRED)
    found = {row[0]: (row[1], row[2], row[3]) for row in rows}
    assert len(found) == len(rows), "a pattern has two rows, or is retired beside its row"
    return found


def expected_table(
    events: Iterable[PatternScored],
) -> dict[uuid.UUID, tuple[datetime, uuid.UUID, float]]:
    """Return the greatest (measurement_timestamp, event_id) of each pattern: the law, in three lines."""
    expected: dict[uuid.UUID, tuple[datetime, uuid.UUID, float]] = {}
    for event in sorted(events, key=lambda event: (event.measurement_timestamp, event.event_id)):
        expected[event.pattern_id] = (event.measurement_timestamp, event.event_id, event.quality_score)
    return expected


async def dead_letters(settings: WorkerSettings) -> list[tuple[bytes | None, str]]:
    """Return value and reason of each dead letter, in the order of the log."""
    rows = await fetch(settings, 'SELECT value, reason FROM dead_letters ORDER BY partition, "offset"')
    return [(row["value"], row["reason"]) for row in rows]


async def committed_offsets(settings: WorkerSettings) -> dict[int, int]:
    """Return Kafka's committed offsets of the group."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=settings.kafka_group_id
    )
    await consumer.start()
    try:
        offsets = {
            partition: await consumer.committed(TopicPartition(settings.kafka_topic, partition))
            for partition in range(3)
        }
    finally:
        await consumer.stop()
    return {partition: offset for partition, offset in offsets.items() if offset is not None}


async def progress(settings: WorkerSettings) -> dict[int, int]:
    """Return the database's offsets of the group."""
    rows = await fetch(settings, "SELECT partition, next_offset FROM ingest_progress")
    return {row["partition"]: row["next_offset"] for row in rows}
