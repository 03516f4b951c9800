"""Connections that are neither alive nor closed: the worker recovers in time, whatever waits for one."""

import asyncio
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from pattern_metrics.consumer.demo.embedded import PostgresServer, free_port
from pattern_metrics.consumer.kafka.broker import create_topic
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.worker.worker import REBUILDS_MAX
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import PatternScored
from pattern_metrics.schemas.settings.timing import TIMING
from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess, environment_of
from tests.support.kafka import ApacheKafka, Listener, require_apache
from tests.support.pipeline import an_event, committed_offsets, expected_table, table, worker_settings
from tests.support.postgres import TEMPLATE, new_database
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

WAYS = 5

NOTICE_SECONDS_MAX = 60.0

GRACE_SECONDS = 4

STOP_SECONDS_MAX = GRACE_SECONDS + TIMING.leave + 5
"""The grace time, leaving the group, and closing down on a busy machine."""

PATTERNS: Final = 500
TEXT: Final = "a" * 60_000
"""With this text, one event of each pattern is more than the sockets on the way hold."""
MIDDLE_PARTS: Final = 100
"""This many parts of at most 64 KiB are half of these events."""

_FETCH: Final = 1
_COMMIT: Final = 8
_JOIN: Final = 11
_LEAVE: Final = 13

_HEADER: Final = struct.Struct(">ihhih")
"""Length, kind, version, number, and the length of the client's name, which follows."""

_FETCH_BEFORE_PARTITIONS: Final = struct.Struct(">iiiibii")

_IMPATIENT = """
from functools import partial
from pattern_metrics.schemas.settings.timing import Timing
from pattern_metrics.consumer.worker import worker
timing = Timing(request=10.0, silence=1.0, answer=5.0, stall=3.0, commit=1.0, leave=1.0, backoff=1.0)
worker.Worker = partial(worker.Worker, timing=timing)
from pattern_metrics.consumer.cli.app import main
main()
"""
"""The worker itself, with shorter waits."""


@dataclass
class Way:
    """A worker with its own topic, database and connections; `settings` bypass these."""

    settings: WorkerSettings
    command: CommandLine
    to_kafka: Proxy
    to_postgres: Proxy
    events: list[PatternScored] = field(default_factory=list)

    async def publish(self, events: Iterable[PatternScored]) -> None:
        async with ScorePublisher(self.settings) as publisher:
            await publisher.publish_many(published := list(events))
        self.events += published

    async def is_written(self) -> bool:
        return await table(self.settings) == expected_table(self.events)

    async def wait_until_written(self, seconds_max: float = SECONDS_MAX) -> float:
        """Return the seconds until the events are in the table."""
        began_at = time.monotonic()
        await eventually(self.is_written, deadline_seconds=seconds_max)
        return time.monotonic() - began_at


Ways = Callable[[int], Awaitable[list[Way]]]


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """Return the ports of the proxies to Kafka, by the listener's name."""
    return {f"WAY{number}": free_port() for number in range(WAYS)}


@pytest.fixture(scope="module")
def kafka(request: pytest.FixtureRequest, ports: dict[str, int]) -> Iterator[ApacheKafka]:
    require_apache(request)
    with ApacheKafka(
        {name: Listener("PLAINTEXT", advertised_port=port) for name, port in ports.items()}
    ) as kafka:
        yield kafka


@pytest.fixture
async def new_ways(
    kafka: ApacheKafka,
    ports: dict[str, int],
    postgres_server: PostgresServer,
    tmp_path: Path,
) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as databases, AsyncExitStack() as proxies:

        async def new_way(listener: str, port: int) -> Way:
            database_url = await databases.enter_async_context(new_database(postgres_server, TEMPLATE))
            to_kafka = await proxies.enter_async_context(Proxy(kafka.port_of(listener), port))
            to_postgres = await proxies.enter_async_context(Proxy(postgres_server.port))
            directory = tmp_path / listener
            directory.mkdir()
            settings = worker_settings(
                kafka.bootstrap_servers,
                f"{tmp_path.name}-{listener}",
                database_url,
                kafka_enable_idempotence=True,
                shutdown_grace_seconds=GRACE_SECONDS,
            )
            await create_topic(settings, partitions=1, replication_factor=1)
            by_detour = database_url.replace(f":{postgres_server.port}/", f":{to_postgres.port}/")
            detour = {
                "kafka_bootstrap_servers": f"127.0.0.1:{port}",
                "database_url": SecretStr(by_detour),
            }
            environment = environment_of(settings.model_copy(update=detour))
            return Way(settings, CommandLine(directory, environment), to_kafka, to_postgres)

        async def new_ways(count: int) -> list[Way]:
            return [await new_way(*named) for named, _ in zip(ports.items(), range(count), strict=False)]

        yield new_ways


