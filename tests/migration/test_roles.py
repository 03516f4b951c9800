"""Readers select and nothing else; workers write and do not alter."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.operations.migration import HEAD_REVISION, migrate_up, migration_status
from tests.migration.databases import apply_by_hand, execute, fetch
from tests.support.command import CommandLine
from tests.support.postgres import NO_DURABILITY, new_database

TABLES = (
    "pattern_quality_metrics",
    "pattern_quality_history",
    "ingest_progress",
    "ingest_gaps",
    "dead_letters",
    "alembic_version",
)
VIEWS = ("pattern_quality_current", "pattern_quality_changes")
WRITTEN = TABLES[:-1]
PRUNED = {"pattern_quality_history", "dead_letters"}

RIGHTS = """
    SELECT relation, privilege
    FROM unnest($2::text[]) AS relation,
        string_to_table('SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER', ' ') AS privilege
    WHERE has_table_privilege($1, relation, privilege)
"""


async def rights(url: str, role: str) -> set[tuple[str, str]]:
    return {(row["relation"], row["privilege"]) for row in await fetch(url, RIGHTS, role, [*TABLES, *VIEWS])}


READS = {(relation, "SELECT") for relation in (*TABLES, *VIEWS)}
WRITES = {(table, privilege) for table in WRITTEN for privilege in ("INSERT", "UPDATE")}


async def test_a_reader_may_select_and_a_worker_write_and_neither_alter(
    any_migrated_database_url: str,
) -> None:
    assert await rights(any_migrated_database_url, "pattern_metrics_reader") == READS
    assert await rights(any_migrated_database_url, "pattern_metrics_worker") == (
        READS | WRITES | {(table, "DELETE") for table in PRUNED}
    )
    owners = await fetch(
        any_migrated_database_url,
        "SELECT 1 FROM pg_class WHERE relowner IN (to_regrole('pattern_metrics_reader'), "
        "to_regrole('pattern_metrics_worker'))",
    )
    assert owners == [], "whoever owns a table may alter it"


@pytest.fixture
def fresh_server() -> Iterator[PostgresServer]:
    """A server on which nobody has made the roles yet."""
    with PostgresServer(settings=NO_DURABILITY) as server:
        yield server


@pytest.fixture
async def owner_url(fresh_server: PostgresServer) -> AsyncIterator[str]:
    """A database in a login's own schema, who owns it and may not create roles."""
    async with new_database(fresh_server) as url:
        owner = f"owner_{uuid4().hex}"
        await execute(url, f"CREATE ROLE {owner} LOGIN; CREATE SCHEMA metrics AUTHORIZATION {owner}")
        yield url.replace("postgres@", f"{owner}@") + "?options=-csearch_path%3Dmetrics"


async def test_who_may_not_create_roles_is_told_and_gets_the_tables(
    fresh_server: PostgresServer, owner_url: str
) -> None:
    with capture_logs() as logs:
        await migrate_up(owner_url)

    told = [log["message"] for log in logs if log["log_level"] == "warning"]
    assert [role in message for role, message in zip(("reader", "worker"), told, strict=True)] == [True, True]
    assert all(
        "CREATE ROLE" in message and "018_add_reader_view_and_roles.sql" in message for message in told
    )
    assert (await migration_status(owner_url)).current == HEAD_REVISION

    # The superuser does as he was told.
    await execute(
        fresh_server.dsn(), "CREATE ROLE pattern_metrics_reader NOLOGIN; CREATE ROLE pattern_metrics_worker"
    )
    await apply_by_hand(owner_url, "018")

    assert await rights(owner_url, "pattern_metrics_reader") == READS
    [usage] = await fetch(
        owner_url, "SELECT has_schema_privilege('pattern_metrics_reader', 'metrics', 'USAGE') AS may"
    )
    assert usage["may"]


async def test_two_databases_of_a_server_may_be_migrated_at_the_same_moment(
    fresh_server: PostgresServer, tmp_path: Path
) -> None:
    """The roles belong to both: each finds them missing, and one is the second to create them."""
    async with new_database(fresh_server) as first, new_database(fresh_server) as second:
        command = CommandLine(tmp_path)
        done = await asyncio.gather(
            *(command.run("migrate", "up", database_url=url) for url in (first, second))
        )

        for finished, url in zip(done, (first, second), strict=True):
            finished.succeeded()
            assert await rights(url, "pattern_metrics_reader") == READS


async def test_a_worker_gets_the_right_to_its_stage_where_it_was_taken_from_everybody(
    database_url: str,
) -> None:
    await execute(
        database_url,
        f"REVOKE TEMPORARY ON DATABASE {database_url.rpartition('/')[2]} FROM PUBLIC",
    )

    await migrate_up(database_url)

    query = "SELECT has_database_privilege($1, current_database(), 'TEMPORARY') AS may"
    assert await fetch(database_url, query, "pattern_metrics_worker") == [{"may": True}]
    assert await fetch(database_url, query, "pattern_metrics_reader") == [{"may": False}]
