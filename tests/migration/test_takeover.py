from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import UUID

import asyncpg
import pytest

from pattern_metrics.consumer.operations.migration import (
    HEAD_REVISION,
    migrate_down,
    migrate_up,
    migration_sql,
    migration_status,
)
from pattern_metrics.migrations.revisions import REVISIONS, VERSION_TABLE
from tests.migration.databases import (
    MADE_ELSEWHERE,
    TWO_MEASUREMENTS,
    apply_by_hand,
    catalog,
    execute,
    fetch,
    make_elsewhere,
    measurements,
    psql,
    stamp,
)


@pytest.mark.parametrize("revision", MADE_ELSEWHERE)
async def test_a_table_from_elsewhere_is_recognised_and_taken_over_with_its_rows(
    any_database_url: str, revision: str
) -> None:
    await make_elsewhere(any_database_url, revision)
    await execute(any_database_url, TWO_MEASUREMENTS)
    before = await measurements(any_database_url)
    status = await migration_status(any_database_url)

    applied = await migrate_up(any_database_url)

    assert (status.current, status.recognised, status.pending) == (None, revision, REVISIONS)
    assert applied == REVISIONS
    assert await stamp(any_database_url) == [HEAD_REVISION]
    assert await measurements(any_database_url) == before
    assert len(before) == 2
    assert await fetch(any_database_url, "SELECT conname FROM pg_constraint WHERE contype = 'f'") == []
    assert await fetch(
        any_database_url,
        "SELECT to_regclass('pattern_lineage_nodes') IS NOT NULL AS lineage_stays, "
        "to_regclass('pattern_quality_metrics_duplicates') IS NULL AS none_needed",
    ) == [{"lineage_stays": True, "none_needed": True}]


@pytest.mark.parametrize("revision", MADE_ELSEWHERE)
async def test_a_taken_over_database_equals_one_made_here(
    database_url: str, migrated_database_url: str, revision: str
) -> None:
    await make_elsewhere(database_url, revision)
    await migrate_up(database_url)

    assert await catalog(database_url) == await catalog(migrated_database_url)


async def test_a_row_from_before_events_had_ids_has_the_smallest_one(database_url: str) -> None:
    await make_elsewhere(database_url, "014")
    await execute(database_url, TWO_MEASUREMENTS)
    await migrate_up(database_url)

    assert await fetch(database_url, "SELECT DISTINCT event_id FROM pattern_quality_metrics") == [
        {"event_id": UUID(int=0)}
    ]


async def test_where_an_unstamped_database_stands_is_recognised_after_each_revision(
    any_database_url: str,
) -> None:
    recognised = {}
    for revision in REVISIONS:
        await apply_by_hand(any_database_url, revision)
        recognised[revision] = (await migration_status(any_database_url)).recognised

    # Without a lineage table, 012 already leaves everything that 013 checks for.
    assert recognised == {revision: revision for revision in REVISIONS} | {"012": "013"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER COLUMN version TYPE varchar(20)", "version must be text and is character varying(20)"),
        ("ALTER COLUMN quality_score TYPE numeric", "quality_score must be double precision and is numeric"),
        ("DROP COLUMN metadata", "metadata must be jsonb and is missing"),
    ],
)
async def test_a_table_that_does_not_fit_is_refused_and_left_as_it_is(
    any_database_url: str, change: str, told: str
) -> None:
    await make_elsewhere(any_database_url, "012")
    await execute(any_database_url, f"ALTER TABLE pattern_quality_metrics {change}")
    before = await catalog(any_database_url)

    with pytest.raises(asyncpg.InvalidTableDefinitionError) as refused:
        await migrate_up(any_database_url)

    assert told in str(refused.value)
    assert "Alter these columns" in (refused.value.hint or "")
    assert await catalog(any_database_url) == before
    assert await fetch(any_database_url, f"SELECT to_regclass('{VERSION_TABLE}') AS t") == [{"t": None}]