def measured(seconds: float, patterns: int = 3, text: str = "") -> list[PatternScored]:
    """Return one event of each pattern."""
    return [an_event(number, seconds, metadata={"text": text}) for number in range(patterns)]


def forget_once(way: Proxy, is_unwanted: Callable[[bytes], bool]) -> list[float]:
    """Forget the first connection with an unwanted chunk. Return a list that gets the moment of it."""
    moments = list[float]()

    def censor(chunk: bytes) -> bytes | None:
        if moments or not is_unwanted(chunk):
            return chunk
        moments.append(time.monotonic())
        return None

    way.censor(censor)
    return moments


def forget_each(way: Proxy, kind: int) -> list[float]:
    """Forget each connection of the group's client with this kind of request. List the moments."""
    moments = list[float]()

    def censor(chunk: bytes) -> bytes | None:
        if not any(is_of_the_group(request, kind) for request in requests_of(chunk)):
            return chunk
        moments.append(time.monotonic())
        return None

    way.censor(censor)
    return moments


def requests_of(chunk: bytes) -> Iterator[bytes]:
    """Yield Kafka's requests, each with its length before it."""
    while chunk:
        end = 4 + int.from_bytes(chunk[:4])
        yield chunk[:end]
        chunk = chunk[end:]


def is_of_the_group(request: bytes, kind: int) -> bool:
    """Return whether a request is of this kind, and from the worker's client (others look for a broker)."""
    _, key, _, _, client_length = _HEADER.unpack_from(request)
    client = request[_HEADER.size : _HEADER.size + client_length]
    return key == kind and client == b"pattern-metrics"


def starve(chunk: bytes) -> bytes:
    """Request no partitions instead of records: Fetch, version 11."""
    starved = b""
    for request in requests_of(chunk):
        if is_of_the_group(request, _FETCH):
            _, _, version, _, client_length = _HEADER.unpack_from(request)
            assert version == 11
            body = request[4 : _HEADER.size + client_length + _FETCH_BEFORE_PARTITIONS.size]
            body += bytes(4 + 4 + 2)  # no partitions, none to forget, no rack
            starved += len(body).to_bytes(4) + body
        else:
            starved += request
    return starved


def in_a_copy(number: int) -> Callable[[bytes], bool]:
    """Return a condition that holds in the middle of the n-th COPY to PostgreSQL."""
    copies = parts = 0

    def is_unwanted(chunk: bytes) -> bool:
        nonlocal copies, parts
        copies += b"FROM STDIN" in chunk
        parts += copies == number
        return parts == MIDDLE_PARTS

    return is_unwanted


def is_commit(chunk: bytes) -> bool:
    """Return whether a chunk commits a transaction of PostgreSQL."""
    return b"COMMIT" in chunk


# A connection that a firewall forgot


async def test_a_forgotten_connection_is_replaced_within_a_minute_by_the_same_process(
    new_ways: Ways,
) -> None:
    async def forget(way: Way, *forgotten: Proxy) -> float:
        async with way.command.worker() as worker:
            await way.publish(measured(1))
            await way.wait_until_written()
            for proxy in forgotten:
                proxy.forget()
            await way.publish(measured(2))
            seconds = await way.wait_until_written(2 * NOTICE_SECONDS_MAX)
            assert len(worker.events("worker_started")) == 1
        return seconds

    async def forget_where(way: Way, is_unwanted: Callable[[bytes], bool], text: str = "") -> float:
        """Forget the connection in the middle of a write."""
        await way.publish(measured(1, PATTERNS, text))
        moments = forget_once(way.to_postgres, is_unwanted)
        async with way.command.worker(history_enabled=True) as worker:
            await way.wait_until_written(3 * NOTICE_SECONDS_MAX)
            assert len(worker.events("worker_started")) == 1
        return time.monotonic() - moments[0]

    kafka, postgres, both, copying, committing = await new_ways(5)
    seconds = await asyncio.gather(
        forget(kafka, kafka.to_kafka),
        forget(postgres, postgres.to_postgres),
        forget(both, both.to_kafka, both.to_postgres),
        forget_where(copying, in_a_copy(2), TEXT),
        forget_where(committing, is_commit),
    )

    print(seconds)  # noqa: T201 - pytest shows it if the test fails, or with -s
    assert max(seconds) < NOTICE_SECONDS_MAX


# A stop


