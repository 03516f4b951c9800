"""A partition without a leader, or with a silent one, stops neither the other partitions nor a command."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic
from aiokafka.partitioner import DefaultPartitioner

from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.consumer.kafka.broker import _metadata_of
from pattern_metrics.consumer.operations.files.recognition import Measurements, Part
from pattern_metrics.consumer.operations.publish import PublishReport, publish_file, publishing_to
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import SECONDS_MAX, CommandLine, environment_of
from tests.support.kafka import KafkaCluster, administering, require_apache
from tests.support.pipeline import an_event, send, table, worker_settings
from tests.support.scraping import Scraper
from tests.support.waiting import eventually

TOPIC = "sole-copies"
PARTITIONS = 3
SILENT_SECONDS_MAX = 30.0
"""Less than the 40 s that one request to a silent broker takes."""


@pytest.fixture
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaCluster]:
    require_apache(request)
    with KafkaCluster() as kafka:
        yield kafka


@dataclass
class Scene:
    """A topic with one partition on each node, and the events that were written to it.

    Attributes:
        settings: the topic and the table.
        written: the number of events that were written so far. Each event has its own pattern.
    """

    settings: WorkerSettings
    written: int = 0

    async def leaders(self) -> dict[int, int]:
        [topic] = (await _metadata_of(self.settings, [TOPIC]))["topics"]
        return {partition["partition"]: partition["leader"] for partition in topic["partitions"]}

    async def write(self, *partitions: int) -> None:
        """Write an event to each partition, and wait until the table has all that were written."""
        for partition in partitions:
            await send(self.settings, [an_event(self.written).to_json()], partition)
            self.written += 1
        await eventually(self.is_complete, deadline_seconds=SECONDS_MAX)

    async def is_complete(self) -> bool:
        return len(await table(self.settings)) == self.written


async def create_topic(settings: WorkerSettings) -> None:
    async with administering(settings.kafka_bootstrap_servers) as admin:
        topic = NewTopic(TOPIC, PARTITIONS, 1, topic_configs={"min.insync.replicas": "1"})
        await admin.create_topics([topic])


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_partition_that_is_unavailable_stops_no_other_one(
    kafka: KafkaCluster, migrated_database_url: str, tmp_path: Path
) -> None:
    settings = worker_settings(
        kafka.bootstrap_servers, TOPIC, migrated_database_url, kafka_enable_idempotence=True
    )
    await create_topic(settings)
    scene, scraper = Scene(settings), Scraper(free_port())
    command = CommandLine(tmp_path, environment_of(settings))
    leaders = await eventually(scene.leaders)
    ill, node = 1, kafka.nodes[leaders[1]]
    well = sorted(leaders.keys() - {ill})
    name = f"{TOPIC}-{ill}"

    async with command.worker(http_port=scraper.port) as worker:
        await scene.write(*leaders)
        await publish_while(scene, ill, node.kill)
        await scene.write(*well)
        lost = await worker.wait_for_event("partitions_unavailable", partitions=[name])
        await is_shown(scraper, ill)
        assert await worker.terminate() == 0
    async with command.worker(http_port=scraper.port) as worker:
        await scene.write(*well)
        again = await worker.wait_for_event("partitions_unavailable", partitions=[name])
        await is_shown(scraper, ill)
        scene.written += await require_named_by_commands(command, tmp_path, ill, well[0])
        await eventually(scene.is_complete, deadline_seconds=SECONDS_MAX)
        await asyncio.to_thread(node.start)
        await worker.wait_for_event("partitions_available", partitions=[name])
        await scene.write(*leaders)
        assert worker.events("not_ready") == []
        os.kill(node.pid, signal.SIGSTOP)
    try:
        await require_soon_read(command)
    finally:
        os.kill(node.pid, signal.SIGCONT)

    assert lost["said"] == again["said"] == ["no leader"]


async def publish_while(scene: Scene, ill: int, kill: Callable[[], None]) -> None:
    """Publish a file whose partition becomes unavailable between two parts of it."""
    events = [an_event(2000 + number) for number in range(40)]
    lines = [(number, event.to_json()) for number, event in enumerate(events, start=1)]

    def parts() -> Iterator[Part]:
        yield Part(lines[:20], 0)
        scene.written += 20
        with ThreadPoolExecutor() as pool:  # what the worker has yet to read would die with the node
            pool.submit(asyncio.run, eventually(scene.is_complete, deadline_seconds=SECONDS_MAX)).result()
        kill()
        yield Part(lines[20:30], 0)
        yield Part(lines[30:], 0)

    report, told = PublishReport(), list[str]()
    await publish_file(
        publishing_to(scene.settings, told.append),
        Measurements("line", parts()),
        accepted_until=events[0].measurement_timestamp,
        report=report,
        tell=told.append,
        advance=lambda _: None,
    )
    assert report.unavailable == [partition_of(event) for event in events[20:]].count(ill) > 0
    assert report.published == len(events) - report.unavailable
    assert told == [f"unavailable partitions of {TOPIC}: {ill} (no leader)"]
    scene.written += report.published - 20
    await eventually(scene.is_complete, deadline_seconds=SECONDS_MAX)


async def is_shown(scraper: Scraper, ill: int) -> None:
    """The worker is ready, and its metrics name the partition."""

    async def has_metrics() -> bool:
        samples = await scraper.samples()
        name = "pattern_metrics_partition_unavailable"
        shown = [samples[name, (str(number), TOPIC)] == (number == ill) for number in range(PARTITIONS)]
        return all(shown) and samples["pattern_metrics_ready", ()] == 1

    await eventually(has_metrics, deadline_seconds=SECONDS_MAX)


async def require_named_by_commands(command: CommandLine, folder: Path, ill: int, well: int) -> int:
    """Return the number of events that were published to the partitions that are well."""
    line = f"unavailable partitions of {TOPIC}: {ill} (no leader)"
    file = folder / "events.jsonl"
    events = [an_event(1000 + number) for number in range(20)]
    file.write_bytes(b"\n".join(event.to_json() for event in events))
    of_ill = [event for event in events if partition_of(event) == ill]

    checked = (await command.run("consume", "--check")).succeeded()
    status = (await command.run("status", "--json")).succeeded().json
    screen = (await command.run("status")).succeeded().stdout.decode()
    replayed = (await command.run("replay", "--partition", str(well), "--json")).succeeded()
    refused = await command.run("replay", "--partition", str(ill))
    whole = await command.run("replay")
    verified = await command.run("verify", "--against-topic")
    published = await command.run("publish", file, "--json")

    assert line in checked.stderr
    assert [row["unavailable"] for row in status["partitions"]].count("no leader") == 1
    assert status["unavailable"] == 1
    assert f"{TOPIC} {ill} is unavailable: no leader" in screen
    assert replayed.json["read"] > 0
    for failed in (refused, whole, verified, published):
        assert failed.code == 1
        assert line in failed.stderr
        assert "Traceback" not in failed.stderr
    assert published.json["unavailable"] == len(of_ill) > 0
    assert published.json["published"] == len(events) - len(of_ill)
    assert published.json["reached_end"]
    return len(events) - len(of_ill)


def partition_of(event: PatternScored) -> int:
    every = list(range(PARTITIONS))
    return int(DefaultPartitioner()(str(event.pattern_id).encode(), every, every))


async def require_soon_read(command: CommandLine) -> None:
    """A worker of another group that begins while a node is silent reads what the other nodes have."""
    async with command.worker(kafka_group_id="another") as worker:
        await eventually(
            lambda: sum(line["read"] for line in worker.events("batch_written")) > 0,
            deadline_seconds=SILENT_SECONDS_MAX,
        )
