"""The system under test: real servers, installed workers, a producer, and a proxy on each connection."""

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import asyncpg
from pydantic import SecretStr

from pattern_metrics.consumer.demo.embedded import PostgresServer, free_port
from pattern_metrics.consumer.kafka.broker import create_topic
from pattern_metrics.consumer.operations.migration import migrate_up
from pattern_metrics.consumer.settings import WorkerSettings
from tests.adversity.load import Load
from tests.support.command import CommandLine, WorkerProcess, environment_of
from tests.support.kafka import ApacheKafka, Listener
from tests.support.load import WATCH_FOR_STEPS_BACK
from tests.support.pipeline import worker_settings
from tests.support.proxy import Proxy

WORKERS = 3
PARTITIONS = 4
GRACE_SECONDS = 8
BATCH_RECORDS_MAX = 500
DATABASE = "metrics"

# A crash of the machine is not among the faults. A server that forgets its last seconds in a crash is: so
# does a standby that is promoted before it has everything.
_POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
}

_SMALL_DISK_BYTES = 256 * 1024 * 1024


class Happening(NamedTuple):
    """A line of the history."""

    seconds: float
    kind: str
    what: str


@dataclass
class Member:
    """One of the workers, in whichever process it runs, and its connections to the servers."""

    name: str
    command: CommandLine
    to_kafka: Proxy
    to_postgres: Proxy
    processes: list[WorkerProcess] = field(default_factory=list)

    @property
    def worker(self) -> WorkerProcess:
        """The present process."""
        return self.processes[-1]


@dataclass
class World:
    """The parts that faults break and checks read; `settings` bypass all proxies."""

    directory: Path
    settings: WorkerSettings
    kafka: ApacheKafka
    postgres: PostgresServer
    small_disk: Path | None
    members: list[Member]
    load: Load
    agents_to_kafka: Proxy
    history: list[Happening] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _began_at: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return the age of the system."""
        return time.monotonic() - self._began_at

    def tell(self, kind: str, what: str) -> None:
        """Add a line to the history."""
        self.history.append(Happening(self.seconds, kind, what))

    async def start(self, member: Member) -> None:
        """Start a worker, or its next process."""
        running = member.command.worker(batch_max_records=BATCH_RECORDS_MAX)
        member.processes.append(await self._stack.enter_async_context(running))
        await member.worker.wait_for_event("worker_started")  # from now on it handles signals

    async def execute(self, *statements: str, database: str = DATABASE) -> None:
        """Run statements as an administrator would."""
        connection = await asyncpg.connect(self.postgres.dsn(database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def new_world(directory: Path, chance: random.Random) -> AsyncIterator[World]:
    """Start everything: the workers have joined, and the producer runs. Only the logs stay after the end."""
    async with AsyncExitStack() as stack:
        ways = {f"WAY{number}": free_port() for number in range(WORKERS + 1)}
        listeners = {name: Listener("PLAINTEXT", advertised_port=port) for name, port in ways.items()}
        kafka = stack.enter_context(ApacheKafka(listeners))
        small_disk = stack.enter_context(_small_disk())
        postgres = stack.enter_context(PostgresServer(settings=_POSTGRES_SETTINGS))
        settings = await _prepare(kafka, postgres, small_disk)
        detours = [
            await stack.enter_async_context(Proxy(kafka.port_of(name), port)) for name, port in ways.items()
        ]
        members = [
            _member(
                settings, directory, to_kafka, await stack.enter_async_context(Proxy(postgres.port)), number
            )
            for number, to_kafka in enumerate(detours[:WORKERS])
        ]
        load = Load(_by_way_of(settings, kafka=detours[-1]), chance)
        world = World(directory, settings, kafka, postgres, small_disk, members, load, detours[-1])
        await stack.enter_async_context(world._stack)
        for member in members:
            await world.start(member)
        for member in members:
            await member.worker.wait_for_event("reading_from")
        async with load.running():
            yield world


def _member(
    settings: WorkerSettings, directory: Path, to_kafka: Proxy, to_postgres: Proxy, number: int
) -> Member:
    own = directory / f"worker {number}"
    own.mkdir()
    environment = environment_of(_by_way_of(settings, kafka=to_kafka, postgres=to_postgres))
    return Member(own.name, CommandLine(own, environment), to_kafka, to_postgres)


def _by_way_of(settings: WorkerSettings, *, kafka: Proxy, postgres: Proxy | None = None) -> WorkerSettings:
    changes: dict[str, object] = {"kafka_bootstrap_servers": f"127.0.0.1:{kafka.port}"}
    if postgres is not None:
        changes["database_url"] = SecretStr(f"postgresql://postgres@127.0.0.1:{postgres.port}/{DATABASE}")
    return settings.model_copy(update=changes)


async def _prepare(kafka: ApacheKafka, postgres: PostgresServer, small_disk: Path | None) -> WorkerSettings:
    """Create topic and tables. The tables that grow are on the small disk."""
    settings = worker_settings(
        kafka.bootstrap_servers,
        "pattern-scored.v1",
        postgres.dsn(DATABASE),
        kafka_enable_idempotence=True,
        shutdown_grace_seconds=GRACE_SECONDS,
    )
    await create_topic(settings, partitions=PARTITIONS, replication_factor=1)
    administrator = await asyncpg.connect(postgres.dsn())
    try:
        await administrator.execute(f"CREATE DATABASE {DATABASE}")
        if small_disk is not None:
            space = _give_to(postgres, small_disk)
            await administrator.execute(f"CREATE TABLESPACE small_disk LOCATION '{space}'")
    finally:
        await administrator.close()
    await migrate_up(postgres.dsn(DATABASE))
    administrator = await asyncpg.connect(postgres.dsn(DATABASE))
    try:
        await administrator.execute(WATCH_FOR_STEPS_BACK)
        if small_disk is not None:
            for table in ("pattern_quality_metrics", "dead_letters"):
                await administrator.execute(f"ALTER TABLE {table} SET TABLESPACE small_disk")
    finally:
        await administrator.close()
    return settings


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    """Mount a small file system that can be filled; yield None if we may not mount one."""
    path = Path(tempfile.mkdtemp(prefix="pattern-metrics-small-disk-"))
    options = f"size={_SMALL_DISK_BYTES},mode=0755"
    is_mounted = shutil.which("mount") is not None and (
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=False).returncode == 0
    )
    try:
        yield path if is_mounted else None
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


def _give_to(postgres: PostgresServer, small_disk: Path) -> Path:
    """Return a directory for a tablespace, owned by the server's user."""
    space = small_disk / "space"
    space.mkdir()
    owner = postgres.directory.stat()
    os.chown(space, owner.st_uid, owner.st_gid)
    return space
