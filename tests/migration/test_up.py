import asyncio
import subprocess
import sys

import asyncpg
import pytest
from structlog.testing import capture_logs

from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.faults.diagnosis import Diagnosis, Fault, UnfitDatabaseError, diagnose
from pattern_metrics.consumer.operations.migration import (
    HEAD_REVISION,
    MigrationError,
    MigrationStatus,
    migrate_down,
    migrate_up,
    migration_status,
)
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.migrations.revisions import REVISIONS, VERSION_TABLE
from tests.migration.databases import (
    NO_SCHEMA,
    TWO_MEASUREMENTS,
    catalog,
    execute,
    fetch,
    measurements,
    stamp,
)
from tests.support.postgres import new_database


def test_the_revisions_keep_the_numbers_that_existing_databases_know() -> None:
    assert REVISIONS[:11] == tuple(f"0{number}" for number in range(12, 23))
    assert REVISIONS[-1] == HEAD_REVISION


async def test_a_database_that_cannot_hold_any_text_is_refused(postgres_server: PostgresServer) -> None:
    options = "template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    async with new_database(postgres_server, options) as database_url:
        store = Store(database_url)

        with pytest.raises(MigrationError, match="encoding is LATIN1"):
            await migrate_up(database_url)
        with pytest.raises(UnfitDatabaseError) as refused:
            async with store.transaction():
                pass

    assert diagnose(refused.value) == Diagnosis(Fault.CONFIGURATION, str(refused.value))


async def test_an_empty_database_is_brought_to_the_newest_revision(any_database_url: str) -> None:
    before = await migration_status(any_database_url)
    applied = await migrate_up(any_database_url)
    after = await migration_status(any_database_url)

    assert before == MigrationStatus(current=None, recognised=None, head=HEAD_REVISION, pending=REVISIONS)
    assert not before.up_to_date
    assert applied == REVISIONS
    assert after == MigrationStatus(current=HEAD_REVISION, recognised=None, head=HEAD_REVISION, pending=())
    assert after.up_to_date
    assert await stamp(any_database_url) == [HEAD_REVISION]
    assert await measurements(any_database_url) == []


async def test_migrating_twice_changes_nothing(any_database_url: str) -> None:
    await migrate_up(any_database_url)
    await execute(any_database_url, TWO_MEASUREMENTS)
    before = await catalog(any_database_url), await measurements(any_database_url)

    assert await migrate_up(any_database_url) == ()
    assert (await catalog(any_database_url), await measurements(any_database_url)) == before


async def test_of_several_at_once_one_migrates_and_the_others_find_nothing_to_do(
    any_database_url: str,
) -> None:
    applied = await asyncio.gather(*(migrate_up(any_database_url) for _ in range(4)))

    assert sorted(applied) == [(), (), (), REVISIONS]
    assert await stamp(any_database_url) == [HEAD_REVISION]


async def test_a_concurrent_migration_sees_the_work_of_the_other_at_any_isolation(
    database_url: str,
) -> None:
    url = f"{database_url}?default_transaction_isolation=serializable"

    applied = await asyncio.gather(*(migrate_up(url) for _ in range(4)))

    assert sorted(applied) == [(), (), (), REVISIONS]


async def test_migrating_up_stops_at_the_revision_asked_for_and_never_goes_back(database_url: str) -> None:
    assert await migrate_up(database_url, "013") == ("012", "013")
    assert (await migration_status(database_url)).pending == REVISIONS[2:]
    assert await migrate_up(database_url, "012") == ()
    assert await stamp(database_url) == ["013"]


@pytest.mark.parametrize("revision", ["099", "", "+1", "heads"])
async def test_an_unknown_revision_is_named_together_with_those_that_there_are(
    database_url: str, revision: str
) -> None:
    with pytest.raises(MigrationError, match=r"choose 012, 013, 014, 015"):
        await migrate_up(database_url, revision)
    with pytest.raises(MigrationError, match=r"choose 012, 013, 014, 015"):
        await migrate_down(database_url, revision)


@pytest.mark.parametrize("stamps", [["ae1027a6acf"], ["014", "ae1027a6acf"], ["013", "014"]])
async def test_the_stamp_of_another_release_is_refused_and_left_alone(
    database_url: str, stamps: list[str]
) -> None:
    await execute(database_url, f"CREATE TABLE {VERSION_TABLE} (version_num varchar(32) PRIMARY KEY)")
    for one in stamps:
        await execute(database_url, f"INSERT INTO {VERSION_TABLE} VALUES ('{one}')")

    for work in (
        migrate_up(database_url),
        migrate_down(database_url, "base"),
        migration_status(database_url),
    ):
        with pytest.raises(MigrationError, match=f"{VERSION_TABLE} holds .*{stamps[-1]}"):
            await work
    assert sorted(await stamp(database_url)) == stamps
    assert await catalog(database_url) == NO_SCHEMA


async def test_notices_of_the_sql_files_reach_the_log(database_url: str) -> None:
    with capture_logs() as logs:
        await migrate_up(database_url)

    messages = [log["message"] for log in logs if log["event"] == "migration_notice"]
    assert "0 duplicates moved to pattern_quality_metrics_duplicates" in messages


def test_alembic_itself_stays_quiet_from_its_import_on() -> None:
    program = (
        "import logging; logging.basicConfig(level=logging.INFO); "
        "from pattern_metrics.consumer.operations.migration import migration_sql; migration_sql()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (ended.stdout, ended.stderr) == ("", "")


async def test_a_refusal_is_the_drivers_own_exception_with_its_sqlstate(database_url: str) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as refused:
        await migrate_up(f"{database_url}?default_transaction_read_only=on")
    assert refused.value.sqlstate == "25006"

    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await migration_status(f"{database_url}_that_is_not_there")


async def test_a_database_that_cannot_be_reached_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"."):
        await migration_status("postgresql://postgres@127.0.0.1:1/postgres")


async def test_a_busy_table_is_given_up_after_a_while_and_nothing_is_changed(
    database_url: str,
) -> None:
    await migrate_up(database_url, "013")
    reader = await asyncpg.connect(database_url)
    try:
        async with reader.transaction():
            await reader.execute("LOCK TABLE pattern_quality_metrics IN ACCESS SHARE MODE")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await migrate_up(f"{database_url}?pattern_metrics.patience=0.1")
    finally:
        await reader.close()
    assert await stamp(database_url) == ["013"]


async def test_a_connection_lost_half_way_is_the_drivers_exception_and_changes_nothing(
    database_url: str,
) -> None:
    await migrate_up(database_url, "013")
    await execute(
        database_url,
        """
        CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';
        CREATE TRIGGER hang_up BEFORE INSERT ON pattern_quality_metrics EXECUTE FUNCTION hang_up();
        """,
    )

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await migrate_up(database_url)
    assert await stamp(database_url) == ["013"]
    assert await fetch(database_url, "SELECT to_regclass('dead_letters') AS t") == [{"t": None}]


async def test_the_next_migration_restores_what_was_dropped_from_a_stamped_database(
    migrated_database_url: str,
) -> None:
    """The worker's hint for a missing table is to run it, so it has to repair that."""
    complete = await catalog(migrated_database_url)
    await execute(
        migrated_database_url,
        "DROP TABLE ingest_progress; "
        "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT pattern_quality_metrics_pattern_id_unique",
    )

    assert not (await migration_status(migrated_database_url)).up_to_date
    assert await migrate_up(migrated_database_url) == REVISIONS[REVISIONS.index("014") :]
    assert await catalog(migrated_database_url) == complete
    assert await migrate_up(migrated_database_url) == ()
