"""The scenarios `publish` and `outbox`: publishers beside each other, and what kills lose."""

import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.events import Shape, generate
from benchmarks.peers import CONFLUENT_VERSION, confluent_python
from benchmarks.progress import show
from benchmarks.report import machine_text
from benchmarks.setting import machine
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.flusher import Flushed, OutboxFlusher
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.support.kafka import ApacheKafka, create_topic

SCENARIOS: Final = ("publish", "outbox")

_PROGRAM: Final = Path(__file__).with_name("publishing_program.py")
OURS: Final = "pattern-metrics"
_STORING: Final = "pattern-metrics --outbox"
_PEERS: Final = ("aiokafka", "confluent-kafka")
_MICRO: Final = 1e6
_SYNCS: Final = 500
_ENDLESS: Final = 200_000
_KILL_SECONDS: Final = 1.0


def measure(scenarios: Sequence[str], directory: Path, *, is_quick: bool) -> None:
    """Measure these scenarios, and write `publishing.md`."""
    load = os.getloadavg()[0]
    events, repetitions, kills = (5_000, 1, 2) if is_quick else (50_000, 3, 5)
    with tempfile.TemporaryDirectory(dir=directory) as scratch, ApacheKafka() as kafka:
        bench = PublisherBench(kafka.bootstrap_servers, Path(scratch), events, repetitions)
        parts = ["# Publishing\n", bench.conditions(load)]
        if "publish" in scenarios:
            parts += [
                f"## Publish: {events:,} events, each acknowledged by Kafka, or synced to the outbox\n",
                bench.publishing(),
                f"## Kills: events that were lost although their call had returned, in {kills} kills\n",
                asyncio.run(bench.kills(kills)),
            ]
        if "outbox" in scenarios:
            parts += ["## Outbox: storing, and delivering\n", bench.storing(), bench.hook()]
    page = "\n".join(parts)
    (directory / "publishing.md").write_text(page, encoding="utf-8")
    sys.stdout.write(page)


