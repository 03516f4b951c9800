"""Every table can be part of a publication of all tables, which must identify changed rows."""

import pytest

from pattern_metrics.consumer.operations.migration import migrate_up
from pattern_metrics.migrations.revisions import REVISIONS
from tests.migration.databases import (
    TWO_MEASUREMENTS,
    apply_by_hand,
    execute,
    fetch,
    make_elsewhere,
    measurements,
)

BEFORE = REVISIONS[REVISIONS.index("021") - 1]

TABLES = """
    SELECT oid::regclass::text AS name, (
        SELECT quote_ident(attname) FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum LIMIT 1
    ) AS first_column
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        AND relname <> 'pattern_lineage_nodes'
"""

FILES = """
    SELECT oid::regclass::text AS name, pg_relation_filenode(oid) AS file
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 't') ORDER BY 1
"""


async def assert_rows_may_change(url: str) -> None:
    tables = await fetch(url, TABLES)
    assert {"pattern_quality_metrics", "pattern_quality_history"} <= {table["name"] for table in tables}
    for table in tables:
        name, column = table["name"], table["first_column"]
        await execute(url, f"UPDATE {name} SET {column} = {column}")
        await execute(url, f"BEGIN; DELETE FROM {name}; ROLLBACK")


async def test_rows_of_every_table_may_change_under_a_publication_of_all(any_database_url: str) -> None:
    await make_elsewhere(any_database_url, "013")
    await execute(any_database_url, TWO_MEASUREMENTS + TWO_MEASUREMENTS)
    await migrate_up(any_database_url)
    await execute(any_database_url, "CREATE PUBLICATION everything FOR ALL TABLES")

    await assert_rows_may_change(any_database_url)


@pytest.mark.parametrize("is_named", [True, False], ids=["pattern never null", "pattern may be null"])
async def test_a_table_from_elsewhere_without_a_key_gets_an_identity(
    any_database_url: str, is_named: bool
) -> None:
    await make_elsewhere(any_database_url, "014")
    await execute(
        any_database_url, "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT pattern_quality_metrics_pkey"
    )
    if not is_named:
        await execute(
            any_database_url, "ALTER TABLE pattern_quality_metrics ALTER COLUMN pattern_id DROP NOT NULL"
        )
    await execute(any_database_url, TWO_MEASUREMENTS)
    before = await measurements(any_database_url)
    await migrate_up(any_database_url)
    await execute(any_database_url, "CREATE PUBLICATION everything FOR ALL TABLES")

    await assert_rows_may_change(any_database_url)
    assert await measurements(any_database_url) == before


async def test_an_identity_of_the_operators_choice_stays(any_database_url: str) -> None:
    await migrate_up(any_database_url, BEFORE)
    await execute(any_database_url, "ALTER TABLE pattern_quality_history REPLICA IDENTITY FULL")
    await migrate_up(any_database_url)

    query = "SELECT relreplident::text FROM pg_class WHERE oid = 'pattern_quality_history'::regclass"
    assert await fetch(any_database_url, query) == [{"relreplident": "f"}]


@pytest.mark.parametrize("lost", ["NOTHING", "DEFAULT"])
async def test_an_identity_that_was_taken_away_comes_back(any_migrated_database_url: str, lost: str) -> None:
    await execute(
        any_migrated_database_url,
        f"ALTER TABLE pattern_quality_history REPLICA IDENTITY {lost}; "
        "CREATE PUBLICATION everything FOR ALL TABLES",
    )

    assert "021" in await migrate_up(any_migrated_database_url)
    await assert_rows_may_change(any_migrated_database_url)


async def test_an_identity_is_given_without_reading_or_writing_the_table(any_database_url: str) -> None:
    """Otherwise readers of a large table would wait until an index is built."""
    await migrate_up(any_database_url, BEFORE)
    before = await fetch(any_database_url, FILES)

    await apply_by_hand(any_database_url, "021")

    assert await fetch(any_database_url, FILES) == before
