"""Connections that are neither alive nor closed: whatever waits for one, the worker gets over it in time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from consumer.embedded import PostgresServer, free_port
from consumer.kafka import create_topic
from consumer.session import LEAVE_SECONDS_MAX
from consumer.settings import WorkerSettings
from publisher import ScorePublisher
from schemas.pattern_scored import PatternScored
from tests.support.command import SECONDS_MAX, CommandLine, environment_of
from tests.support.kafka import ApacheKafka, Listener, require_apache
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.postgres import new_database
from tests.support.proxy import CHUNK_BYTES, Proxy
from tests.support.waiting import eventually

WAYS = 5

NOTICE_SECONDS_MAX = 60.0

GRACE_SECONDS = 4

STOP_SECONDS_MAX = GRACE_SECONDS + LEAVE_SECONDS_MAX + 5
"""Its grace, to leave the group, and what a busy machine takes to close down."""

_FETCH: Final = 1
_COMMIT: Final = 8
_JOIN: Final = 11
_LEAVE: Final = 13

_CLIENT = b"pattern-metrics"
"""What the client of the group calls itself; connections that only look whether there is a broker do not."""

_IMPATIENT = """
import consumer.session, consumer.watching, consumer.worker
consumer.session.SILENCE_SECONDS = consumer.watching.SILENCE_SECONDS = 2.0
consumer.session.ANSWER_SECONDS_MAX = consumer.watching.STALL_SECONDS = 6.0
consumer.worker.BACKOFF_SECONDS_MAX = 1.0
from consumer.cli import main
main()
"""
"""The worker itself, which only waits for less time."""


@dataclass
class Way:
    """A worker with a topic and a database of its own, and its ways there; `settings` go round them."""

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
        """How long it took."""
        began_at = time.monotonic()
        await eventually(self.is_written, deadline_seconds=seconds_max)
        return time.monotonic() - began_at


Ways = Callable[[int], Awaitable[list[Way]]]


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """Where the proxies to Kafka are, by the name of its listener behind."""
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
    template_name: str,
    tmp_path: Path,
) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:

        async def new_way(listener: str, port: int) -> Way:
            database_url = await stack.enter_async_context(new_database(postgres_server, template_name))
            to_kafka = await stack.enter_async_context(Proxy(kafka.port_of(listener), port))
            to_postgres = await stack.enter_async_context(Proxy(postgres_server.port))
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
    """One event of each pattern."""
    return [an_event(number, seconds, metadata={"text": text}) for number in range(patterns)]


def forget_once(way: Proxy, is_unwanted: Callable[[bytes], bool]) -> list[float]:
    """Forget the first connection on which this comes; where it did, that moment."""
    moments = list[float]()

    def censor(chunk: bytes) -> bytes | None:
        if moments or not is_unwanted(chunk):
            return chunk
        moments.append(time.monotonic())
        return None

    way.censor(censor)
    return moments


def is_copy(chunk: bytes) -> bool:
    """Whether it is an early part of much that is copied to PostgreSQL."""
    return chunk.startswith(b"d") and len(chunk) == CHUNK_BYTES


def is_commit(chunk: bytes) -> bool:
    """Whether it commits a transaction of PostgreSQL."""
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
        """In the middle of a write."""
        await way.publish(measured(1, 500, text))
        async with way.command.worker() as worker:
            moments = forget_once(way.to_postgres, is_unwanted)
            await way.wait_until_written(3 * NOTICE_SECONDS_MAX)
            assert len(worker.events("worker_started")) == 1
        return time.monotonic() - moments[0]

    kafka, postgres, both, copying, committing = await new_ways(5)
    seconds = await asyncio.gather(
        forget(kafka, kafka.to_kafka),
        forget(postgres, postgres.to_postgres),
        forget(both, both.to_kafka, both.to_postgres),
        forget_where(copying, is_copy, "a" * 60_000),  # more than the sockets between hold
        forget_where(committing, is_commit),  # the locks stay until the server gives up
    )

    print(seconds)  # noqa: T201 - shown where the test fails, and by -s
    assert max(seconds) < NOTICE_SECONDS_MAX
