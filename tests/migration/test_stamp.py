"""The revision is stored in a table of our own, because `alembic_version` may be another program's."""

from pathlib import Path
from urllib.parse import quote

import pytest

from pattern_metrics.consumer.operations.migration import (
    HEAD_REVISION,
    migrate_down,
    migrate_up,
    migration_sql,
    migration_status,
)
from pattern_metrics.migrations.revisions import REVISIONS, VERSION_TABLE
from tests.migration.databases import TWO_MEASUREMENTS, execute, fetch, make_elsewhere, psql, stamp

FORMER = REVISIONS[: REVISIONS.index("019") + 1]
"""The revisions whose releases stored them in `alembic_version`."""


async def note_as_before(url: str) -> None:
    """Move the stamp to its place before 021."""
    await execute(
        url,
        f"ALTER TABLE {VERSION_TABLE} RENAME TO alembic_version; "
        f"ALTER INDEX {VERSION_TABLE}_pkc RENAME TO alembic_version_pkc",
    )


async def everything(url: str, table: str = "alembic_version") -> list[dict[str, object]]:
    return await fetch(url, f"SELECT *, ctid::text AS place, xmin::text AS writer FROM {table}")


OTHERS = {
    "a revision of its own": "CREATE TABLE alembic_version AS SELECT 'ae1027a6acf'::varchar AS version_num",
    "a revision like ours": "CREATE TABLE alembic_version AS SELECT '013'::varchar AS version_num",
    "a number": "CREATE TABLE alembic_version AS SELECT 14 AS version_num",
    "several": "CREATE TABLE alembic_version AS SELECT unnest(ARRAY['014', '015']) AS version_num",
    "none": "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
    "other columns": "CREATE TABLE alembic_version AS SELECT 'x' AS name, 1 AS number",
    "no table": "CREATE VIEW alembic_version AS SELECT 'ae1027a6acf' AS version_num, 0 AS ctid, 0 AS xmin",
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("start", ["empty", "014"])
@pytest.mark.parametrize("by", ["migrate up", "script"])
async def test_the_stamp_of_another_program_is_neither_read_nor_written(
    database_url: str, tmp_path: Path, other: str, start: str, by: str
) -> None:
    await execute(database_url, OTHERS[other])
    if start != "empty":
        await make_elsewhere(database_url, start)
        await execute(database_url, TWO_MEASUREMENTS)
    before = await everything(database_url)

    assert not (await migration_status(database_url)).up_to_date
    if by == "script":
        (tmp_path / "script.sql").write_text(migration_sql(), encoding="utf-8")
        status, output = await psql(database_url, tmp_path / "script.sql")
        assert status == 0, output
    else:
        await migrate_up(database_url)
    status_after = await migration_status(database_url)
    await migrate_down(database_url, "012")

    assert (status_after.current, status_after.pending) == (HEAD_REVISION, ())
    assert await stamp(database_url) == ["012"]
    assert await everything(database_url) == before


@pytest.mark.parametrize("revision", FORMER)
async def test_the_stamp_of_an_earlier_release_is_taken_over_once(
    any_database_url: str, revision: str
) -> None:
    await migrate_up(any_database_url, revision)
    await note_as_before(any_database_url)
    before, later = await everything(any_database_url), REVISIONS[REVISIONS.index(revision) + 1 :]
    status = await migration_status(any_database_url)

    assert (status.current, status.pending) == (revision, later)
    assert await migrate_up(any_database_url) == later
    assert await everything(any_database_url) == before
    assert await stamp(any_database_url) == [HEAD_REVISION]
    assert await migrate_up(any_database_url) == ()
    assert await migrate_down(any_database_url, "base") == REVISIONS[::-1]
    assert (await migration_status(any_database_url)).current is None


async def test_a_stamp_that_may_not_be_read_is_no_obstacle(database_url: str) -> None:
    await migrate_up(database_url, "013")
    await note_as_before(database_url)
    await execute(
        database_url,
        "REVOKE ALL ON alembic_version FROM PUBLIC, pattern_metrics_reader; "
        "CREATE ROLE blind LOGIN IN ROLE pattern_metrics_reader",
    )
    try:
        status = await migration_status(database_url.replace("postgres@", "blind@"))
    finally:
        await execute(database_url, "DROP ROLE blind")

    assert (status.current, status.recognised) == (None, "013")


@pytest.mark.parametrize("by", ["migrate up", "script"])
async def test_two_installations_of_one_search_path_keep_stamps_of_their_own(
    database_url: str, tmp_path: Path, by: str
) -> None:
    await execute(database_url, "CREATE SCHEMA first; CREATE SCHEMA second")
    await migrate_up(f"{database_url}?search_path=second")
    before = await everything(database_url, f"second.{VERSION_TABLE}")
    both = quote("first,second")
    await execute(f"{database_url}?search_path=first", "CREATE TABLE pattern_quality_metrics ()")
    assert (await migration_status(f"{database_url}?search_path={both}")).current is None
    await execute(f"{database_url}?search_path=first", "DROP TABLE pattern_quality_metrics")
    await make_elsewhere(f"{database_url}?search_path=first", "014")

    if by == "script":
        (tmp_path / "script.sql").write_text(migration_sql(), encoding="utf-8")
        status, output = await psql(
            f"{database_url}?options={quote('-csearch_path=' + 'first,second')}", tmp_path / "script.sql"
        )
        assert status == 0, output
    else:
        await migrate_up(f"{database_url}?search_path={both}")

    assert await everything(database_url, f"second.{VERSION_TABLE}") == before
    assert (await migration_status(f"{database_url}?search_path=first")).current == HEAD_REVISION
