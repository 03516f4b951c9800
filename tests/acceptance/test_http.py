"""The installed worker's HTTP responses: to probes, to Prometheus, and to malicious clients."""

import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from pattern_metrics.consumer.demo.embedded import HOST, PostgresServer, free_port
from pattern_metrics.consumer.http.server import CONNECTIONS_MAX
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.telemetry.metric_table import TABLE
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.settings.timing import TIMING
from tests.support.command import SECONDS_MAX, CommandLine, LogLine, environment_of
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import an_event, execute, expected_table, send, table, worker_settings
from tests.support.scraping import Samples, Scraper
from tests.support.waiting import eventually

IDLE_CONNECTIONS = 1000
DEAF_SCRAPERS = 100
GRACE_SECONDS = 5
SLACK_SECONDS = 15


@pytest.fixture
def scraper() -> Scraper:
    return Scraper(free_port())


def total(samples: Samples, name: str) -> float:
    return sum(value for (sample, _), value in samples.items() if sample == name)


def by_label(samples: Samples, name: str) -> dict[str, int]:
    """Return the values by their one label, without zeros."""
    return {labels[0]: int(value) for (sample, labels), value in samples.items() if sample == name and value}


async def test_an_outage_of_postgresql_fails_readyz_by_name_and_livez_never(
    real_broker: Broker,
    own_migrated_database_url: str,
    own_postgres_server: PostgresServer,
    tmp_path: Path,
    scraper: Scraper,
) -> None:
    topic = await create_topic(real_broker.bootstrap_servers)
    settings = worker_settings(real_broker.bootstrap_servers, topic, own_migrated_database_url)
    command = CommandLine(tmp_path, environment_of(settings))
    events = [an_event(pattern) for pattern in range(20)]

    async def lag() -> float:
        return total(await scraper.samples(), "pattern_metrics_consumer_lag")

    async with command.worker(http_port=scraper.port) as worker:
        await worker.wait_for_event("http_started")
        await scraper.wait_until_ready()
        own_postgres_server.stop()
        async with ScorePublisher(settings) as publisher:
            await publisher.publish_many(events)
        obstacles = await scraper.wait_for_obstacles("postgresql")
        alive = await scraper.ask("/livez")

        async def is_all_behind() -> bool:
            return await lag() == len(events)

        await eventually(is_all_behind, deadline_seconds=SECONDS_MAX)
        during = await scraper.samples()
        own_postgres_server.start()
        await scraper.wait_until_ready()
        await eventually(lambda: table(settings), deadline_seconds=SECONDS_MAX)

        async def is_caught_up() -> bool:
            return await lag() == 0

        await eventually(is_caught_up, deadline_seconds=SECONDS_MAX)
        after = await scraper.samples()
        assert worker.is_running

    assert alive.status == 200
    assert "not reachable" in obstacles["postgresql"]
    assert during["pattern_metrics_ready", ()] == 0
    assert by_label(during, "pattern_metrics_not_ready") == {"postgresql": 1}
    assert during["pattern_metrics_retries_total", ("transient", "postgresql")] > 0
    assert total(during, "pattern_metrics_consumer_lag_seconds") > 0
    assert after["pattern_metrics_ready", ()] == 1
    assert total(after, "pattern_metrics_consumer_lag_seconds") == 0
    assert total(after, "pattern_metrics_records_total") == len(events)


async def test_without_kafka_the_worker_is_alive_and_not_ready(
    tmp_path: Path, migrated_database_url: str, scraper: Scraper
) -> None:
    settings = worker_settings(f"{HOST}:{free_port()}", "scores", migrated_database_url)

    async with CommandLine(tmp_path, environment_of(settings)).worker(http_port=scraper.port) as worker:
        await worker.wait_for_event("http_started")
        obstacles = await scraper.wait_for_obstacles("kafka", "assignment")
        assert (await scraper.ask("/livez")).status == 200

    assert "assigned no partitions" in obstacles["assignment"]


