"""Readers only select. Workers write and do not alter."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.operations.migration import (
    HEAD_REVISION,
    migrate_up,
    migration_sql,
    migration_status,
)
from pattern_metrics.migrations.revisions import VERSION_TABLE
from tests.migration.databases import MIGRATIONS, execute, fetch, psql
from tests.support.command import CommandLine
from tests.support.postgres import new_database, wheel_program

TABLES = (
    "pattern_quality_metrics",
    "pattern_quality_retired",
    "pattern_quality_history",
    "ingest_progress",
    "ingest_gaps",
    "dead_letters",
    VERSION_TABLE,
)
VIEWS = ("pattern_quality_current", "pattern_quality_changes")
WRITTEN = TABLES[:-1]
DELETED = {"pattern_quality_metrics", "pattern_quality_retired", "pattern_quality_history", "dead_letters"}

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
WORKER_RIGHTS = READS | WRITES | {(table, "DELETE") for table in DELETED}
ROLES = ("pattern_metrics_reader", "pattern_metrics_worker")


async def schema_usage(url: str, role: str) -> bool:
    query = """
        SELECT has_schema_privilege($1, relnamespace, 'USAGE') AS may
        FROM pg_class WHERE oid = 'pattern_quality_metrics'::regclass
    """
    [row] = await fetch(url, query, role)
    return bool(row["may"])


async def test_a_reader_may_select_and_a_worker_write_and_neither_alter(
    any_migrated_database_url: str,
) -> None:
    assert await rights(any_migrated_database_url, "pattern_metrics_reader") == READS
    assert await rights(any_migrated_database_url, "pattern_metrics_worker") == WORKER_RIGHTS
    owners = await fetch(
        any_migrated_database_url,
        "SELECT 1 FROM pg_class WHERE relowner IN (to_regrole('pattern_metrics_reader'), "
        "to_regrole('pattern_metrics_worker'))",
    )
    assert owners == [], "the owner of a table may alter it"


@pytest.fixture
async def owner_url(fresh_postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A database in the schema of its owner, who may not create roles."""
    async with new_database(fresh_postgres_server) as url:
        owner = f"owner_{uuid4().hex}"
        await execute(url, f"CREATE ROLE {owner} LOGIN; CREATE SCHEMA metrics AUTHORIZATION {owner}")
        yield url.replace("postgres@", f"{owner}@") + "?options=-csearch_path%3Dmetrics"


async def test_a_login_without_createrole_gets_the_tables_and_a_warning(
    fresh_postgres_server: PostgresServer, owner_url: str
) -> None:
    with capture_logs() as logs:
        await migrate_up(owner_url)

    messages = [log["message"] for log in logs if log["log_level"] == "warning"]
    assert [role in message for role, message in zip(("reader", "worker"), messages, strict=True)] == [
        True,
        True,
    ]
    assert all(
        "CREATE ROLE" in message and "migrate up" in message and "grant_rights.sql" in message
        for message in messages
    )
    assert (await migration_status(owner_url)).current == HEAD_REVISION

    # The superuser does as the notice says.
    await execute(
        fresh_postgres_server.dsn(),
        "CREATE ROLE pattern_metrics_reader NOLOGIN; CREATE ROLE pattern_metrics_worker",
    )
    assert await migrate_up(owner_url) == ()

    assert await rights(owner_url, "pattern_metrics_reader") == READS
    assert await schema_usage(owner_url, "pattern_metrics_reader")


async def test_two_databases_of_a_server_may_be_migrated_at_the_same_moment(
    fresh_postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The roles belong to both databases: each migration finds them missing, and one creates them second."""
    async with new_database(fresh_postgres_server) as first, new_database(fresh_postgres_server) as second:
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


EXECUTES = """
    SELECT bool_and(has_function_privilege(role, $2, 'EXECUTE')) AS may FROM unnest($1::text[]) AS role
"""
BAND = "pattern_quality_band(double precision)"

LOSSES = [f"REVOKE ALL ON {relation} FROM {role}" for relation in (*TABLES, *VIEWS) for role in ROLES] + [
    "REVOKE UPDATE ON ingest_progress FROM pattern_metrics_worker",
    "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
    f"REVOKE EXECUTE ON FUNCTION {BAND} FROM PUBLIC",
    "REVOKE USAGE ON SCHEMA public FROM PUBLIC; REVOKE SELECT ON dead_letters FROM pattern_metrics_reader",
]


@pytest.mark.parametrize("by", ["migrate up", "file", "script"])
async def test_every_right_that_was_lost_is_granted_again(
    migrated_database_url: str, tmp_path: Path, by: str
) -> None:
    files = {"file": MIGRATIONS / "grant_rights.sql", "script": tmp_path / "script.sql"}
    (tmp_path / "script.sql").write_text(migration_sql(), encoding="utf-8")
    for loss in LOSSES:
        await execute(migrated_database_url, loss)
        if by == "migrate up":
            assert await migrate_up(migrated_database_url) == ()
        else:
            status, output = await psql(migrated_database_url, files[by], "-v", "ON_ERROR_STOP=1")
            assert status == 0, output
        assert await rights(migrated_database_url, "pattern_metrics_reader") == READS, loss
        assert await rights(migrated_database_url, "pattern_metrics_worker") == WORKER_RIGHTS, loss
        may = [await schema_usage(migrated_database_url, role) for role in ROLES]
        assert may == [True, True], loss
        assert await fetch(migrated_database_url, EXECUTES, ROLES, BAND) == [{"may": True}], loss


async def test_a_login_that_owns_nothing_may_migrate_a_database_that_lacks_nothing(
    migrated_database_url: str,
) -> None:
    login = f"stranger_{uuid4().hex}"
    await execute(migrated_database_url, f"CREATE ROLE {login} LOGIN IN ROLE pattern_metrics_worker")
    try:
        assert await migrate_up(migrated_database_url.replace("postgres@", f"{login}@")) == ()
    finally:
        await execute(migrated_database_url, f"DROP ROLE {login}")


@pytest.mark.parametrize("options", [[], ["--no-privileges"]], ids=["with rights", "without rights"])
async def test_a_dump_restored_on_another_server_gets_roles_and_rights(
    fresh_postgres_server: PostgresServer, migrated_database_url: str, tmp_path: Path, options: list[str]
) -> None:
    dump = tmp_path / "dump.sql"
    command = CommandLine(tmp_path)
    program = wheel_program("pg_dump")
    (await command.run_program(program, *options, "--file", dump, migrated_database_url)).succeeded()

    async with new_database(fresh_postgres_server) as restored:
        await psql(restored, dump)  # without the roles its GRANTs fail, and psql continues
        with capture_logs() as logs:
            applied = await migrate_up(restored)

        assert applied == ()
        assert await rights(restored, "pattern_metrics_reader") == READS
        assert await rights(restored, "pattern_metrics_worker") == WORKER_RIGHTS
    messages = " ".join(log["message"] for log in logs if log["event"] == "migration_notice")
    assert "created the role pattern_metrics_worker" in messages
    assert "granted pattern_metrics_reader and pattern_metrics_worker" in messages
