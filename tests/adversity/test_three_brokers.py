"""A cluster of three brokers, of which any one or two may fail: the worker needs no restart."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka.protocol.coordination import FindCoordinatorRequest

from pattern_metrics.consumer.kafka.broker import _metadata_of, ask, create_topic
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.settings.timing import TIMING
from tests.adversity.checks import is_held, is_settled, require_nothing_lost
from tests.adversity.load import Load
from tests.adversity.rounds import PARTS_AFTER
from tests.support.command import CommandLine, WorkerProcess, environment_of
from tests.support.kafka import NODES, KafkaCluster, require_apache
from tests.support.load import WATCH_FOR_STEPS_BACK
from tests.support.pipeline import execute, worker_settings
from tests.support.waiting import eventually, hold

RECOVERY_SECONDS_MAX = 120.0
AWAY_SECONDS = TIMING.silence + 2
"""Long enough for a worker to check whether the broker is up."""

OFFSETS_TOPIC = "__consumer_offsets"


@dataclass
class Cluster:
    """The servers, a producer, a reader, and the recovery time of both after each fault."""

    kafka: KafkaCluster
    settings: WorkerSettings
    load: Load
    worker: WorkerProcess
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def leader(self) -> int:
        """Return the node that leads the first partition."""
        [topic] = (await _metadata_of(self.settings, [self.settings.kafka_topic]))["topics"]
        return int(min(topic["partitions"], key=lambda partition: partition["partition"])["leader"])

    async def coordinator(self) -> int:
        """Return the node that coordinates the group."""
        found = await ask(self.settings, FindCoordinatorRequest(self.settings.kafka_group_id, 0))
        return int(found.coordinator_id)

    async def are_in_sync(self) -> bool:
        """Return whether all nodes have everything that is acknowledged, in data and in offsets."""
        metadata = await _metadata_of(self.settings, [self.settings.kafka_topic, OFFSETS_TOPIC])
        copies = [set(part["isr"]) for topic in metadata["topics"] for part in topic["partitions"]]
        return all(nodes == set(NODES) for nodes in copies)

    async def start(self, *numbers: int) -> None:
        await asyncio.gather(*(asyncio.to_thread(self.kafka.nodes[number].start) for number in numbers))
        await eventually(self.are_in_sync, deadline_seconds=RECOVERY_SECONDS_MAX)

    async def recover(self, fault: str, *, since: float) -> None:
        """Wait until the table holds the events that are acknowledged from now on."""
        wanted = self.load.parts + PARTS_AFTER
        await eventually(
            lambda: self.load.has_failed or self.load.parts >= wanted, deadline_seconds=RECOVERY_SECONDS_MAX
        )
        self.load.require_alive()
        published_at, rows = time.monotonic(), dict(self.load.fold)
        await eventually(lambda: is_held(rows, self.settings), deadline_seconds=RECOVERY_SECONDS_MAX)
        self.seconds[fault] = (published_at - since, time.monotonic() - since)

    async def require_whole(self) -> None:
        """Check that the table is the fold, and that the worker is still the same process."""
        await self.load.pause()
        await eventually(lambda: is_settled(self.settings, self.load), deadline_seconds=RECOVERY_SECONDS_MAX)
        await require_nothing_lost(self.settings, self.load)
        assert self.worker.is_running
        assert len(self.worker.events("worker_started")) == 1
        self.load.resume()


@pytest.fixture
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaCluster]:
    require_apache(request)
    with KafkaCluster() as kafka:
        yield kafka


@pytest.fixture
async def cluster(kafka: KafkaCluster, migrated_database_url: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    settings = worker_settings(
        kafka.bootstrap_servers, "pattern-scored.v1", migrated_database_url, kafka_enable_idempotence=True
    )
    await create_topic(settings, partitions=3, replication_factor=3)
    await execute(settings, WATCH_FOR_STEPS_BACK)
    load = Load(settings, random.Random(3))
    async with CommandLine(tmp_path, environment_of(settings)).worker() as worker, load.running():
        await worker.wait_for_event("batch_written")
        await eventually(
            Cluster(kafka, settings, load, worker).are_in_sync, deadline_seconds=RECOVERY_SECONDS_MAX
        )
        yield Cluster(kafka, settings, load, worker)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_no_broker_that_goes_costs_a_record_or_the_worker_its_life(
    cluster: Cluster,
) -> None:
    nodes = cluster.kafka.nodes

    number, since = await cluster.leader(), time.monotonic()
    await asyncio.to_thread(nodes[number].kill)
    await cluster.recover("leader killed", since=since)
    await cluster.start(number)
    await cluster.require_whole()

    number, since = await cluster.coordinator(), time.monotonic()
    await asyncio.to_thread(nodes[number].kill)
    await cluster.recover("coordinator killed", since=since)
    await cluster.start(number)
    await cluster.require_whole()

    since = time.monotonic()
    for number in NODES:
        await asyncio.to_thread(nodes[number].stop)
        await cluster.start(number)
    await cluster.recover("each restarted", since=since)
    await cluster.require_whole()

    survivor = await cluster.leader()
    others, since = [number for number in NODES if number != survivor], time.monotonic()
    await asyncio.gather(*(asyncio.to_thread(nodes[number].kill) for number in others))
    await hold(AWAY_SECONDS)
    await cluster.start(*others)
    await cluster.recover("two of three killed", since=since)
    await cluster.require_whole()

    print(cluster.seconds)  # noqa: T201 - pytest shows it if the test fails, or with -s