async def test_a_missing_migration_keeps_the_worker_from_being_ready(
    broker: Broker, topic: str, database_url: str, tmp_path: Path, scraper: Scraper
) -> None:
    command = CommandLine(
        tmp_path, environment_of(worker_settings(broker.bootstrap_servers, topic, database_url))
    )

    async with command.worker(http_port=scraper.port) as worker:
        await worker.wait_for_event("http_started")
        obstacles = await scraper.wait_for_obstacles("postgresql", "assignment")
        (await command.run("migrate", "up")).succeeded()
        await scraper.wait_until_ready()

    assert "pattern-metrics migrate up" in obstacles["postgresql"]


async def test_an_open_breaker_keeps_the_worker_from_being_ready(
    command: CommandLine, settings: WorkerSettings, scraper: Scraper
) -> None:
    await send(settings, [b"1", b"2", b"3"])

    async with command.worker(http_port=scraper.port, dead_letter_max_consecutive=2) as worker:
        await worker.wait_for_event("http_started")
        obstacles = await scraper.wait_for_obstacles("breaker")
        assert (await scraper.ask("/livez")).status == 200

    assert "DEAD_LETTER_MAX_CONSECUTIVE" in obstacles["breaker"]


async def test_the_metrics_add_up_to_the_records_read(
    command: CommandLine, settings: WorkerSettings, scraper: Scraper
) -> None:
    await execute(settings, "ALTER TABLE pattern_quality_metrics ADD CHECK (quality_score > 0.1)")
    stored = [an_event(pattern, seconds=2) for pattern in range(30)]
    late = [an_event(pattern, seconds=1) for pattern in range(10)]
    refused = [an_event(pattern, score=0.05) for pattern in range(100, 104)]
    poison = [b"1", b"2", b"no JSON", b"{}", None]
    values = [event.to_json() for event in stored + late + refused] + poison
    await send(settings, [b"an old letter"])
    (await command.run("consume", "--until-caught-up")).succeeded()
    await send(settings, values)

    async with command.worker(http_port=scraper.port) as worker:
        await worker.wait_until_read(len(values))

        async def samples_of_all() -> Samples | None:
            samples = await scraper.samples()
            is_committed = samples["pattern_metrics_commit_seconds_count", ()] > 0
            has_age = samples["pattern_metrics_oldest_open_dead_letter_seconds", ()] > 0
            return samples if is_committed and has_age else None

        samples = await eventually(samples_of_all, deadline_seconds=SECONDS_MAX)
        assert samples is not None
        lines = worker.events("batch_written")
        batches = sum(line["batches"] for line in lines)
        code = await worker.terminate()

    outcomes = by_label(samples, "pattern_metrics_records_total")
    reasons = by_label(samples, "pattern_metrics_dead_letters_total")
    assert code == 0
    assert outcomes == {
        "applied": sum(line["applied"] for line in lines),
        "superseded": sum(line["superseded"] for line in lines),
        "dead_letter": len(poison) + len(refused),
    }
    assert sum(outcomes.values()) == len(values)
    assert reasons == {
        "not_an_object": 2,
        "invalid_json": 1,
        "missing_field": 1,
        "tombstone": 1,
        "refused_by_database": len(refused),
    }
    assert samples["pattern_metrics_batch_records_sum", ()] == len(values)
    assert samples["pattern_metrics_batch_records_count", ()] == batches
    assert samples["pattern_metrics_write_seconds_count", ()] == batches
    assert samples["pattern_metrics_end_to_end_seconds_count", ()] == batches
    assert samples["pattern_metrics_rebalances_total", ()] >= 1
    assert {name.removesuffix(part) for name, _ in samples for part in suffixes(name)} == {
        metric.name for metric in TABLE
    }


def suffixes(name: str) -> list[str]:
    """Return the suffixes of a histogram's samples."""
    return [part for part in ("_bucket", "_sum", "_count") if name.endswith(part)] or [""]


