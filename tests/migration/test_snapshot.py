from tests.migration.databases import MIGRATIONS, Catalog, catalog, execute
from tests.reference.pages import FOLDER, TABLES
from tests.reference.tables import DESCRIPTIONS, tables_page


async def test_the_snapshot_of_the_schema_equals_what_the_revisions_make(
    any_database_url: str, newest_catalog: Catalog
) -> None:
    await execute(any_database_url, (MIGRATIONS / "schema.sql").read_text(encoding="utf-8"))

    snapshot = await catalog(any_database_url)
    assert snapshot == newest_catalog
    assert all(snapshot.values())


async def test_every_table_and_every_column_that_we_added_says_what_it_is(migrated_database_url: str) -> None:
    schema = await catalog(migrated_database_url)

    assert all(table["comment"] for table in schema["tables"])
    silent = [column for column in schema["columns"] if not column["comment"]]
    assert {column["relation"] for column in silent} == {"pattern_quality_metrics"}


async def test_the_reference_of_the_tables_is_what_the_catalog_says(any_migrated_database_url: str) -> None:
    described = await tables_page(any_migrated_database_url)

    assert (FOLDER / TABLES).read_text(encoding="utf-8") == described, "run `make reference`"
    assert not [name for name in DESCRIPTIONS if f"`{name}`" not in described]