@pytest.mark.parametrize(
    "kind",
    [
        "TABLE pattern_quality_metrics (LIKE t) PARTITION BY HASH (id)",
        "VIEW pattern_quality_metrics AS TABLE t",
    ],
    ids=["partitioned", "view"],
)
async def test_what_is_no_plain_table_is_refused_with_what_to_do(any_database_url: str, kind: str) -> None:
    await make_elsewhere(any_database_url, "012")
    await execute(any_database_url, f"ALTER TABLE pattern_quality_metrics RENAME TO t; CREATE {kind}")

    with pytest.raises(
        asyncpg.WrongObjectTypeError, match="is partitioned, or a view: not supported"
    ) as refused:
        await migrate_up(any_database_url)

    assert "copy its rows" in (refused.value.hint or "")


async def test_another_table_of_the_name_of_one_of_ours_is_refused(database_url: str) -> None:
    await execute(database_url, 'CREATE TABLE dead_letters (id int, topic text, key text, "offset" bigint)')

    with pytest.raises(
        asyncpg.InvalidTableDefinitionError, match=r"dead_letters.key must be bytea and is text"
    ):
        await migrate_up(database_url)
    assert await fetch(database_url, "SELECT to_regclass('pattern_quality_metrics') AS t") == [{"t": None}]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ADD COLUMN owner text NOT NULL", "dead_letters.owner must be nullable or have a default"),
        ("ALTER COLUMN value SET NOT NULL", "dead_letters.value must be nullable or have a default"),
    ],
)
async def test_a_column_that_nothing_would_fill_is_refused_before_anything_is_written(
    database_url: str, change: str, told: str
) -> None:
    await migrate_up(database_url)
    await execute(database_url, f"DROP TABLE {VERSION_TABLE}; ALTER TABLE dead_letters {change}")

    with pytest.raises(asyncpg.InvalidTableDefinitionError, match=told):
        await migrate_up(database_url)


async def test_every_foreign_key_of_the_pattern_is_dropped_and_no_other(any_database_url: str) -> None:
    await make_elsewhere(any_database_url, "012")
    await execute(
        any_database_url,
        """
        CREATE TABLE runs (id uuid PRIMARY KEY);
        ALTER TABLE pattern_quality_metrics
            ADD COLUMN run_id uuid CONSTRAINT run REFERENCES runs (id) DEFERRABLE INITIALLY DEFERRED,
            ADD CONSTRAINT "a ""second"" one" FOREIGN KEY (pattern_id) REFERENCES pattern_lineage_nodes (id)
                ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
        """,
    )

    await migrate_up(any_database_url)

    assert await fetch(any_database_url, "SELECT conname FROM pg_constraint WHERE contype = 'f'") == [
        {"conname": "run"}
    ]


OTHER_SCHEMA_FIRST = "?search_path=" + quote('"a, b",public')


@pytest.mark.parametrize("by", ["migrate up", "script"])
async def test_a_table_in_a_later_schema_of_the_search_path_is_taken_over_where_it_is(
    database_url: str, tmp_path: Path, by: str
) -> None:
    await make_elsewhere(database_url, "012")
    await execute(database_url, TWO_MEASUREMENTS + 'CREATE SCHEMA "a, b"')
    before, url = await measurements(database_url), f"{database_url}{OTHER_SCHEMA_FIRST}"

    if by == "script":
        (tmp_path / "script.sql").write_text(migration_sql(), encoding="utf-8")
        options = urlencode({"options": '-c search_path="a,\\ b",public'}, quote_via=quote)
        status, output = await psql(f"{database_url}?{options}", tmp_path / "script.sql")
        assert status == 0, output
    else:
        assert (await migration_status(url)).recognised == "012"
        assert await migrate_up(url) == REVISIONS

    assert (await migration_status(url)).up_to_date
    assert await migrate_up(url) == ()
    assert await measurements(url) == before
    schemas = "SELECT DISTINCT relnamespace::regnamespace::text AS s FROM pg_class WHERE relname = ANY ($1)"
    tables = ["pattern_quality_metrics", "dead_letters", "ingest_progress", "ingest_gaps", VERSION_TABLE]
    assert await fetch(database_url, schemas, tables) == [{"s": "public"}]
    assert await migrate_down(url, "012") == REVISIONS[:0:-1]
