"""The closed table of faults: the target of each and its duration. Each is undone at its end."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum, auto
from typing import Final, NamedTuple

import asyncpg
from aiokafka.admin import NewPartitions
from aiokafka.errors import UnknownTopicOrPartitionError

from pattern_metrics.consumer.demo.embedded import EmbeddedServer
from pattern_metrics.consumer.kafka.broker import create_topic, require_topic
from pattern_metrics.consumer.kafka.clients import SESSION_TIMEOUT_MS
from pattern_metrics.schemas.settings.timing import TIMING
from tests.adversity.checks import Violation, require_accounts, require_running, require_settled
from tests.adversity.world import DATABASE, GRACE_SECONDS, PARTITIONS, Member, World
from tests.support.command import SECONDS_MAX
from tests.support.kafka import administering
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, hold

STOP_SECONDS_MAX: Final = GRACE_SECONDS + TIMING.leave + 15
"""Longest time for a SIGTERM: the grace time, leaving the group, and closing down on a busy machine."""

PARTITIONS_MAX: Final = 12

_SESSION_SECONDS: Final = SESSION_TIMEOUT_MS / 1000


class Kind(StrEnum):
    """The kinds of faults."""

    WORKER_KILLED = auto()
    WORKER_TERMINATED = auto()
    WORKER_FROZEN = auto()
    POSTGRES_STOPPED = auto()
    POSTGRES_SESSIONS_TERMINATED = auto()
    POSTGRES_DISK_FULL = auto()
    POSTGRES_READ_ONLY = auto()
    POSTGRES_LOCKED = auto()
    KAFKA_KILLED = auto()
    KAFKA_FROZEN = auto()
    CONNECTIONS_CUT = auto()
    CONNECTIONS_SLOWED = auto()
    CONNECTIONS_HALF_OPEN = auto()
    CONNECTIONS_FORGOTTEN = auto()
    CLOCKS_OFF = auto()
    PARTITIONS_ADDED = auto()
    TOPIC_RECREATED = auto()


class Target(StrEnum):
    """The target of a fault. One target has one fault at a time."""

    WORKERS = auto()
    POSTGRES = auto()
    KAFKA = auto()
    NETWORK = auto()
    AGENTS = auto()


Act = Callable[[World, random.Random, float], Awaitable[None]]
"""Begins a fault, lasts for `seconds`, and undoes it."""


class Fault(NamedTuple):
    """One line of the table."""

    target: Target
    seconds_min: float
    seconds_max: float
    act: Act


# Workers


def _one_or_all(world: World, chance: random.Random) -> list[Member]:
    return chance.choice([*([member] for member in world.members), world.members])


def _names(members: list[Member]) -> str:
    return ", ".join(member.name for member in members)


async def _kill_workers(world: World, chance: random.Random, seconds: float) -> None:
    members = _one_or_all(world, chance)
    world.tell(Kind.WORKER_KILLED, f"{_names(members)} for {seconds:.1f} s")
    for member in members:
        require_running(member)
        await member.worker.kill()
        require_accounts(member.worker)
    await hold(seconds)
    for member in members:
        await world.start(member)


async def _terminate_workers(world: World, chance: random.Random, seconds: float) -> None:
    members = _one_or_all(world, chance)
    world.tell(Kind.WORKER_TERMINATED, f"{_names(members)} for {seconds:.1f} s")
    await terminate(members)
    await hold(seconds)
    for member in members:
        await world.start(member)


async def terminate(members: list[Member]) -> None:
    """Send SIGTERM, which has to be obeyed in time, whatever else happens."""
    for member in members:
        require_running(member)
    codes = await asyncio.gather(
        *(member.worker.terminate(STOP_SECONDS_MAX) for member in members), return_exceptions=True
    )
    for member, code in zip(members, codes, strict=True):
        if code != 0:
            raise Violation(f"{member.name} answered SIGTERM with {code!r} within {STOP_SECONDS_MAX} s")
        require_accounts(member.worker)


async def _freeze_workers(world: World, chance: random.Random, seconds: float) -> None:
    """Freeze workers for longer than their session. They wake up and believe that they own partitions."""
    members = _one_or_all(world, chance)
    world.tell(Kind.WORKER_FROZEN, f"{_names(members)} for {seconds:.1f} s")
    await asyncio.gather(*(_freeze(member.worker.process.pid, seconds) for member in members))


async def _freeze(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await hold(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


# PostgreSQL


async def _stop_postgres(world: World, chance: random.Random, seconds: float) -> None:
    world.tell(Kind.POSTGRES_STOPPED, f"at once, for {seconds:.1f} s")
    os.kill(world.postgres.pid, chance.choice((signal.SIGQUIT, signal.SIGKILL)))
    await _away(world.postgres, seconds)


async def _away(server: EmbeddedServer, seconds: float) -> None:
    await asyncio.to_thread(server.kill)
    await hold(seconds)
    await asyncio.to_thread(server.start)


_TERMINATE_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pattern-metrics'"
)


async def _terminate_sessions(world: World, chance: random.Random, seconds: float) -> None:
    times = chance.randint(1, 3)
    world.tell(Kind.POSTGRES_SESSIONS_TERMINATED, f"{times} times")
    for _ in range(times):
        await world.execute(_TERMINATE_SESSIONS)
        await hold(seconds)


async def _fill_disk(world: World, _: random.Random, seconds: float) -> None:
    assert world.small_disk is not None
    world.tell(Kind.POSTGRES_DISK_FULL, f"for {seconds:.1f} s")
    filler = world.small_disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        await hold(seconds)
    finally:
        filler.unlink()


async def _turn_read_only(world: World, _: random.Random, seconds: float) -> None:
    world.tell(Kind.POSTGRES_READ_ONLY, f"for {seconds:.1f} s")
    setting = f"ALTER DATABASE {DATABASE} SET default_transaction_read_only"
    await world.execute(f"{setting} = on", _TERMINATE_SESSIONS, database="postgres")
    try:
        await hold(seconds)
    finally:
        await world.execute(f"{setting} = off", database="postgres")


async def _hold_locks(world: World, chance: random.Random, seconds: float) -> None:
    statement = chance.choice(
        (
            "LOCK TABLE pattern_quality_metrics IN ACCESS EXCLUSIVE MODE",
            "LOCK TABLE ingest_progress IN EXCLUSIVE MODE",
            "LOCK TABLE dead_letters IN SHARE MODE",
            "SELECT 1 FROM pattern_quality_metrics ORDER BY pattern_id DESC LIMIT 50 FOR UPDATE",
        )
    )
    world.tell(Kind.POSTGRES_LOCKED, f"{statement} for {seconds:.1f} s")
    connection = await asyncpg.connect(world.postgres.dsn(DATABASE))
    try:
        async with connection.transaction():
            await connection.execute(statement)
            await hold(seconds)
    finally:
        await connection.close()


# Kafka


async def _kill_kafka(world: World, _: random.Random, seconds: float) -> None:
    world.tell(Kind.KAFKA_KILLED, f"for {seconds:.1f} s")
    await _away(world.kafka, seconds)


async def _freeze_kafka(world: World, _: random.Random, seconds: float) -> None:
    world.tell(Kind.KAFKA_FROZEN, f"for {seconds:.1f} s")
    await _freeze(world.kafka.pid, seconds)


async def _add_partitions(world: World, chance: random.Random, seconds: float) -> None:
    """Add partitions, the one fault that cannot be undone. Patterns move to other partitions."""
    topic = world.settings.kafka_topic
    before = await require_topic(world.settings)
    count = min(before + chance.randint(1, 3), PARTITIONS_MAX)
    world.tell(Kind.PARTITIONS_ADDED, f"{before} → {count}")
    if count > before:
        async with administering(world.settings.kafka_bootstrap_servers) as admin:
            await admin.create_partitions({topic: NewPartitions(count)})
    await hold(seconds)


async def _recreate_topic(world: World, chance: random.Random, seconds: float) -> None:
    """Recreate the topic after everything was read, because unread records would be lost with it."""
    await world.load.pause()
    await require_settled(world)
    before = await require_topic(world.settings)
    count = chance.choice((before, PARTITIONS))
    world.tell(Kind.TOPIC_RECREATED, f"{before} → {count} partitions, after {seconds:.1f} s")
    async with administering(world.settings.kafka_bootstrap_servers) as admin:
        await admin.delete_topics([world.settings.kafka_topic])
    await eventually(lambda: _topic_is_gone(world), deadline_seconds=SECONDS_MAX)
    await hold(seconds)
    await create_topic(world.settings, partitions=count, replication_factor=1)
    world.load.resume()


async def _topic_is_gone(world: World) -> bool:
    try:
        await require_topic(world.settings)
    except UnknownTopicOrPartitionError:
        return True
    return False


# The network


def _some_proxies(world: World, chance: random.Random) -> tuple[str, list[Proxy]]:
    """Return the proxies of one connection, of one party, or of all."""

    def ways_of(member: Member) -> list[Proxy]:
        return [member.to_kafka, member.to_postgres]

    member = chance.choice(world.members)
    everywhere = [world.agents_to_kafka, *(proxy for each in world.members for proxy in ways_of(each))]
    return chance.choice(
        [
            ("agents to Kafka", [world.agents_to_kafka]),
            (f"{member.name} to Kafka", [member.to_kafka]),
            (f"{member.name} to PostgreSQL", [member.to_postgres]),
            (f"{member.name} to both", ways_of(member)),
            ("workers to Kafka", [each.to_kafka for each in world.members]),
            ("workers to PostgreSQL", [each.to_postgres for each in world.members]),
            ("everywhere", everywhere),
        ]
    )


def _on_network(kind: Kind, act: Callable[[Proxy], None]) -> Act:
    async def fault(world: World, chance: random.Random, seconds: float) -> None:
        where, proxies = _some_proxies(world, chance)
        world.tell(kind, f"{where} for {seconds:.1f} s")
        for proxy in proxies:
            act(proxy)
        try:
            await hold(seconds)
        finally:
            for proxy in proxies:
                proxy.restore()

    return fault


async def _slow_connections(world: World, chance: random.Random, seconds: float) -> None:
    delay = chance.choice((0.05, 0.3, 1.0))
    await _on_network(Kind.CONNECTIONS_SLOWED, lambda proxy: proxy.slow(delay))(world, chance, seconds)


# The agents


async def _set_clock(world: World, chance: random.Random, seconds: float) -> None:
    """Set the agents' clock minutes behind, as far ahead as is allowed, or so far that events are refused."""
    minutes = chance.choice((-30, -5, 4, 120, 600))
    world.tell(Kind.CLOCKS_OFF, f"{minutes:+} min for {seconds:.1f} s")
    world.load.clock = timedelta(minutes=minutes)
    try:
        await hold(seconds)
    finally:
        world.load.clock = timedelta()


