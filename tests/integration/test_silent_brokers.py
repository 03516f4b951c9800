"""Brokers that accept connections and never answer: no client waits for them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiokafka.structs import BrokerMetadata

from pattern_metrics.consumer.kafka.broker import create_topic
from pattern_metrics.consumer.kafka.clients import create_reader, learn_of_partitions
from pattern_metrics.consumer.kafka.topic import WHOLE_TOPIC, read_bounds
from pattern_metrics.consumer.operations.replay import replay
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.kafka import Broker
from tests.support.pipeline import SettingsFactory, an_event, expected_table, running, table
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

SOON_SECONDS = 8.0
"""Less than one request timeout, and enough for a busy machine."""

SILENT_COUNT = 2


@asynccontextmanager
async def silent_brokers() -> AsyncIterator[list[str]]:
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(1)) for _ in range(SILENT_COUNT)]
        for proxy in proxies:
            proxy.freeze()
        yield [f"127.0.0.1:{proxy.port}" for proxy in proxies]


@pytest.fixture
async def settings(broker: Broker, settings_for: SettingsFactory) -> AsyncIterator[WorkerSettings]:
    """For clients that know one broker that answers, among others that never do."""
    async with silent_brokers() as silent:
        yield settings_for(
            kafka_bootstrap_servers=",".join([silent[0], broker.bootstrap_servers, *silent[1:]])
        )


async def test_no_client_waits_for_bootstrap_servers_that_never_answer(settings: WorkerSettings) -> None:
    events = [an_event(number) for number in range(3)]
    async with asyncio.timeout(SOON_SECONDS):
        await publish(settings, events)
    async with running(settings) as worker:
        await eventually(lambda: is_table(settings, events), deadline_seconds=SOON_SECONDS)
        assert worker.health.obstacles == {}
        metrics = worker.metrics.render({}).decode()
    async with asyncio.timeout(SOON_SECONDS):
        assert len((await read_bounds(settings)).ends) == 3
    async with asyncio.timeout(SOON_SECONDS):
        replayed = await replay(settings, WHOLE_TOPIC, dry_run=False, advance=lambda _done, _of: None)
    async with asyncio.timeout(SOON_SECONDS):
        assert not await create_topic(settings, partitions=3, replication_factor=1)

    assert 'pattern_metrics_retries_total{class="transient",component="kafka"} 0.0' in metrics
    assert replayed.superseded == len(events)


async def test_a_silent_broker_delays_neither_metadata_nor_a_coordinator(
    embedded_broker: Broker, settings_for: SettingsFactory
) -> None:
    settings = settings_for(kafka_bootstrap_servers=embedded_broker.bootstrap_servers)
    async with silent_brokers() as silent, create_reader(settings) as reader:
        client = reader._client
        ports = [int(server.rpartition(":")[2]) for server in silent]
        nodes = {
            number: BrokerMetadata(number, "127.0.0.1", ports[number % 2], None) for number in range(-9, -1)
        }
        client.cluster._brokers |= nodes
        async with asyncio.timeout(SOON_SECONDS):
            await learn_of_partitions(reader)
        client.cluster._brokers |= nodes
        async with asyncio.timeout(SOON_SECONDS):
            found = [await client.coordinator_lookup(0, settings.kafka_group_id) for _ in range(5)]

    assert set(found).isdisjoint(nodes)


async def publish(settings: WorkerSettings, events: Sequence[PatternScored]) -> None:
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many(events)


async def is_table(settings: WorkerSettings, events: Sequence[PatternScored]) -> bool:
    return await table(settings) == expected_table(events)
