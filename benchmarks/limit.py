"""Measures PostgreSQL alone with ready-made rows: plain COPY into the table, or a stage and an upsert."""

import asyncio
import io
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import asyncpg

from benchmarks.events import generate
from benchmarks.measuring import WAL_POSITION, Work
from benchmarks.processes import cpu_seconds
from benchmarks.results import Run
from benchmarks.services import Services, connected, require_fold
from pattern_metrics.consumer.postgres.copy_format import COLUMNS

BATCH_ROWS: Final = 10_000


@dataclass(frozen=True)
class Limit:
    """A way to write the rows.

    Attributes:
        connections: number of connections that share the rows.
        has_stage: whether the rows go to a temporary table first, and from there by an upsert.
    """

    connections: int
    has_stage: bool


LIMITS: Final = {
    "postgresql-copy-1": Limit(1, has_stage=False),
    "postgresql-copy-2": Limit(2, has_stage=False),
    "postgresql-upsert-1": Limit(1, has_stage=True),
    "postgresql-upsert-2": Limit(2, has_stage=True),
}

_STAGE: Final = (
    "CREATE TEMPORARY TABLE stage (LIKE pattern_quality_metrics INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
)
_UPSERT: Final = f"""
INSERT INTO pattern_quality_metrics ({", ".join(COLUMNS)})
SELECT {", ".join(COLUMNS)} FROM stage
ON CONFLICT (pattern_id) DO UPDATE SET {", ".join(f"{name} = EXCLUDED.{name}" for name in COLUMNS[1:])}
"""  # noqa: S608 - our own names


async def measure_limit(services: Services, system: str, work: Work, repetition: int) -> Run:
    """Copy the rows of a topic, one transaction per batch.

    With COPY alone, or over several connections, the result is right only if each event has its own pattern.
    """
    limit = LIMITS[system]
    async with services.database(work.rows) as dsn, AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(dsn)) for _ in range(limit.connections)]
        batches = await _ready_made(connections[0], work)
        for connection in connections:
            await connection.execute(_STAGE)
        await connections[0].execute("CHECKPOINT")
        wal = await connections[0].fetchval(WAL_POSITION)
        before, started = cpu_seconds(services.postgres.pid), time.monotonic()
        shares = [batches[number :: len(connections)] for number in range(len(connections))]
        await asyncio.gather(*(_write(*share, limit) for share in zip(connections, shares, strict=True)))
        seconds = time.monotonic() - started
        postgres = cpu_seconds(services.postgres.pid) - before
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
    """Return the rows in COPY's binary form, sorted by pattern inside each batch, as ours are.

    Of a pattern that occurs twice in a batch only the latest event is included: PostgreSQL refuses to upsert
    both.
    """
    events = [event for _, event in generate(work.topic.shape)]
    batches = []
    for begin in range(0, len(events), BATCH_ROWS):
        await connection.execute(
            "CREATE TEMPORARY TABLE ready (LIKE pattern_quality_metrics INCLUDING DEFAULTS)"
        )
        await connection.copy_records_to_table(
            "ready",
            columns=COLUMNS,
            records=[
                (
                    event.pattern_id,
                    event.event_id,
                    event.quality_score,
                    event.confidence,
                    event.measurement_timestamp,
                    event.version,
                    event.metadata_json.decode(),
                )
                for event in events[begin : begin + BATCH_ROWS]
            ],
        )
        copied = io.BytesIO()
        query = (
            f"SELECT DISTINCT ON (pattern_id) {', '.join(COLUMNS)} FROM ready "  # noqa: S608 - our own names
            "ORDER BY pattern_id, measurement_timestamp DESC"
        )
        await connection.copy_from_query(query, output=copied, format="binary")
        await connection.execute("DROP TABLE ready")
        batches.append(copied.getvalue())
    return batches


async def _write(connection: asyncpg.Connection, batches: Sequence[bytes], limit: Limit) -> None:
    target = "stage" if limit.has_stage else "pattern_quality_metrics"
    for batch in batches:
        async with connection.transaction():
            await connection.copy_to_table(target, source=io.BytesIO(batch), columns=COLUMNS, format="binary")
            if limit.has_stage:
                await connection.execute(_UPSERT)
