"""Apache Kafka and PostgreSQL for the benchmarks, with their defaults; and a PostgreSQL with more buffers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from benchmarks.progress import show
from benchmarks.topics import Fold
from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.operations.migration import migrate_up
from tests.support.kafka import ApacheKafka

KAFKA_SETTINGS: Final = {"group.initial.rebalance.delay.ms": "1000"}
"""Gives all members of a group a part of its first assignment, so that none reads before the others."""

LARGE_BUFFERS: Final = {"shared_buffers": "2GB", "max_wal_size": "8GB"}
"""Settings of the second PostgreSQL, suitable for a table of some gigabytes."""

_EMPTY: Final = "migrated"

_PREFILL: Final = """
INSERT INTO pattern_quality_metrics
    (pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata)
SELECT md5('pattern-' || number)::uuid, gen_random_uuid(), 0.5, 0.5, timestamptz '2025-12-31 00:00Z', '1.0.0',
    jsonb_build_object('name', 'billing.bills:Invoice' || number || '.total', 'kind', 'function',
        'dimensions', jsonb_build_object('completeness', 0.5432, 'documentation', 0.5432,
            'compliance', 0.5432, 'metadata_richness', 0.5432, 'complexity', 0.5432),
        'band', 'fair', 'language', 'python', 'location',
        jsonb_build_object('path', 'billing/inv' || number || '.py', 'line', 123, 'end_line', 163))
FROM generate_series(0, $1::bigint - 1) AS number
"""

_DIGEST: Final = """
SELECT count(*), md5(coalesce(string_agg(event_id::text, '' ORDER BY pattern_id), ''))
FROM pattern_quality_metrics WHERE measurement_timestamp >= $1
"""


class WrongTableError(Exception):
    """The table is not the fold of the topic, so the measured figure would be worth nothing."""


@dataclass(frozen=True)
class Services:
    """The shared servers.

    Attributes:
        kafka: with the topics.
        postgres: with its defaults.
        large_postgres: with `LARGE_BUFFERS`.
    """

    kafka: ApacheKafka
    postgres: PostgresServer
    large_postgres: PostgresServer

    def with_large_buffers(self) -> "Services":
        """Return these services with the other PostgreSQL."""
        return replace(self, postgres=self.large_postgres)

    @asynccontextmanager
    async def database(self, rows: int = 0) -> AsyncIterator[str]:
        """Create a database with `rows` rows in the table, and drop it afterwards."""
        name = f"run_{uuid4().hex}"
        await self._execute(
            f"CREATE DATABASE {name} TEMPLATE {await self._template(rows)} STRATEGY file_copy"
        )
        try:
            yield self.postgres.dsn(name)
        finally:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _template(self, rows: int) -> str:
        """Return the name of the database to copy. It is created at its first use."""
        name = f"{_EMPTY}_{rows}"
        async with connected(self.postgres.dsn()) as connection:
            if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                return name
        await self._execute(f"CREATE DATABASE {name}")
        await migrate_up(self.postgres.dsn(name))
        async with connected(self.postgres.dsn(name)) as connection:
            await connection.execute("CREATE EXTENSION pg_walinspect")
            if rows:
                show(f"filling a table with {rows:,} rows")
                await connection.execute(_PREFILL, rows)
                await connection.execute("VACUUM (ANALYZE) pattern_quality_metrics")
        return name

    async def _execute(self, statement: str) -> None:
        async with connected(self.postgres.dsn()) as connection:
            await connection.execute(statement)


@contextmanager
def running() -> Iterator[Services]:
    """Start all servers. They end with this process, however it ends."""
    with ExitStack() as stack:
        kafka = stack.enter_context(ApacheKafka(settings=KAFKA_SETTINGS, is_brief=False))
        postgres = stack.enter_context(PostgresServer())
        yield Services(kafka, postgres, stack.enter_context(PostgresServer(settings=LARGE_BUFFERS)))


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection to a database."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def require_fold(connection: asyncpg.Connection, fold: Fold) -> None:
    """Check that the table holds exactly the fold.

    Raises:
        WrongTableError: it does not.
    """
    [(rows, digest)] = await connection.fetch(_DIGEST, fold.since)
    if rows != fold.rows:
        raise WrongTableError(f"the table has {rows} rows of the topic, not {fold.rows}")
    if digest != fold.digest:
        raise WrongTableError("the rows are not the topic's latest events")


async def state_of(admin: AIOKafkaAdminClient, group: str) -> str:
    """Return the broker's state of a consumer group."""
    try:
        [answer] = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:  # the broker's first group
        return ""
    [(_, _, state, *_)] = answer.groups
    return str(state)
