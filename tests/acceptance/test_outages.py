"""PostgreSQL or Kafka is down: the worker logs it once, waits, and continues by itself."""

import asyncio
from pathlib import Path

import pytest

from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.settings.timing import TIMING
from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess, environment_of
from tests.support.kafka import ApacheKafka, Broker, create_topic
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.waiting import eventually

GRACE_SECONDS = 3
SLACK_SECONDS = 10

LOG_LINES_MAX = 30
"""An outage of some ten seconds must not fill the log."""

EVENTS = [an_event(pattern) for pattern in range(20)]


async def publish(settings: WorkerSettings) -> None:
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many(EVENTS)


async def wait_until_written(settings: WorkerSettings) -> None:
    async def is_written() -> bool:
        return await table(settings) == expected_table(EVENTS)

    await eventually(is_written, deadline_seconds=SECONDS_MAX)


def assert_one_outage(worker: WorkerProcess, component: str) -> None:
    """Check that the log has the beginning and the end of one outage, each once."""
    assert worker.is_running
    assert len(worker.events("not_ready", component=component)) == 1
    assert len(worker.events("recovered", component=component)) == 1


# PostgreSQL


@pytest.fixture
async def on_own_postgres(real_broker: Broker, own_migrated_database_url: str) -> WorkerSettings:
    topic = await create_topic(real_broker.bootstrap_servers)
    return worker_settings(real_broker.bootstrap_servers, topic, own_migrated_database_url)


async def test_a_worker_waits_out_an_outage_of_postgresql(
    on_own_postgres: WorkerSettings, own_postgres_server: PostgresServer, tmp_path: Path
) -> None:
    settings, command = on_own_postgres, CommandLine(tmp_path, environment_of(on_own_postgres))

    async with command.worker() as worker:
        await worker.wait_for_event("reading_from", count=3)
        own_postgres_server.stop()
        await publish(settings)
        await worker.wait_for_event("not_ready", component="postgresql")
        own_postgres_server.start()
        await worker.wait_for_event("recovered", component="postgresql")
        await wait_until_written(settings)
        assert_one_outage(worker, "postgresql")


async def test_a_worker_starts_without_postgresql_and_waits_for_it(
    on_own_postgres: WorkerSettings, own_postgres_server: PostgresServer, tmp_path: Path
) -> None:
    settings, command = on_own_postgres, CommandLine(tmp_path, environment_of(on_own_postgres))
    await publish(settings)
    own_postgres_server.stop()

    async with command.worker() as worker:
        await worker.wait_for_event("not_ready", component="postgresql")
        own_postgres_server.start()
        await wait_until_written(settings)
        assert_one_outage(worker, "postgresql")


async def test_a_stop_without_postgresql_ends_within_the_grace_time(
    on_own_postgres: WorkerSettings, own_postgres_server: PostgresServer, tmp_path: Path
) -> None:
    settings, command = on_own_postgres, CommandLine(tmp_path, environment_of(on_own_postgres))

    async with command.worker(shutdown_grace_seconds=GRACE_SECONDS) as worker:
        await worker.wait_for_event("reading_from", count=3)
        own_postgres_server.stop()
        await publish(settings)
        await worker.wait_for_event("not_ready", component="postgresql")
        code = await worker.terminate(GRACE_SECONDS + TIMING.leave + SLACK_SECONDS)
        given_up = worker.events("stopped_with_a_batch_in_flight")
    own_postgres_server.start()

    assert code == 0
    assert len(given_up) == 1
    assert await table(settings) == {}
    (await command.run("consume", "--until-caught-up")).succeeded()
    await wait_until_written(settings)


# Kafka


@pytest.fixture
async def on_own_kafka(own_apache_kafka: ApacheKafka, migrated_database_url: str) -> WorkerSettings:
    topic = await create_topic(own_apache_kafka.bootstrap_servers)
    return worker_settings(own_apache_kafka.bootstrap_servers, topic, migrated_database_url)


async def test_a_worker_waits_out_an_outage_of_kafka_and_says_little(
    on_own_kafka: WorkerSettings, own_apache_kafka: ApacheKafka, tmp_path: Path
) -> None:
    settings, command = on_own_kafka, CommandLine(tmp_path, environment_of(on_own_kafka))

    async with command.worker() as worker:
        await worker.wait_for_event("reading_from", count=3)
        before = len(worker.events())
        own_apache_kafka.stop()
        # After ten seconds of silence the worker asks the broker whether it is up.
        await worker.wait_for_event("not_ready", component="kafka")
        await asyncio.to_thread(own_apache_kafka.start)
        await publish(settings)
        await wait_until_written(settings)
        assert_one_outage(worker, "kafka")
        assert len(worker.events()) - before < LOG_LINES_MAX


async def test_a_worker_starts_without_kafka_and_waits_for_it(
    on_own_kafka: WorkerSettings, own_apache_kafka: ApacheKafka, tmp_path: Path
) -> None:
    settings, command = on_own_kafka, CommandLine(tmp_path, environment_of(on_own_kafka))
    await publish(settings)
    own_apache_kafka.kill()

    async with command.worker() as worker:
        await worker.wait_for_event("not_ready", component="kafka")
        await asyncio.to_thread(own_apache_kafka.start)
        await wait_until_written(settings)
        assert_one_outage(worker, "kafka")
        assert len(worker.events()) < LOG_LINES_MAX


async def test_a_worker_stops_cleanly_while_kafka_is_away(
    own_apache_kafka: ApacheKafka, migrated_database_url: str, tmp_path: Path
) -> None:
    topic = await create_topic(own_apache_kafka.bootstrap_servers)
    settings = worker_settings(own_apache_kafka.bootstrap_servers, topic, migrated_database_url)
    command = CommandLine(tmp_path, environment_of(settings))

    async with command.worker() as worker:
        await worker.wait_for_event("reading_from", count=3)
        await publish(settings)
        await worker.wait_until_read(len(EVENTS))
        await asyncio.to_thread(own_apache_kafka.kill)

        assert await worker.terminate() == 0
        assert worker.events("worker_stopped")
        assert not worker.events("failed")
