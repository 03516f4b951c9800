import random
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from pattern_metrics.consumer.operations.migration import (
    HEAD_REVISION,
    migrate_down,
    migrate_up,
    migration_sql,
    migration_status,
)
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.migrations.revisions import REVISIONS, VERSION_TABLE
from tests.migration.databases import (
    MADE_ELSEWHERE,
    TWO_MEASUREMENTS,
    Catalog,
    apply_by_hand,
    catalog,
    execute,
    fetch,
    make_elsewhere,
    measurements,
    psql,
    stamp,
)
from tests.support.batches import a_batch, write
from tests.support.pipeline import an_event


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


async def test_the_revision_of_an_unstamped_database_is_recognised(
    any_database_url: str,
) -> None:
    recognised = {}
    for revision in REVISIONS:
        await apply_by_hand(any_database_url, revision)
        recognised[revision] = (await migration_status(any_database_url)).recognised

    # Without a lineage table, 012 already leaves everything that 013 checks for.
    assert recognised == {revision: revision for revision in REVISIONS} | {"012": "013"}


# The columns as other software may have them: all but three may be missing, and each may lack its default.
COLUMNS = {
    "id": ("uuid", "gen_random_uuid()"),
    "pattern_id": ("uuid NOT NULL", None),
    "quality_score": ("double precision NOT NULL", None),
    "confidence": ("double precision NOT NULL", None),
    "measurement_timestamp": ("timestamptz", "now()"),
    "version": ("text", "'1.0.0'"),
    "metadata": ("jsonb", "'{}'"),
    "created_at": ("timestamptz", "now()"),
    "updated_at": ("timestamptz", "now()"),
}
OPTIONAL = [name for name, (_, default) in COLUMNS.items() if default]
SIX = ["pattern_id", "quality_score", "confidence", "measurement_timestamp", "version", "metadata"]


def a_table_of_other_software(draw: random.Random) -> list[str]:
    """Return definitions: some of our columns, in any order, some without a default, and two others."""
    missing = draw.sample(OPTIONAL, draw.randrange(len(OPTIONAL) + 1))
    without_default = draw.sample(OPTIONAL, draw.randrange(len(OPTIONAL) + 1))
    columns = [
        f"{name} {kind} DEFAULT {default}" if default and name not in without_default else f"{name} {kind}"
        for name, (kind, default) in COLUMNS.items()
        if name not in missing
    ]
    columns += draw.sample(["owner text", "run_id integer NOT NULL DEFAULT 7", "number bigserial"], 2)
    draw.shuffle(columns)
    if "id" not in missing and draw.random() < 0.5:
        columns.append("PRIMARY KEY (id)")
    return columns


@pytest.mark.parametrize("seed", range(8))
async def test_a_table_that_lacks_columns_defaults_or_its_key_gets_them(
    any_database_url: str, newest_catalog: Catalog, seed: int
) -> None:
    columns = a_table_of_other_software(random.Random(seed))
    if seed == 0:  # the table as the former software is known to have it
        columns = ["id uuid PRIMARY KEY DEFAULT gen_random_uuid()"] + [
            f"{name} {kind} DEFAULT {default}" if default else f"{name} {kind}"
            for name, (kind, default) in COLUMNS.items()
            if name in SIX
        ]
    rows = "SELECT gen_random_uuid(), number / 10.0, 0.5 FROM generate_series(1, 5) AS number"
    ids = ", id" if any(column.startswith("id uuid") for column in columns) else ""
    await execute(
        any_database_url,
        f"CREATE TABLE pattern_quality_metrics ({', '.join(columns)});"
        f"INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence{ids}) "
        + (rows.replace(" FROM", ", gen_random_uuid() FROM") if ids else rows),
    )
    before = await fetch(any_database_url, "SELECT * FROM pattern_quality_metrics ORDER BY pattern_id")

    await migrate_up(any_database_url)

    after = await fetch(any_database_url, "SELECT * FROM pattern_quality_metrics ORDER BY pattern_id")
    assert [{name: row[name] for name in before[0]} for row in after] == before
    made_here = {row["attname"]: row for row in newest_catalog["columns"]}
    taken_over = {row["attname"]: row for row in (await catalog(any_database_url))["columns"]}
    for name in OPTIONAL:
        assert (taken_over[name]["type"], taken_over[name]["value"]) == (
            made_here[name]["type"],
            made_here[name]["value"],
        )
    keys = "SELECT FROM pg_index WHERE indrelid = 'pattern_quality_metrics'::regclass AND indisprimary"
    assert len(await fetch(any_database_url, keys)) == 1
    store = Store(any_database_url)
    try:
        assert await write(store, a_batch([an_event(1), an_event(2)])) == Accounting(applied=2)
        newer = an_event(1, seconds=1).model_copy(update={"pattern_id": before[0]["pattern_id"]})
        if "measurement_timestamp" not in before[0]:
            assert await write(store, a_batch([newer])) == Accounting(applied=1), (
                "a row without a time is older"
            )
    finally:
        await store.close()


async def test_a_table_whose_ids_are_not_unique_stays_without_a_key(database_url: str) -> None:
    await make_elsewhere(database_url, "013")
    await execute(
        database_url, "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT pattern_quality_metrics_pkey"
    )
    await execute(
        database_url,
        TWO_MEASUREMENTS + "UPDATE pattern_quality_metrics SET id = '00000000-0000-0000-0000-000000000001'",
    )
    before = await measurements(database_url)

    with capture_logs() as logs:
        await migrate_up(database_url)

    assert await measurements(database_url) == before
    warnings = [log["message"] for log in logs if log["log_level"] == "warning"]
    assert any("no primary key, as its ids are not unique" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER COLUMN version TYPE varchar(20)", "version must be text and is character varying(20)"),
        ("ALTER COLUMN quality_score TYPE numeric", "quality_score must be double precision and is numeric"),
        ("DROP COLUMN confidence", "confidence must be double precision and is missing"),
    ],
)
async def test_a_table_that_does_not_fit_is_refused_and_left_as_it_is(
    any_database_url: str, change: str, expected: str
) -> None:
    await make_elsewhere(any_database_url, "012")
    await execute(any_database_url, f"ALTER TABLE pattern_quality_metrics {change}")
    before = await catalog(any_database_url)

    with pytest.raises(asyncpg.InvalidTableDefinitionError) as refused:
        await migrate_up(any_database_url)

    assert expected in str(refused.value)
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
async def test_anything_but_a_plain_table_is_refused_with_advice(any_database_url: str, kind: str) -> None:
    await make_elsewhere(any_database_url, "012")
    await execute(any_database_url, f"ALTER TABLE pattern_quality_metrics RENAME TO t; CREATE {kind}")

    with pytest.raises(
        asyncpg.WrongObjectTypeError, match="is a partitioned table or a view, which is not supported"
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
    ("change", "expected"),
    [
        ("ADD COLUMN owner text NOT NULL", "dead_letters.owner must be nullable or have a default"),
        ("ALTER COLUMN value SET NOT NULL", "dead_letters.value must be nullable or have a default"),
    ],
)
async def test_a_column_that_nothing_would_fill_is_refused_before_anything_is_written(
    database_url: str, change: str, expected: str
) -> None:
    await migrate_up(database_url)
    await execute(database_url, f"DROP TABLE {VERSION_TABLE}; ALTER TABLE dead_letters {change}")

    with pytest.raises(asyncpg.InvalidTableDefinitionError, match=expected):
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
