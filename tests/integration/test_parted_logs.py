"""A log that was cut back and grew again, on Apache Kafka: a volume was restored under the broker."""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import structlog
from aiokafka import TopicPartition

from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.consumer.kafka.clients import create_reader
from pattern_metrics.consumer.kafka.leader_epochs import LeaderEpochs
from pattern_metrics.consumer.operations.status import read_status
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.offsets import EpochEnd
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.settings.timing import Timing
from tests.support.kafka import ApacheKafka, Listener, create_topic, require_apache
from tests.support.pipeline import (
    an_event,
    catch_up,
    fetch,
    running,
    send,
    table,
    worker_settings,
)
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    """Apache Kafka with a second way to it, which a test can cut."""
    require_apache(request)
    with ApacheKafka({"PROXIED": Listener("PLAINTEXT", advertised_port=free_port())}) as server:
        yield server


@dataclass(frozen=True)
class Volume:
    """The log of partition 0 of a topic on the broker's disk."""

    server: ApacheKafka
    path: Path
    backup: Path

    def save(self) -> None:
        """Copy it under the running broker, as a snapshot does."""
        shutil.rmtree(self.backup, ignore_errors=True)
        shutil.copytree(self.path, self.backup)

    async def restore(self) -> None:
        await asyncio.to_thread(self.server.stop)
        shutil.rmtree(self.path)
        shutil.copytree(self.backup, self.path)
        await asyncio.to_thread(self.server.start)


@pytest.fixture
async def settings(server: ApacheKafka, migrated_database_url: str) -> WorkerSettings:
    topic = await create_topic(server.bootstrap_servers, partitions=1)
    return worker_settings(server.bootstrap_servers, topic, migrated_database_url)


@pytest.fixture
def volume(server: ApacheKafka, settings: WorkerSettings, tmp_path: Path) -> Volume:
    return Volume(server, server.directory / "data" / f"{settings.kafka_topic}-0", tmp_path / "backup")


async def publish(settings: WorkerSettings, numbers: range) -> None:
    await send(settings, [an_event(number).to_json() for number in numbers])


async def gaps(settings: WorkerSettings) -> list[tuple[int, int, str]]:
    rows = await fetch(settings, "SELECT first_offset, last_offset, reason FROM ingest_gaps ORDER BY 1")
    return [tuple(row) for row in rows]


async def test_a_worker_reads_on_from_where_the_log_parts_from_the_log_that_it_read(
    settings: WorkerSettings, volume: Volume
) -> None:
    await publish(settings, range(5))
    volume.save()
    await publish(settings, range(5, 10))
    assert await catch_up(settings) == Accounting(applied=10)
    await volume.restore()
    await publish(settings, range(10, 20))

    with structlog.testing.capture_logs() as logs:
        assert await catch_up(settings) == Accounting(applied=10)

    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["log_parted"]
    assert await gaps(settings) == [(5, 9, "truncation")]
    assert len(await table(settings)) == 20
    assert (await read_status(settings)).gaps == {"truncation": 1}
    assert await catch_up(settings) == Accounting()


@pytest.mark.parametrize(
    ("grown", "silence"),
    [
        pytest.param(7, 60, id="beyond it, by the next record"),
        pytest.param(5, 1, id="just to it, by asking now and then"),
    ],
)
async def test_a_running_worker_notices_a_log_that_grew_to_its_position_again(
    server: ApacheKafka, settings: WorkerSettings, volume: Volume, grown: int, silence: float
) -> None:
    way = server.listeners["PROXIED"].advertised_port or 0
    behind = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{way}"})
    await publish(settings, range(5))
    volume.save()
    await publish(settings, range(5, 10))
    async with Proxy(server.port_of("PROXIED"), way) as proxy, running(behind, Timing(silence=silence)):
        await eventually(partial(_are_stored, settings, 10))
        proxy.cut()
        await volume.restore()
        await publish(settings, range(10, 10 + grown))
        proxy.restore()
        await eventually(partial(_are_stored, settings, 10 + grown), deadline_seconds=60)

    assert await gaps(settings) == [(5, 9, "truncation")]


async def test_the_epochs_of_what_is_read_and_where_the_leader_ends_them(
    server: ApacheKafka, settings: WorkerSettings
) -> None:
    await publish(settings, range(5))
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await publish(settings, range(5, 8))
    partition = TopicPartition(settings.kafka_topic, 0)
    async with create_reader(settings) as consumer:
        epochs = LeaderEpochs(consumer)
        assert epochs.taken(partition) == {}
        consumer.assign([partition])
        consumer.seek(partition, 0)
        for _ in range(8):
            await consumer.getmany(partition, timeout_ms=10_000, max_records=1)
        taken = epochs.taken(partition)
        [first, second] = taken
        ends = [await epochs.ends({partition: epoch}, 10) for epoch in taken]

        assert list(taken.values()) == [5, 8]
        assert ends == [({partition: EpochEnd(first, 5)}, {}), ({partition: EpochEnd(second, 8)}, {})]
        assert epochs.taken(partition) == {}


async def _are_stored(settings: WorkerSettings, count: int) -> bool:
    return len(await table(settings)) == count