async def test_malicious_scrapers_stop_the_worker_neither_from_writing_nor_ending(
    real_command: CommandLine, real_settings: WorkerSettings, scraper: Scraper
) -> None:
    events = [an_event(pattern) for pattern in range(500)]

    async with (
        real_command.worker(http_port=scraper.port, shutdown_grace_seconds=GRACE_SECONDS) as worker,
        AsyncExitStack() as open_connections,
    ):
        await worker.wait_for_event("http_started")
        await scraper.wait_until_ready()
        for _ in range(IDLE_CONNECTIONS):
            await open_connections.enter_async_context(scraper.connected())
        for number in range(DEAF_SCRAPERS):
            for path in ("/metrics", "/static/inter.woff2", f"/v1/patterns?name={number}"):
                open_connections.enter_context(never_reading(scraper.port, path))
        async with ScorePublisher(real_settings) as publisher:
            await publisher.publish_many(events)
        await worker.wait_until_read(len(events))
        alive = await scraper.ask("/livez")
        descriptors = open_descriptors(worker.process.pid)
        await open_connections.enter_async_context(scraper.connected())
        code = await worker.terminate(GRACE_SECONDS + TIMING.leave + SLACK_SECONDS)

    assert alive.status == 200
    assert descriptors < CONNECTIONS_MAX + 50
    assert code == 0
    assert not worker.events("stopped_with_a_batch_in_flight")
    assert not [error for error in worker.events(level="error") if not is_of_the_broker(error)]
    assert await table(real_settings) == expected_table(events)


def is_of_the_broker(error: LogLine) -> bool:
    """Return whether the error is about the broker: after its start it may have no coordinator yet."""
    return str(error["logger"]).startswith("aiokafka")


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def never_reading(port: int, path: str) -> socket.socket:
    """Send a request with a long or expensive response, and read nothing of it."""
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    deaf.connect((HOST, port))
    deaf.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return deaf


async def test_a_worker_serves_the_page_with_what_only_it_knows(
    command: CommandLine, settings: WorkerSettings, scraper: Scraper
) -> None:
    events = [an_event(pattern) for pattern in range(20)]

    async with command.worker(http_port=scraper.port) as worker:
        await worker.wait_for_event("http_started")
        await scraper.wait_until_ready()
        async with ScorePublisher(settings) as publisher:
            await publisher.publish_many(events)
        await worker.wait_until_read(len(events))

        async def progress() -> Any:
            reported = (await scraper.ask("/v1/progress")).json
            return reported if reported["worker"]["lag"] == 0 else None

        reported = await eventually(progress, deadline_seconds=SECONDS_MAX)
        page = await scraper.ask("/")
        patterns = await scraper.ask("/v1/patterns")
        code = await worker.terminate()

    assert b"main.js" in page.body
    assert len(patterns.json["rows"]) == len(events)
    assert reported["worker"]["group"] == settings.kafka_group_id
    assert reported["worker"]["outcomes"]["applied"] == len(events)
    assert reported["worker"]["obstacles"] == {}
    assert sum(int(one["next_offset"]) for one in reported["partitions"]) == len(events)
    assert {one["lag"] for one in reported["partitions"]} == {0}
    assert code == 0


async def test_a_port_that_is_taken_is_reported_in_one_line(
    database_command: CommandLine, scraper: Scraper
) -> None:
    with socket.create_server((HOST, scraper.port)):
        refused = await database_command.run("consume", http_port=scraper.port)

    assert refused.code == 2
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith("error: HTTP_PORT: cannot listen on ")
    assert str(scraper.port) in refused.stderr


async def test_a_run_to_the_end_serves_nothing_and_needs_no_port(
    command: CommandLine, scraper: Scraper
) -> None:
    with socket.create_server((HOST, scraper.port)):
        (await command.run("consume", "--until-caught-up", http_port=scraper.port)).succeeded()