async def test_a_stop_is_obeyed_within_the_grace_time_whatever_hangs(new_ways: Ways) -> None:
    async def stop(worker: WorkerProcess) -> float:
        began_at = time.monotonic()
        assert await worker.terminate() == 0
        return time.monotonic() - began_at

    async def stop_where(way: Way, *frozen: Proxy) -> float:
        async with way.command.worker() as worker:
            await way.publish(measured(1))
            await way.wait_until_written()
            for proxy in frozen:
                proxy.freeze()
            await way.publish(measured(2))
            return await stop(worker)

    async def stop_in_a_copy(way: Way) -> float:
        await way.publish(measured(1, PATTERNS, TEXT))
        moments = forget_once(way.to_postgres, in_a_copy(1))
        async with way.command.worker() as worker:
            await eventually(lambda: moments, deadline_seconds=SECONDS_MAX)
            return await stop(worker)

    async def stop_at(way: Way, kind: int) -> float:
        """Stop the worker while one request to Kafka does not return."""
        await way.publish(measured(1))
        moments = forget_each(way.to_kafka, kind)
        async with way.command.worker() as worker:
            await eventually(lambda: moments, deadline_seconds=SECONDS_MAX)
            return await stop(worker)

    async def leave(way: Way) -> float:
        await way.publish(measured(1))
        moments = forget_each(way.to_kafka, _LEAVE)
        async with way.command.worker() as worker:
            await way.wait_until_written()
            seconds = await stop(worker)
            assert moments
        return seconds

    both, copying, joining, committing, leaving = await new_ways(5)
    seconds = await asyncio.gather(
        stop_where(both, both.to_kafka, both.to_postgres),
        stop_in_a_copy(copying),
        stop_at(joining, _JOIN),
        stop_at(committing, _COMMIT),
        leave(leaving),
    )

    print(seconds)  # noqa: T201 - pytest shows it if the test fails, or with -s
    assert max(seconds) < STOP_SECONDS_MAX


# Repeated failure


async def test_repeated_stalls_end_the_process_and_an_outage_does_not(
    new_ways: Ways,
) -> None:
    async def require_end(way: Way, detail: str) -> None:
        await way.publish(measured(1))
        async with impatient(way).worker() as worker:
            async with asyncio.timeout(2 * SECONDS_MAX):
                assert await worker.process.wait() == 1
            rebuilt = [line["detail"] for line in worker.events("client_rebuilt")]
        assert rebuilt == [detail] * REBUILDS_MAX

    async def require_patience(way: Way, others: Awaitable[object]) -> None:
        async with impatient(way).worker() as worker:
            await way.publish(measured(1))
            await way.wait_until_written()
            way.to_kafka.freeze()
            await others
            assert not worker.events("client_rebuilt")
            way.to_kafka.restore()
            await way.publish(measured(2))
            await way.wait_until_written()
            assert len(worker.events("worker_started")) == 1

    fetching, starved, joining, frozen, committing = await new_ways(5)
    forget_each(fetching.to_kafka, _FETCH)
    forget_each(joining.to_kafka, _JOIN)
    starved.to_kafka.censor(starve)
    starved.to_kafka.slow(0.02)  # otherwise it would poll without a pause
    ends = asyncio.gather(
        require_end(fetching, "a fresh connection gets through, and the client's does not"),
        require_end(starved, "1 partitions have lag, and no record arrives"),
        require_end(joining, "the client could not join the group"),
    )
    await asyncio.gather(require_patience(frozen, ends), ends, require_writing_without_commits(committing))


async def require_writing_without_commits(way: Way) -> None:
    """Check that unanswered commits delay no batch beyond their limit, and are logged until an answer."""
    way.to_kafka.censor(without_commits)
    async with impatient(way).worker() as worker:
        await way.publish(measured(0))
        await worker.wait_for_event("not_ready", component="commit", error="TimeoutError")
        for seconds in range(1, 4):
            await way.publish(measured(seconds))
            await way.wait_until_written()
        assert not worker.events("recovered", component="commit")
        assert not await committed_offsets(way.settings)
        way.to_kafka.restore()
        await worker.wait_for_event("recovered", component="commit")
        await eventually(lambda: has_committed(way), deadline_seconds=SECONDS_MAX)
        assert len(worker.events("worker_started")) == 1
        assert await worker.terminate() == 0
        assert "never retrieved" not in worker.log.read_text()


def without_commits(chunk: bytes) -> bytes:
    """Drop the group's commits."""
    return b"".join(request for request in requests_of(chunk) if not is_of_the_group(request, _COMMIT))


async def has_committed(way: Way) -> bool:
    return (await committed_offsets(way.settings)).get(0) == len(way.events)


def impatient(way: Way) -> CommandLine:
    return replace(way.command, program=(sys.executable, "-c", _IMPATIENT))
