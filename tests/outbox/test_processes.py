"""Several processes on one file: killed, forked, and without the lock that keeps SQLite sound."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pattern_metrics.publisher.outbox import file as module
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.flusher import Flushed, OutboxFlusher
from pattern_metrics.publisher.outbox.place import OutboxError, locked
from pattern_metrics.publisher.outbox.writer import OutboxWriter
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.outbox.rows import a_row, in_child, kept, require_sound, succeeded
from tests.support.kafka import Broker, create_topic

KILLS = int(os.environ.get("OUTBOX_KILLS", "24"))
RACE_SECONDS = float(os.environ.get("OUTBOX_RACE_SECONDS", "2"))
PARTITIONS = 2
BOUND = 1 << 40
"""More bytes than eight writers store in an hour."""

_NUMBER = struct.Struct("=Q")


@contextmanager
def acknowledgements() -> Iterator[tuple[int, Callable[[], set[int]]]]:
    """Yield a descriptor for the numbers of acknowledged events, which a kill cannot take back."""
    reader, writer = os.pipe()
    found, ended = set[int](), False

    def drain() -> None:
        while content := os.read(reader, 8 * 4096):
            found.update(number for (number,) in _NUMBER.iter_unpack(content))

    draining = threading.Thread(target=drain)
    draining.start()

    def collected() -> set[int]:
        nonlocal ended
        if not ended:
            ended = True
            os.close(writer)
            draining.join()
            os.close(reader)
        return found

    try:
        yield writer, collected
    finally:
        collected()


def agent(path: Path, first: int, acknowledged: int) -> None:
    """Publish events from a number on, one or a few at a time, until killed."""
    writer = OutboxWriter(OutboxFile(path))
    choose = random.Random(first)
    while True:
        rows = [
            a_row(first + n, pattern=choose.randrange(50), measured=first + n)
            for n in range(choose.randint(1, 4))
        ]
        stored, error = writer.put([rows])
        assert error is None, error
        os.write(acknowledged, b"".join(_NUMBER.pack(first + n) for n in range(stored)))
        first += len(rows)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def kill_in_rounds(path: Path, acknowledge: int, *others: Callable[[], object], seconds: float) -> None:
    """Run two agents at a time, and other processes beside them, and kill all at a moment that is drawn."""
    choose, ended = random.Random(7), threading.Event()
    for round_ in range(KILLS // 2):
        numbers = [(2 * round_ + which + 1) * 10_000_000 for which in range(2)]
        agents = [partial(agent, path, number, acknowledge) for number in numbers]
        pids = [*map(in_child, agents), *map(in_child, others)]
        ended.wait(choose.uniform(0.01, seconds))
        for pid in choose.sample(pids, len(pids)):
            kill(pid)


def test_no_acknowledged_event_is_lost_when_agents_are_killed(path: Path) -> None:
    with acknowledgements() as (acknowledge, acknowledged):
        kill_in_rounds(path, acknowledge, seconds=0.1)

        left = kept(path)
        require_sound(path)
        assert len(acknowledged()) > KILLS
        assert acknowledged() <= {*left}
    assert len(left) == len({*left})


async def test_every_acknowledged_event_arrives_although_flushers_are_killed(
    apache_kafka: Broker, path: Path
) -> None:
    """They are killed while they connect, deliver, and delete what was delivered."""
    topic = await create_topic(apache_kafka.bootstrap_servers, PARTITIONS)
    settings = KafkaSettings(kafka_bootstrap_servers=apache_kafka.bootstrap_servers, kafka_topic=topic)

    def deliver() -> None:
        asyncio.run(OutboxFlusher(OutboxFile(path), settings, 60).run())

    with acknowledgements() as (acknowledge, acknowledged):
        await asyncio.to_thread(kill_in_rounds, path, acknowledge, deliver, seconds=1.0)

        delivered, left = {*await event_numbers(settings)}, {*kept(path)}
        require_sound(path)
        assert len(acknowledged()) > KILLS
        assert acknowledged() <= left | delivered
    assert delivered
    flusher = OutboxFlusher(OutboxFile(path), settings, 60)
    await flusher.flush(Flushed())
    await flusher.close()
    assert kept(path) == []
    assert left | delivered == {*await event_numbers(settings)}


async def event_numbers(settings: KafkaSettings) -> list[int]:
    """Return the numbers of the events in the topic."""
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers) as consumer:
        partitions = [TopicPartition(settings.kafka_topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found = list[int]()
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                found += [UUID(json.loads(record.value)["event_id"]).int for record in records]
        return found


def race(path: Path, seconds: float) -> tuple[set[int], list[bool]]:
    """Run eight writers and three checkpointers. Return the acknowledged events, and who succeeded."""
    until = time.monotonic() + seconds
    OutboxFile(path).append([[a_row(0)]])

    def write(first: int, acknowledge: int) -> None:
        file, number = OutboxFile(path, max_bytes=BOUND), first
        while time.monotonic() < until:
            assert file.append([[a_row(number, text="x" * 500)]]) == [1]
            os.write(acknowledge, _NUMBER.pack(number))
            number += 1
            if number % 50 == 0:  # the log begins again when everything is moved and nobody reads
                file.settle([row for row in file.newest() if row.measured == 1], [])

    def checkpoint() -> None:
        file = OutboxFile(path)
        while time.monotonic() < until:
            file.checkpoint()

    with acknowledgements() as (acknowledge, acknowledged):
        writers = [in_child(partial(write, (which + 1) * 10_000_000, acknowledge)) for which in range(8)]
        checkpointers = [in_child(checkpoint) for _ in range(3)]
        ended = [succeeded(pid) for pid in (*writers, *checkpointers)]
        return acknowledged(), ended


def test_eight_writers_and_three_checkpointers_lose_nothing(path: Path) -> None:
    acknowledged, ended = race(path, RACE_SECONDS)

    assert all(ended)
    assert acknowledged
    assert acknowledged | {0} == {*kept(path)}
    require_sound(path)
    assert not [each for each in path.parent.iterdir() if "damaged" in each.name]


def test_every_transaction_and_checkpoint_runs_under_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite before 3.51.3 may corrupt a file when one process writes while another one resets its log."""
    held = list[str]()
    statements = list[tuple[str, bool]]()

    @contextmanager
    def watched(name: str, *, seconds: float) -> Iterator[None]:
        with locked(name, seconds=seconds):
            held.append(name)
            yield
            held.remove(name)

    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda sql: statements.append((sql, f"{path}.lock" in held)))
        return connection

    monkeypatch.setattr(module, "locked", watched)
    monkeypatch.setattr(sqlite3, "connect", traced)
    monkeypatch.setattr(module, "_CHECKPOINT_FRAMES", 3)
    file = OutboxFile(path)
    for n in range(20):
        file.append([[a_row(n)]])
    file.settle(file.newest()[:5], [(row, "no") for row in file.newest()[5:6]])
    list(file.each())
    file.status()
    file.discard()
    file.compact()
    file.checkpoint()
    file.close()

    words = {sql.split()[0] for sql, _ in statements}
    assert {"BEGIN", "COMMIT", "INSERT", "DELETE", "UPDATE", "SELECT", "PRAGMA", "VACUUM"} <= words
    assert any("wal_checkpoint" in sql for sql, _ in statements)
    assert [sql for sql, is_held in statements if not is_held] == []


