"""The demonstration: the main job on embedded services, described while it runs."""

import asyncio
import socket
import sysconfig
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from pattern_metrics.consumer.api.ingestion import Watched
from pattern_metrics.consumer.dashboard.page import Page
from pattern_metrics.consumer.demo.embedded import HOST, EmbeddedBroker, PostgresServer
from pattern_metrics.consumer.demo.sql import statement
from pattern_metrics.consumer.http.access import load_access
from pattern_metrics.consumer.http.listening import address_of, take_port
from pattern_metrics.consumer.http.probes import serving
from pattern_metrics.consumer.kafka.broker import create_topic
from pattern_metrics.consumer.operations.migration import migrate_up
from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.consumer.settings import ApiSettings, HttpSettings, WorkerSettings, load
from pattern_metrics.consumer.worker.worker import Worker
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.publisher.scoring.scorer import score_sources
from pattern_metrics.publisher.scoring.sources import find_sources
from pattern_metrics.schemas.bands import BANDS, band_of
from pattern_metrics.schemas.pattern_scored import PatternScored

PARTITIONS: Final = 3
POISON: Final = b'{"pattern_id": "not a UUID", "quality_score": "high"'
READ_SECONDS_MAX: Final = 60.0

_LEFT_OUT: Final = frozenset({"test", "tests", "idlelib", "lib2to3"})
_BAR_WIDTH: Final = 40
_SHOWN: Final = 5


class DemoError(Exception):
    """A claim of the demonstration did not hold."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """The objects that the steps share."""

    settings: WorkerSettings
    worker: Worker
    connection: Connection
    console: Console

    async def rows(self) -> list[asyncpg.Record]:
        return await self.connection.fetch(statement("select_patterns"))

    async def wait_until_read(self, count: int) -> None:
        async with asyncio.timeout(READ_SECONDS_MAX):
            while self.worker.accounting.read < count:  # noqa: ASYNC110 - the worker signals nothing
                await asyncio.sleep(0.05)


async def run_demo(*, keep: bool) -> None:
    """Show the main job from end to end, and prove its claims.

    Args:
        keep: stay up afterwards, until interrupted, and print how to connect.

    Raises:
        InvalidSettingError: HTTP_HOST or HTTP_PORT is set, and cannot be listened on.
        EmbeddedServerError: a service could not be started.
        DemoError: a claim did not hold.
        TimeoutError: the worker did not read the published records in time.
    """
    console = Console()
    listening = _listen() if keep else nullcontext()
    console.print("[bold]1. Start[/] PostgreSQL and a Kafka-compatible broker, both from wheels")
    with listening as listener, PostgresServer() as postgres, EmbeddedBroker() as broker:
        settings = _settings(postgres, broker)
        await migrate_up(postgres.dsn())
        await create_topic(settings, partitions=PARTITIONS, replication_factor=1)
        console.print("   migrated, topic created, worker started")
        async with _running(Worker(settings)) as worker, _connected(postgres) as connection:
            stage = _Stage(settings, worker, connection, console)
            events = await _publish_standard_library(stage)
            await _show_table(stage, events)
            await _show_dead_letter(stage)
            await _publish_late(stage, events[0])
            await _replay(stage)
            console.print(
                "[bold green]Proved:[/] one row per pattern, poison alone, no row ever goes backwards,"
            )
            console.print("        and a replay that changes nothing writes nothing.")
            if keep:
                await _stay(stage, listener)


async def run_servers() -> None:
    """Start both servers, empty, and keep them until interrupted.

    Raises:
        EmbeddedServerError: a server could not be started.
    """
    console = Console()
    with PostgresServer() as postgres, EmbeddedBroker() as broker:
        _print_how_to_connect(console, _settings(postgres, broker))
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def _settings(postgres: PostgresServer, broker: EmbeddedBroker) -> WorkerSettings:
    """Return the settings, with each one set that the environment could point at another server."""
    own = {
        "kafka_bootstrap_servers": broker.bootstrap_servers,
        "kafka_security_protocol": "PLAINTEXT",
        "kafka_sasl_mechanism": None,
        "kafka_topic": "pattern-scored.v1",
        "kafka_group_id": "pattern-metrics",
        "kafka_group_instance_id": None,
        "kafka_enable_idempotence": False,
        "kafka_envelope_field": None,
        "database_url": postgres.dsn(),
        "history_enabled": True,
    }
    return load(WorkerSettings, own)


def _listen() -> AbstractContextManager[socket.socket | None]:
    """Listen on HTTP_PORT if it is set. Otherwise take a free port, as the default port may be a worker's."""
    settings = load(HttpSettings)
    if not settings.model_fields_set:
        return socket.create_server((HOST, 0))
    return take_port(settings) if settings.http_port else nullcontext()


@asynccontextmanager
async def _running(worker: Worker) -> AsyncIterator[Worker]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


@asynccontextmanager
async def _connected(postgres: PostgresServer) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres.dsn())
    try:
        yield connection
    finally:
        await connection.close()


