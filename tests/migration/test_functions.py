"""The functions of revision 020: who may call them, where they are, and that no search path affects them."""

from uuid import uuid4

import asyncpg
import pytest

from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.faults.diagnosis import UnfitDatabaseError
from pattern_metrics.consumer.operations.migration import migrate_up
from pattern_metrics.consumer.postgres.store import Lacking, Store, find_lacking
from pattern_metrics.consumer.records.accounting import Accounting
from tests.migration.databases import apply_by_hand, catalog, execute, fetch
from tests.support.batches import a_batch, write
from tests.support.pipeline import an_event
from tests.support.postgres import new_database

# Each operator returns the opposite of PostgreSQL's own, and each function of ours has a double.
HOSTILE = """
    CREATE SCHEMA hostile;
    CREATE FUNCTION hostile.wrong(float8, float8) RETURNS boolean LANGUAGE sql IMMUTABLE
        RETURN $1 OPERATOR(pg_catalog.<) $2;
    CREATE FUNCTION hostile.wrong(float8, numeric) RETURNS boolean LANGUAGE sql IMMUTABLE
        RETURN $1 OPERATOR(pg_catalog.<) $2;
    CREATE FUNCTION hostile.wrong(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE
        RETURN $1 OPERATOR(pg_catalog.<) $2;
    CREATE FUNCTION hostile.wrong(uuid, uuid) RETURNS boolean LANGUAGE sql IMMUTABLE
        RETURN $1 OPERATOR(pg_catalog.<) $2;
    CREATE OPERATOR hostile.>= (FUNCTION = hostile.wrong, LEFTARG = float8, RIGHTARG = float8);
    CREATE OPERATOR hostile.>= (FUNCTION = hostile.wrong, LEFTARG = float8, RIGHTARG = numeric);
    CREATE OPERATOR hostile.> (FUNCTION = hostile.wrong, LEFTARG = timestamptz, RIGHTARG = timestamptz);
    CREATE OPERATOR hostile.> (FUNCTION = hostile.wrong, LEFTARG = uuid, RIGHTARG = uuid);
"""

CALLS = """
    SELECT
        public.pattern_quality_band(0.95) AS band,
        public.pattern_metrics_supersedes('2026-01-02Z', NULL, '2026-01-01Z', NULL) AS supersedes,
        (SELECT band FROM public.pattern_quality_current) AS shown
"""
ROW = """
    INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence)
    VALUES (gen_random_uuid(), 1, 1);
"""


async def test_no_search_path_changes_what_the_functions_answer(any_migrated_database_url: str) -> None:
    await execute(any_migrated_database_url, HOSTILE + ROW)
    connection = await asyncpg.connect(any_migrated_database_url)
    try:
        for path in ("hostile, pg_catalog, public", "hostile, public", "pg_temp", "public"):
            await connection.execute(f"SET search_path = {path}")
            answers = await connection.fetchrow(CALLS)
            assert answers is not None
            assert tuple(answers) == ("excellent", True, "excellent"), path
    finally:
        await connection.close()


async def test_a_function_of_the_temporary_schema_shadows_none(any_migrated_database_url: str) -> None:
    """Anybody may create one there, and its tables come before all others (the shadow relies on this)."""
    connection = await asyncpg.connect(any_migrated_database_url)
    try:
        await connection.execute(
            "CREATE FUNCTION pg_temp.pattern_quality_band(float8) RETURNS text LANGUAGE sql RETURN 'mine'"
        )
        assert await connection.fetchval("SELECT pattern_quality_band(0.95)") == "excellent"
    finally:
        await connection.close()


async def test_both_roles_call_the_functions_where_no_function_is_everybodys(
    fresh_postgres_server: PostgresServer,
) -> None:
    async with new_database(fresh_postgres_server) as url:
        await execute(url, "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        await migrate_up(url)
        await execute(
            url,
            f"""
            {ROW}
            CREATE ROLE a_worker LOGIN IN ROLE pattern_metrics_worker;
            CREATE ROLE a_reader LOGIN IN ROLE pattern_metrics_reader;
            """,
        )
        as_worker, as_reader = (url.replace("postgres@", f"{role}@") for role in ("a_worker", "a_reader"))

        assert await fetch(as_reader, "SELECT band FROM pattern_quality_current") == [{"band": "excellent"}]
        assert await find_lacking(as_worker, keeps_history=True) == Lacking("", "")
        await execute(
            url,
            "REVOKE EXECUTE ON FUNCTION "
            "pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid) FROM PUBLIC",
        )
        missing = await find_lacking(as_worker, keeps_history=True)
        assert "(EXECUTE on pattern_metrics_supersedes)" in missing.rights
        assert await migrate_up(url) == ()
        assert await find_lacking(as_worker, keeps_history=True) == Lacking("", "")


async def test_a_worker_finds_the_functions_beside_tables_of_a_later_schema(database_url: str) -> None:
    other, url = f"other_{uuid4().hex}", f"{database_url}?search_path="
    await migrate_up(database_url)
    await execute(database_url, f"CREATE SCHEMA {other}")

    store = Store(f"{url}{other},public")
    try:
        for seconds in (1, 2):
            assert await write(store, a_batch([an_event(1, seconds=seconds)])) == Accounting(applied=1)
    finally:
        await store.close()


async def test_a_database_without_the_law_is_refused_before_anything_is_written(database_url: str) -> None:
    """New patterns would need no function, and the first newer measurement would stop the worker."""
    await migrate_up(database_url, "019")
    store = Store(database_url)

    with pytest.raises(
        UnfitDatabaseError, match=r"missing .*\bpattern_metrics_supersedes\b.*: run .*migrate up"
    ):
        await write(store, a_batch([an_event(1)]))

    assert await fetch(database_url, "SELECT FROM pattern_quality_metrics") == []
    await migrate_up(database_url)
    assert await write(store, a_batch([an_event(1)])) == Accounting(applied=1)
    await store.close()


async def test_018_repeated_by_hand_does_not_bring_the_old_view_back(
    any_migrated_database_url: str,
) -> None:
    before = await catalog(any_migrated_database_url)

    await apply_by_hand(any_migrated_database_url, "018")

    assert await catalog(any_migrated_database_url) == before
