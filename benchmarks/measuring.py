"""One run: the same clock, the same end and the same checks for every client."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.clients import Client, Consuming, Job, Ours
from benchmarks.events import END_MARKS, PARTITIONS
from benchmarks.processes import count, cpu_seconds, peak_bytes
from benchmarks.readers import reading
from benchmarks.results import Run
from benchmarks.services import Services, connected, require_fold, state_of
from benchmarks.topics import Topic
from tests.support.kafka import administering

RUN_SECONDS_MAX: Final = 900.0
_POLL_SECONDS: Final = 0.01
_POLLS_PER_CHECK: Final = 50

WAL_POSITION: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"

_MARKS_THERE: Final = """
SELECT count(*) FROM pattern_quality_metrics WHERE pattern_id = ANY($1::uuid[]) AND xmin::text <> ALL($2)
"""
_MARKS: Final = "SELECT xmin::text FROM pattern_quality_metrics WHERE pattern_id = ANY($1::uuid[])"
_PROGRESS: Final = "SELECT coalesce(sum(next_offset), 0) FROM ingest_progress WHERE consumer_group = $1"

# The WAL of the table and its indexes alone, page images included.
_ROW_WAL: Final = """
SELECT coalesce(sum(block_data_length + block_fpi_length + main_data_length), 0)::bigint
FROM pg_get_wal_block_info(
    '0/0'::pg_lsn + $1::bigint, least('0/0'::pg_lsn + $2::bigint, pg_current_wal_flush_lsn())
)
WHERE relfilenode IN (
    SELECT pg_relation_filenode('pattern_quality_metrics')
    UNION ALL
    SELECT pg_relation_filenode(indexrelid) FROM pg_index WHERE indrelid = 'pattern_quality_metrics'::regclass
)
"""

Condition = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Work:
    """The work to measure.

    Attributes:
        scenario: its name.
        variant: the variant inside the scenario.
        topic: the topic to read.
        rows: number of rows in the table before.
        applied: for a replay, the same events in the agents' encoding, which are stored in the table before.
        settings: settings of the client that differ from those of the other scenarios.
        workers: number of processes that share the work.
        lookups: lookups a second that a `dashboard` answers meanwhile.
    """

    scenario: str
    variant: str
    topic: Topic
    rows: int = 0
    applied: Topic | None = None
    settings: tuple[tuple[str, str], ...] = ()
    workers: int = 1
    lookups: int = 0

    def job(self, services: Services, dsn: str, *, ends: bool = True) -> Job:
        """Return the job of this work for a client, with its own consumer group."""
        return Job(
            services.kafka.bootstrap_servers,
            self.topic,
            dsn,
            f"group-{uuid4().hex}",
            dict(self.settings),
            self.workers,
            ends and self.workers == 1,  # of several processes, one would end before the others
        )


async def measure(services: Services, client: Client, work: Work, repetition: int) -> Run:
    """Run a client on its own table, and measure it.

    Raises:
        WrongTableError: the table does not have the expected content.
        ProgramError: a program failed.
        TimeoutError: it took too long.
    """
    client.install()
    async with (
        services.database(work.rows) as dsn,
        connected(dsn) as connection,
        asyncio.timeout(RUN_SECONDS_MAX),
    ):
        if work.applied is not None:
            await _apply(services, replace(work, topic=work.applied, applied=None), dsn, connection)
        async with client.prepared(
            services.kafka.bootstrap_servers, lambda other: rehearse(services, other, work)
        ):
            run = await _measure(services, client, work, dsn, connection, repetition)
        await require_fold(connection, work.topic.fold)
    return run


async def _measure(
    services: Services,
    client: Client,
    work: Work,
    dsn: str,
    connection: asyncpg.Connection,
    repetition: int,
) -> Run:
    job = work.job(services, dsn)
    is_complete = await completion(connection, client, work, job)
    await connection.execute("CHECKPOINT")
    wal = await connection.fetchval(WAL_POSITION)
    async with (
        administering(services.kafka.bootstrap_servers) as admin,
        reading(dsn, work.lookups) as require_readers,
        client.consuming(job) as consuming,
    ):
        await wait_until(lambda: _is_assigned(admin, job.group), consuming)
        assigned = time.monotonic()
        pids = (consuming.pids, [services.postgres.pid], [services.kafka.pid])
        processes, before = count(*consuming.pids), [cpu_seconds(*part) for part in pids]
        await wait_until(is_complete, consuming)
        ended = time.monotonic()
        after = [cpu_seconds(*part) for part in pids]
        peak = peak_bytes(*consuming.pids, processes=processes)
        wal_after = await connection.fetchval(WAL_POSITION)
        row_wal = await connection.fetchval(_ROW_WAL, wal, wal_after) if work.applied else None
        require_readers()
        consuming.finish()
    cpu_client, cpu_postgres, cpu_kafka = (end - begin for begin, end in zip(before, after, strict=True))
    return Run(
        work.scenario,
        work.variant,
        client.name,
        repetition,
        work.topic.shape.events,
        seconds=ended - assigned,
        seconds_with_start=ended - consuming.started,
        cpu_client=cpu_client,
        cpu_client_with_start=after[0] - consuming.cpu_before,
        cpu_postgres=cpu_postgres,
        cpu_kafka=cpu_kafka,
        peak_bytes=peak,
        wal_bytes=wal_after - wal,
        row_wal_bytes=row_wal,
    )


async def _apply(services: Services, work: Work, dsn: str, connection: asyncpg.Connection) -> None:
    """Store the topic in the table, so that reading it again is a replay."""
    await _complete(services, Ours(), work, dsn, connection)
    await connection.execute("VACUUM (ANALYZE) pattern_quality_metrics")  # else hint bits would be WAL


async def rehearse(services: Services, client: Client, work: Work) -> None:
    """Let a client do the same work on another database, without measuring it."""
    async with services.database(work.rows) as dsn, connected(dsn) as connection:
        await _complete(services, client, work, dsn, connection)


async def _complete(
    services: Services, client: Client, work: Work, dsn: str, connection: asyncpg.Connection
) -> None:
    job = work.job(services, dsn)
    is_complete = await completion(connection, client, work, job)
    async with client.consuming(job) as consuming:
        await wait_until(is_complete, consuming)
        consuming.finish()


async def completion(connection: asyncpg.Connection, client: Client, work: Work, job: Job) -> Condition:
    """Return the condition that holds once every event is in the table.

    The last event of each partition has its own pattern. Once these rows exist, everything before them does.
    A client that writes nothing in a replay is recognised by its progress.
    """
    if work.applied is not None and not client.writes_what_is_there:

        async def is_read() -> bool:
            return bool(await connection.fetchval(_PROGRESS, job.group) == work.topic.shape.events)

        return is_read

    present: Sequence[str] = [row["xmin"] for row in await connection.fetch(_MARKS, END_MARKS)]

    async def is_written() -> bool:
        return bool(await connection.fetchval(_MARKS_THERE, END_MARKS, present) == PARTITIONS)

    return is_written


async def _is_assigned(admin: AIOKafkaAdminClient, group: str) -> bool:
    """Return whether a group is stable: its members know their partitions and begin to fetch."""
    return await state_of(admin, group) == "Stable"


async def wait_until(condition: Condition, consuming: Consuming) -> None:
    """Wait until the condition holds. Check now and then that the client still runs."""
    polls = 0
    while not await condition():
        polls += 1
        if polls % _POLLS_PER_CHECK == 0:
            consuming.check()
        await asyncio.sleep(_POLL_SECONDS)