FAULTS: Final[Mapping[Kind, Fault]] = {
    Kind.WORKER_KILLED: Fault(Target.WORKERS, 0, 15, _kill_workers),
    Kind.WORKER_TERMINATED: Fault(Target.WORKERS, 0, 5, _terminate_workers),
    Kind.WORKER_FROZEN: Fault(Target.WORKERS, _SESSION_SECONDS + 2, _SESSION_SECONDS + 15, _freeze_workers),
    Kind.POSTGRES_STOPPED: Fault(Target.POSTGRES, 1, 15, _stop_postgres),
    Kind.POSTGRES_SESSIONS_TERMINATED: Fault(Target.POSTGRES, 0.3, 2, _terminate_sessions),
    Kind.POSTGRES_DISK_FULL: Fault(Target.POSTGRES, 4, 15, _fill_disk),
    Kind.POSTGRES_READ_ONLY: Fault(Target.POSTGRES, 3, 15, _turn_read_only),
    Kind.POSTGRES_LOCKED: Fault(Target.POSTGRES, 3, 20, _hold_locks),
    Kind.KAFKA_KILLED: Fault(Target.KAFKA, 1, 15, _kill_kafka),
    Kind.KAFKA_FROZEN: Fault(Target.KAFKA, 5, 30, _freeze_kafka),
    Kind.CONNECTIONS_CUT: Fault(Target.NETWORK, 0.1, 10, _on_network(Kind.CONNECTIONS_CUT, Proxy.cut)),
    Kind.CONNECTIONS_SLOWED: Fault(Target.NETWORK, 5, 20, _slow_connections),
    Kind.CONNECTIONS_HALF_OPEN: Fault(
        Target.NETWORK, 6, 75, _on_network(Kind.CONNECTIONS_HALF_OPEN, Proxy.freeze)
    ),
    Kind.CONNECTIONS_FORGOTTEN: Fault(
        Target.NETWORK, 0, 1, _on_network(Kind.CONNECTIONS_FORGOTTEN, Proxy.forget)
    ),
    Kind.CLOCKS_OFF: Fault(Target.AGENTS, 3, 20, _set_clock),
    Kind.PARTITIONS_ADDED: Fault(Target.KAFKA, 0, 5, _add_partitions),
    Kind.TOPIC_RECREATED: Fault(Target.KAFKA, 0, 10, _recreate_topic),
}
