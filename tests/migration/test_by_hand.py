"""Migration with psql, as a DBA does it: the file of one revision, or the script of all."""

from pathlib import Path

import pytest

from pattern_metrics.consumer.operations.migration import (
    HEAD_REVISION,
    migrate_up,
    migration_sql,
    migration_status,
)
from pattern_metrics.migrations.revisions import REVISIONS, VERSION_TABLE
from pattern_metrics.migrations.sql_files import read_sql
from tests.migration.databases import (
    TWO_MEASUREMENTS,
    Catalog,
    apply_by_hand,
    catalog,
    execute,
    fetch,
    make_elsewhere,
    measurements,
    psql,
    sql_file,
    stamp,
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The printed script."""
    path = tmp_path / "script.sql"
    path.write_text(migration_sql(), encoding="utf-8")
    return path


@pytest.mark.parametrize("populated", [False, True], ids=["empty", "populated"])
async def test_each_file_can_be_applied_by_hand_and_a_second_time_changes_nothing(
    any_database_url: str, newest_catalog: Catalog, populated: bool
) -> None:
    if populated:
        await make_elsewhere(any_database_url, "012")
        await execute(any_database_url, TWO_MEASUREMENTS)
        before = await measurements(any_database_url)
    else:
        before = []

    for revision in REVISIONS:
        await apply_by_hand(any_database_url, revision)
        once = await catalog(any_database_url) if not populated else {}
        await apply_by_hand(any_database_url, revision)
        assert populated or await catalog(any_database_url) == once

    assert await catalog(any_database_url) == newest_catalog
    assert await measurements(any_database_url) == before
    assert await migrate_up(any_database_url) == REVISIONS
    assert await catalog(any_database_url) == newest_catalog


async def test_the_ways_back_can_be_applied_by_hand_twice(any_database_url: str) -> None:
    await migrate_up(any_database_url)

    for revision in reversed(REVISIONS):
        for _ in range(2):
            status, output = await psql(
                any_database_url, sql_file(revision, ".down.sql"), "-v", "ON_ERROR_STOP=1"
            )
            assert status == 0, output
    assert (await catalog(any_database_url))["tables"] == []


@pytest.mark.parametrize("start", ["empty", *REVISIONS[:-1]])
async def test_the_script_brings_an_unstamped_database_to_the_newest_revision(
    any_database_url: str, newest_catalog: Catalog, script: Path, start: str
) -> None:
    before = []
    if start != "empty":
        await make_elsewhere(any_database_url, start)
        await execute(any_database_url, TWO_MEASUREMENTS)
        before = await measurements(any_database_url)

    status, output = await psql(any_database_url, script)

    assert status == 0, output
    assert await catalog(any_database_url) == newest_catalog
    assert await measurements(any_database_url) == before
    assert (await migration_status(any_database_url)).up_to_date


@pytest.mark.parametrize("start", REVISIONS)
async def test_the_script_brings_a_stamped_database_to_the_newest_revision(
    any_database_url: str, newest_catalog: Catalog, script: Path, start: str
) -> None:
    await migrate_up(any_database_url, start)
    await execute(any_database_url, TWO_MEASUREMENTS)
    before = await measurements(any_database_url)

    status, output = await psql(any_database_url, script)

    assert status == 0, output
    assert await catalog(any_database_url) == newest_catalog
    assert await measurements(any_database_url) == before
    assert await stamp(any_database_url) == [HEAD_REVISION]


async def test_the_script_refuses_the_stamp_of_another_release_and_changes_nothing(
    any_database_url: str, script: Path
) -> None:
    await execute(any_database_url, f"CREATE TABLE {VERSION_TABLE} AS SELECT 'ae1027a6acf' AS version_num")

    status, output = await psql(any_database_url, script)

    assert status != 0
    assert f"{VERSION_TABLE} holds a revision that this script does not know" in output
    assert await stamp(any_database_url) == ["ae1027a6acf"]
    assert await fetch(any_database_url, "SELECT to_regclass('pattern_quality_metrics') AS t") == [
        {"t": None}
    ]


def test_the_script_holds_every_file_word_for_word() -> None:
    script = migration_sql()

    for revision in REVISIONS:
        assert read_sql(sql_file(revision)) in script
    assert "\n\\ir" not in script, "the files that they include are not beside the script"


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_revision_has_its_files_beside_it(revision: str) -> None:
    assert sql_file(revision).is_file()
    assert sql_file(revision, ".down.sql").is_file()


def test_the_file_that_databases_in_the_field_know_keeps_its_name() -> None:
    assert sql_file("014").name == "014_add_pattern_quality_unique_constraint.sql"