class PublisherBench:
    """Runs publishers against a broker.

    Args:
        bootstrap: the broker.
        scratch: a directory for outboxes.
        events: the number of events of a run.
        repetitions: the number of runs of which a figure is the median.
    """

    def __init__(self, bootstrap: str, scratch: Path, events: int, repetitions: int) -> None:
        self._bootstrap = bootstrap
        self._scratch = scratch
        self._events = events
        self._repetitions = repetitions

    def conditions(self, load: float) -> str:
        """Return date, machine, versions and load, and what its disk can do."""
        return (
            f"Measured on {datetime.now(UTC).date()}: {machine_text(machine())}; client and broker share "
            f"them. Load average of the minute before: {load:.1f}. The disk of the outbox: "
            f"{self._syncs():,.0f} fdatasync/s of 4 KiB. Python {platform.python_version()}, Apache Kafka "
            f"4.4.0, aiokafka {version('aiokafka')}, confluent-kafka {CONFLUENT_VERSION}. A figure is the "
            f"median of {self._repetitions} runs. How it is measured: "
            "[docs/how-to/benchmark.md](../../docs/how-to/benchmark.md#publishers).\n"
        )

    def _syncs(self) -> float:
        """Return how often a second the disk of the outbox can sync a page."""
        with (self._scratch / "syncs").open("wb") as file:
            file.write(bytes(4096 * 256))
            os.fsync(file.fileno())
            began = time.monotonic()
            for number in range(_SYNCS):
                os.pwrite(file.fileno(), bytes(4096), 4096 * (number % 256))
                os.fdatasync(file.fileno())
            return _SYNCS / (time.monotonic() - began)

    def publishing(self) -> str:
        """Return the table of all systems with many events at once."""
        rows = list[Sequence[str]]()
        for system in (OURS, _STORING, *_PEERS):
            rows.append((system, *self._figures(system, "many", self._events)))
        return table(("system", "events/s", "CPU µs/event", "peak MB"), rows)

    def storing(self) -> str:
        """Return the table of the outbox: one caller, many together, many events, and the flush."""
        rows = [
            (f"{work} callers" if work != "many" else "publish_many", *self._figures(_STORING, work, count))
            for work, count in (("1", 2_000), ("64", 30_000), ("many", self._events))
        ]
        flushes, direct = list[float](), list[float]()
        for _ in range(self._repetitions):
            flushes.append(asyncio.run(self._flush()))
            topic = asyncio.run(create_topic(self._bootstrap))
            direct.append(self.run(OURS, "many", topic, self._events, "")["rate"])
            show(
                f"flush to Kafka: {flushes[-1]:,.0f} events/s; publish_many without outbox: {direct[-1]:,.0f}"
            )
        rows.append(("flush to Kafka", f"{median(flushes):,.0f}", "", ""))
        rows.append(("publish_many without outbox, by turns with flush", f"{median(direct):,.0f}", "", ""))
        return table(("work", "events/s", "CPU µs/event", "peak MB"), rows)

    def hook(self) -> str:
        """Return the CPU time of one line through `publish - --outbox`, beside the interpreter's start."""
        environment = {**os.environ, "OUTBOX_PATH": str(self._scratch / "hook.db")}
        line = next(event for _, event in generate(Shape("hook", 10))).to_json()
        start = _cpu([sys.executable, "-c", "import sqlite3"], b"", environment)
        hook = _cpu(
            [Path(sys.executable).with_name("pattern-metrics"), "publish", "-", "--outbox"], line, environment
        )
        return (
            f"`publish - --outbox` of one line: {hook * 1000:.0f} ms of CPU, {hook / start:.1f} starts of an "
            "interpreter that imports `sqlite3`.\n"
        )

    async def kills(self, kills: int) -> str:
        """Return the table of events that were lost although their call had returned."""
        rows = list[Sequence[str]]()
        for system in (OURS, _STORING, *_PEERS):
            returned = lost = 0
            for _ in range(kills):
                ids, topic = await self._killed(system)
                returned, lost = returned + len(ids), lost + len(ids - await self._read(topic))
            rows.append((system, f"{returned:,}", f"{lost:,}"))
            show(f"kills: {system}: {lost:,} of {returned:,}")
        return table(("system", "calls that returned", "events lost"), rows)

    async def _killed(self, system: str) -> tuple[set[str], str]:
        topic = await create_topic(self._bootstrap, partitions=1)
        with self._outbox(system) as outbox:
            process = await asyncio.create_subprocess_exec(
                *self._command(system, "endless", topic, _ENDLESS, outbox), stdout=subprocess.PIPE
            )
            assert process.stdout is not None  # noqa: S101
            ids = {(await process.stdout.readline()).decode().strip()}
            kill = asyncio.get_running_loop().call_later(_KILL_SECONDS, process.kill)
            ids |= set((await process.stdout.read()).decode().split("\n")[:-1])
            kill.cancel()
            await process.wait()
            if outbox:
                await self._deliver(outbox, topic)
        return ids, topic

    async def _read(self, topic: str) -> set[str]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, auto_offset_reset="earliest")
        partition, found = TopicPartition(topic, 0), set[str]()
        async with consumer:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    found |= {json.loads(record.value)["event_id"] for record in records}
        return found

    async def _flush(self) -> float:
        topic = await create_topic(self._bootstrap)
        with self._outbox(_STORING) as outbox:
            await asyncio.to_thread(self.run, _STORING, "many", topic, self._events, outbox)
            began = time.monotonic()
            return await self._deliver(outbox, topic) / (time.monotonic() - began)

    async def _deliver(self, outbox: str, topic: str) -> int:
        settings = KafkaSettings(kafka_bootstrap_servers=self._bootstrap, kafka_topic=topic)
        flushed, flusher = Flushed(), OutboxFlusher(OutboxFile(outbox), settings, 60)
        await flusher.flush(flushed)
        await flusher.close()
        return flushed.delivered

    def _figures(self, system: str, work: str, count: int) -> Sequence[str]:
        runs = []
        for _ in range(self._repetitions):
            topic = asyncio.run(create_topic(self._bootstrap))
            with self._outbox(system) as outbox:
                runs.append(self.run(system, work, topic, count, outbox))
            show(f"{system}, {work}: {runs[-1]['rate']:,.0f} events/s")
        rate, cpu, peak = (median(run[name] for run in runs) for name in ("rate", "cpu", "peak"))
        return f"{rate:,.0f}", f"{cpu * _MICRO:,.1f}", f"{peak / _MICRO:,.0f}"

    def run(self, system: str, work: str, topic: str, count: int, outbox: str) -> dict[str, Any]:
        """Run a publisher as a program, and return its figures."""
        command = self._command(system, work, topic, count, outbox)
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own program
        figures: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return figures

    def _command(self, system: str, work: str, topic: str, count: int, outbox: str) -> list[str | Path]:
        python = confluent_python() if system == "confluent-kafka" else Path(sys.executable)
        return [python, _PROGRAM, system, work, self._bootstrap, topic, str(count), outbox]

    @contextmanager
    def _outbox(self, system: str) -> Iterator[str]:
        with tempfile.TemporaryDirectory(dir=self._scratch) as directory:
            yield str(Path(directory) / "outbox.db") if system == _STORING else ""


def _cpu(command: Sequence[str | Path], stdin: bytes, environment: dict[str, str]) -> float:
    least = float("inf")
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, input=stdin, env=environment, check=True, capture_output=True)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