async def _publish_standard_library(stage: _Stage) -> list[PatternScored]:
    stage.console.print("[bold]2. Score[/] the standard library of this Python, and publish each score")
    library = Path(sysconfig.get_path("stdlib"))
    found = find_sources([library], root=library)
    sources = [source for source in found.sources if not _LEFT_OUT & set(Path(source.location).parts)]
    measured_at, events = datetime.now(UTC), list[PatternScored]()
    async with ScorePublisher(stage.settings, source="/demo") as publisher:
        scoring = score_sources(sources, measured_at=measured_at)
        for results in track(
            scoring, "   scoring", total=len(sources), console=stage.console, transient=True
        ):
            scored = [result for result in results if isinstance(result, PatternScored)]
            await publisher.publish_many(scored)
            events += scored
    await _publish_poison(stage.settings)
    stage.console.print(
        f"   {len(sources):,} files, {len(events):,} functions and classes, 1 poisoned record"
    )
    await stage.wait_until_read(len(events) + 1)
    stage.console.print(f"   {stage.worker.accounting}")
    return events


async def _publish_poison(settings: WorkerSettings) -> None:
    producer = AIOKafkaProducer(**settings.client_options(), acks="all", enable_idempotence=False)
    await producer.start()
    try:
        await producer.send_and_wait(settings.kafka_topic, POISON)
    finally:
        await producer.stop()


async def _show_table(stage: _Stage, events: list[PatternScored]) -> None:
    rows = await stage.rows()
    _require(len(rows) == len({event.pattern_id for event in events}), "one row per pattern")
    stage.console.print(f"[bold]3. One row per pattern[/]: {len(rows):,} rows in pattern_quality_metrics")
    bands = Counter(band_of(row["quality_score"]) for row in rows)
    most = max(bands.values())
    for band in BANDS:
        bar = "█" * round(_BAR_WIDTH * bands[band] / most)
        stage.console.print(f"   {band:<10}{bar:<{_BAR_WIDTH}} {bands[band]:>7,}")
    for title, shown in (("best", rows[:_SHOWN]), ("worst", rows[-_SHOWN:])):
        for row in shown:
            stage.console.print(
                f"   {title:<6} {row['quality_score']:.4f}  {escape(row['name'])}", highlight=False
            )


async def _show_dead_letter(stage: _Stage) -> None:
    letters = await stage.connection.fetch(statement("select_dead_letters"))
    _require([letter["value"] for letter in letters] == [POISON], "the poisoned record alone, byte for byte")
    letter = letters[0]
    stage.console.print("[bold]4. The poisoned record[/] became a dead letter, and blocked nothing")
    stage.console.print(
        f"   {letter['topic']}/{letter['partition']}/{letter['offset']}: {letter['reason']}: "
        f"{escape(letter['detail'])}",
        highlight=False,
        soft_wrap=True,
    )


async def _publish_late(stage: _Stage, event: PatternScored) -> None:
    stage.console.print("[bold]5. A measurement from yesterday[/] of one pattern arrives late")
    before, read = await stage.rows(), stage.worker.accounting.read
    late = event.model_copy(
        update={
            "event_id": uuid.uuid4(),
            "quality_score": 0.0,
            "measurement_timestamp": event.measurement_timestamp - timedelta(days=1),
        }
    )
    async with ScorePublisher(stage.settings, source="/demo") as publisher:
        await publisher.publish(late)
    await stage.wait_until_read(read + 1)
    _require(await stage.rows() == before, "an older measurement changes no row")
    stage.console.print("   its row stays as it was: the record is superseded")


async def _replay(stage: _Stage) -> None:
    stage.console.print("[bold]6. Replay[/] the whole topic with a fresh consumer group")
    before = await stage.rows()
    settings = stage.settings.model_copy(update={"kafka_group_id": f"replay-{uuid.uuid4()}"})
    accounting = await Worker(settings).run(until_caught_up=True)
    changed = sum(old != new for old, new in zip(before, await stage.rows(), strict=True))
    stage.console.print(f"   {accounting}")
    stage.console.print(
        f"   {changed} rows changed, {accounting.applied} rows written (xmin, updated_at as before)"
    )
    _require(accounting.read == stage.worker.accounting.read, "the replay read every record")
    _require(changed == 0 and accounting.applied == 0, "a replay that changes nothing writes nothing")


async def _stay(stage: _Stage, listener: socket.socket | None) -> None:
    settings = stage.settings
    stage.console.print()
    _print_how_to_connect(stage.console, settings)
    stage.console.print('   psql "$DATABASE_URL" -c "SELECT count(*) FROM pattern_quality_metrics"')
    worker = stage.worker
    watched = Watched(worker.health, worker.metrics, settings.kafka_group_id, settings.kafka_topics)
    page = Page(settings, watched, access=load_access(load(ApiSettings)), topics=settings)
    async with serving(listener, worker.health, worker.metrics, page):
        if listener is not None:
            stage.console.print(f"To look at it: {address_of(listener)}", highlight=False)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def _print_how_to_connect(console: Console, settings: WorkerSettings) -> None:
    console.print("Running until Ctrl-C. To connect from another terminal:")
    for name, value in (
        ("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers),
        ("KAFKA_ENABLE_IDEMPOTENCE", "false"),
        ("DATABASE_URL", settings.database_url.get_secret_value()),
    ):
        console.print(f"   export {name}={value}", highlight=False, soft_wrap=True)


def _require(holds: bool, claim: str) -> None:
    if not holds:
        raise DemoError(f"this should have held: {claim}")
