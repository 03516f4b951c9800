"""The order of an upgrade (docs/how-to/upgrade-and-roll-back.md): first the schema, then the workers."""

import asyncpg

from pattern_metrics.consumer.operations.migration import migrate_up
from pattern_metrics.migrations.revisions import REVISIONS
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import (
    an_event,
    dead_letters,
    expected_table,
    running,
    send,
    table,
    worker_settings,
)
from tests.support.waiting import eventually

OLDEST = "023"
"""The oldest revision to which this release's worker writes."""

TABLES = (
    "pattern_quality_metrics",
    "pattern_quality_retired",
    "pattern_quality_history",
    "ingest_progress",
    "ingest_gaps",
    "dead_letters",
)


async def add_what_a_later_revision_may(database_url: str) -> None:
    """Add what an expanding revision may add: columns that may be null or have a default, and indexes."""
    connection = await asyncpg.connect(database_url)
    try:
        for name in TABLES:
            await connection.execute(
                f"ALTER TABLE {name} ADD COLUMN one_more text, ADD COLUMN another integer NOT NULL DEFAULT 7;"
                f"CREATE INDEX ON {name} (one_more)"
            )
    finally:
        await connection.close()


async def test_a_worker_that_runs_writes_on_while_the_schema_grows(
    embedded_broker: Broker, database_url: str
) -> None:
    topic = await create_topic(embedded_broker.bootstrap_servers)
    settings = worker_settings(embedded_broker.bootstrap_servers, topic, database_url)
    await migrate_up(database_url, REVISIONS[REVISIONS.index(OLDEST) - 1])

    async with running(settings) as worker:

        def retries() -> list[str]:
            lines = worker.metrics.render({}).decode().splitlines()
            return [line for line in lines if line.startswith("pattern_metrics_retries_total{")]

        async def write(seconds: int) -> None:
            """Write a row and a dead letter, one after the other."""
            event = an_event(1, seconds=seconds)
            await send(settings, [event.to_json(), b"poison"])

            async def is_written() -> bool:
                return len(await dead_letters(settings)) == seconds

            await eventually(is_written)
            assert await table(settings) == expected_table([event])

        await eventually(lambda: worker.health.conditions)
        assert "migrate up" in worker.health.conditions["postgresql"]
        await migrate_up(database_url, OLDEST)
        await write(1)
        before = retries()
        await add_what_a_later_revision_may(database_url)
        await write(2)
        assert retries() == before
        assert worker.health.conditions == {}