# Forks


def test_a_child_that_was_forked_in_the_middle_of_a_publish_stores_its_own(path: Path) -> None:
    writer = OutboxWriter(OutboxFile(path))
    is_over = threading.Event()
    stored = list[int]()

    def publish() -> None:
        while not is_over.is_set():
            assert writer.put([[a_row(len(stored))]]) == (1, None)
            stored.append(len(stored))

    threads = [threading.Thread(target=publish)]
    for thread in threads:
        thread.start()
    try:
        children = []
        for number in range(10):

            def work(number: int = number) -> None:
                assert writer.put([[a_row(1_000_000 + number)]]) == (1, None)
                writer.close()

            children.append(in_child(work))
        ended = [succeeded(pid) for pid in children]
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    writer.close()

    assert all(ended)
    assert {*kept(path)} == {*stored} | {1_000_000 + number for number in range(10)}
    require_sound(path)


def test_a_fork_leaves_no_connection_open(file: OutboxFile) -> None:
    """SQLite remembers the locks of a file by process, so that a child must not inherit an open one."""
    file.append([[a_row(1)]])

    def listed() -> None:
        names = []
        for each in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                names.append(str(each.readlink()))
        assert not [name for name in names if name.startswith(file.path)], names

    assert succeeded(in_child(listed))
    assert file.append([[a_row(2)]]) == [1]


def test_a_child_holds_no_lock_of_its_parent(path: Path) -> None:
    path.parent.mkdir()
    with locked(f"{path}.flush", seconds=0):
        reader, writer = os.pipe()

        def wait() -> None:
            os.close(writer)
            os.read(reader, 1)

        pid = in_child(wait)
        parent = in_child(lambda: None)
        assert succeeded(parent)
    try:
        with locked(f"{path}.flush", seconds=0):
            pass
    finally:
        os.close(writer)
        os.close(reader)
        assert succeeded(pid)


def test_a_fork_that_python_did_not_see_is_an_error(
    file: OutboxFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.append([[a_row(1)]])
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)

    with pytest.raises(OutboxError, match="forked"):
        file.append([[a_row(2)]])
