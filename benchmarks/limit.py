"""What PostgreSQL itself can do: plain COPY of ready-made rows into the table, and nothing else."""

import asyncio
import io
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import asyncpg

from benchmarks.events import generate
from benchmarks.measuring import WAL_POSITION, Work
from benchmarks.processes import usage
from benchmarks.results import Run
from benchmarks.services import Services, connected, require_fold

BATCH_ROWS: Final = 10_000
CONNECTIONS: Final = {"postgresql-1": 1, "postgresql-2": 2}

_COLUMNS: Final = (
    "pattern_id",
    "event_id",
    "quality_score",
    "confidence",
    "measurement_timestamp",
    "version",
    "metadata",
)


async def measure_limit(services: Services, system: str, work: Work, repetition: int) -> Run:
    """Copy the rows of a topic of distinct patterns, over one or two connections, a batch a transaction."""
    async with services.database() as dsn, AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(dsn)) for _ in range(CONNECTIONS[system])]
        batches = await _ready_made(connections[0], work)
        await connections[0].execute("CHECKPOINT")
        wal = await connections[0].fetchval(WAL_POSITION)
        before, started = usage(services.postgres.pid).cpu_seconds, time.monotonic()
        shares = [batches[number :: len(connections)] for number in range(len(connections))]
        await asyncio.gather(*map(_copy, connections, shares))
        seconds = time.monotonic() - started
        postgres = usage(services.postgres.pid).cpu_seconds - before
        wal = await connections[0].fetchval(WAL_POSITION) - wal
        await require_fold(connections[0], work.topic.fold)
    return Run(
        work.scenario,
        work.variant,
        system,
        repetition,
        work.topic.shape.events,
        seconds=seconds,
        seconds_with_start=seconds,
        cpu_client=0.0,
        cpu_client_with_start=0.0,
        cpu_postgres=postgres,
        cpu_kafka=0.0,
        peak_bytes=0,
        wal_bytes=wal,
    )


async def _ready_made(connection: asyncpg.Connection, work: Work) -> list[bytes]:
    """The rows as COPY takes them in its binary form, sorted by pattern inside each batch as ours are."""
    events = [event for _, event in generate(work.topic.shape)]
    batches = []
    for begin in range(0, len(events), BATCH_ROWS):
        await connection.execute(
            "CREATE TEMPORARY TABLE ready (LIKE pattern_quality_metrics INCLUDING DEFAULTS)"
        )
        await connection.copy_records_to_table(
            "ready",
            columns=_COLUMNS,
            records=[
                (
                    event.pattern_id,
                    event.event_id,
                    event.quality_score,
                    event.confidence,
                    event.measurement_timestamp,
                    event.version,
                    event.metadata_json,
                )
                for event in events[begin : begin + BATCH_ROWS]
            ],
        )
        copied = io.BytesIO()
        query = f"SELECT {', '.join(_COLUMNS)} FROM ready ORDER BY pattern_id"  # noqa: S608 - our own names
        await connection.copy_from_query(query, output=copied, format="binary")
        await connection.execute("DROP TABLE ready")
        batches.append(copied.getvalue())
    return batches


async def _copy(connection: asyncpg.Connection, batches: Sequence[bytes]) -> None:
    for batch in batches:
        await connection.copy_to_table(
            "pattern_quality_metrics", source=io.BytesIO(batch), columns=_COLUMNS, format="binary"
        )
