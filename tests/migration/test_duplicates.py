import random
from collections import defaultdict
from collections.abc import Mapping
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from pattern_metrics.consumer.operations.migration import migrate_down, migrate_up
from pattern_metrics.migrations.revisions import REVISIONS, VERSION_TABLE
from tests.migration.databases import (
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

DUPLICATES = "pattern_quality_metrics_duplicates"

DROP_CONSTRAINT = (
    "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT pattern_quality_metrics_pattern_id_unique"
)


async def insert_random_measurements(url: str) -> None:
    """Insert combinations of a few times, so that all kinds of ties arise. Some patterns have one row."""
    times = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z", None]
    rows = [
        (str(UUID(int=pattern)), score / 100, measured, updated, created)
        for pattern in range(4)
        for score, (measured, updated, created) in enumerate(product(times[:2], times, times))
    ]
    rows += [(str(UUID(int=pattern)), 0.5, times[0], times[0], times[0]) for pattern in range(100, 110)]
    random.shuffle(rows)
    values = ", ".join(
        "(" + ", ".join("NULL" if value is None else f"'{value}'" for value in row) + ", 0.5)" for row in rows
    )
    await execute(
        url,
        "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, measurement_timestamp, updated_at, "
        f"created_at, confidence) VALUES {values}",
    )


def rank(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["measurement_timestamp"], row["updated_at"] or "", row["created_at"] or ""


@pytest.mark.parametrize("revision", ["012", "013"])
async def test_the_latest_measurement_per_pattern_stays_and_others_move_unaltered(
    any_database_url: str, revision: str
) -> None:
    await make_elsewhere(any_database_url, "013")
    await insert_random_measurements(any_database_url)
    if revision == "012":
        await execute(
            any_database_url,
            """
            INSERT INTO pattern_lineage_nodes SELECT DISTINCT pattern_id FROM pattern_quality_metrics;
            ALTER TABLE pattern_quality_metrics ADD FOREIGN KEY (pattern_id) REFERENCES pattern_lineage_nodes;
            """,
        )
    before = await measurements(any_database_url)
    of_pattern = defaultdict(list)
    for row in before:
        of_pattern[row["pattern_id"]].append(row)

    await migrate_up(any_database_url)

    kept, moved = await measurements(any_database_url), await measurements(any_database_url, DUPLICATES)
    assert {row["pattern_id"] for row in kept} == set(of_pattern)
    assert len(kept) == len(of_pattern)
    for row in kept:
        assert rank(row) == max(map(rank, of_pattern[row["pattern_id"]]))
    assert sorted(kept + moved, key=lambda row: row["id"]) == before
    assert len(moved) == len(before) - len(kept) > 0
    assert await fetch(any_database_url, f"SELECT count(*) FROM {DUPLICATES} WHERE moved_at IS NULL") == [
        {"count": 0}
    ]


async def test_of_equal_measurements_exactly_one_stays(any_database_url: str) -> None:
    await make_elsewhere(any_database_url, "013")
    await execute(
        any_database_url,
        "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence) "
        "SELECT '00000000-0000-0000-0000-00000000000a', 0.5, 0.5 FROM generate_series(1, 50)",
    )

    await migrate_up(any_database_url)

    assert len(await measurements(any_database_url)) == 1
    assert len(await measurements(any_database_url, DUPLICATES)) == 49


async def test_once_rows_know_their_event_the_greater_id_wins_a_tie(any_database_url: str) -> None:
    await migrate_up(any_database_url)
    await execute(any_database_url, DROP_CONSTRAINT)
    await execute(
        any_database_url,
        """
        INSERT INTO pattern_quality_metrics
            (pattern_id, quality_score, confidence, measurement_timestamp, event_id, updated_at)
        SELECT '00000000-0000-0000-0000-00000000000a', 0.5, 0.5, '2026-01-01Z', event::uuid, updated
        FROM (VALUES
            ('00000000-0000-0000-0000-000000000001', now()),
            ('ff000000-0000-0000-0000-000000000000', now() - interval '1 day'),
            ('7f000000-0000-0000-0000-000000000000', now())
        ) AS made (event, updated)
        """,
    )

    await apply_by_hand(any_database_url, "014")

    assert await fetch(any_database_url, "SELECT event_id::text FROM pattern_quality_metrics") == [
        {"event_id": "ff000000-0000-0000-0000-000000000000"}
    ]
    assert await fetch(any_database_url, f"SELECT event_id::text FROM {DUPLICATES} ORDER BY 1") == [
        {"event_id": "00000000-0000-0000-0000-000000000001"},
        {"event_id": "7f000000-0000-0000-0000-000000000000"},
    ]


async def test_a_later_move_appends_also_where_the_columns_differ_by_then(any_database_url: str) -> None:
    def measure(when: str) -> str:
        return (
            "INSERT INTO pattern_quality_metrics "
            "(pattern_id, quality_score, confidence, measurement_timestamp) "
            f"VALUES ('00000000-0000-0000-0000-00000000000a', 0.5, 0.5, '{when}')"
        )

    await make_elsewhere(any_database_url, "013")
    await execute(any_database_url, f"{measure('2026-01-01Z')}; {measure('2026-01-02Z')}")
    await migrate_up(any_database_url)  # moves without event_id
    await execute(any_database_url, f"{DROP_CONSTRAINT}; {measure('2026-01-03Z')}")
    await apply_by_hand(any_database_url, "014")  # with event_id
    await migrate_down(any_database_url, "013")
    await execute(any_database_url, measure("2026-01-04Z"))
    await migrate_up(any_database_url)  # and without it again

    assert await fetch(
        any_database_url,
        "SELECT extract(day FROM measurement_timestamp AT TIME ZONE 'UTC')::int AS day, "
        f"event_id IS NULL AS none FROM {DUPLICATES} ORDER BY 1",
    ) == [{"day": 1, "none": True}, {"day": 2, "none": False}, {"day": 3, "none": True}]
    assert len(await measurements(any_database_url)) == 1


async def test_a_table_that_a_later_revision_refuses_is_refused_before_the_move(
    any_database_url: str,
) -> None:
    await make_elsewhere(any_database_url, "012")
    await execute(any_database_url, "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT fk_of_another_name")
    await insert_random_measurements(any_database_url)
    await execute(any_database_url, "CREATE TABLE dead_letters (id int)")  # 015 will refuse this table
    before = await measurements(any_database_url), await catalog(any_database_url)

    with pytest.raises(asyncpg.InvalidTableDefinitionError):
        await migrate_up(any_database_url)

    assert (await measurements(any_database_url), await catalog(any_database_url)) == before
    assert await fetch(
        any_database_url, f"SELECT to_regclass('{DUPLICATES}') AS d, to_regclass('{VERSION_TABLE}') AS v"
    ) == [{"d": None, "v": None}]


async def test_014_by_hand_tries_a_change_before_it_moves_a_row(any_database_url: str) -> None:
    await make_elsewhere(any_database_url, "013")
    await insert_random_measurements(any_database_url)
    await execute(
        any_database_url,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
        CREATE TRIGGER refuse BEFORE UPDATE ON pattern_quality_metrics EXECUTE FUNCTION refuse();
        """,
    )
    before = await measurements(any_database_url), (await catalog(any_database_url))["constraints"]

    status, output = await psql(any_database_url, sql_file("014"))

    assert status != 0, "it stops at the error, also without -v ON_ERROR_STOP=1"
    assert "an upsert by pattern_id does not work: no" in output
    assert (await measurements(any_database_url), (await catalog(any_database_url))["constraints"]) == before
    assert await fetch(any_database_url, f"SELECT to_regclass('{DUPLICATES}') AS d") == [{"d": None}]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
async def test_duplicates_whose_move_would_change_other_tables_are_left_to_a_person(
    any_database_url: str, action: str
) -> None:
    await make_elsewhere(any_database_url, "013")
    await insert_random_measurements(any_database_url)
    await execute(
        any_database_url,
        f"""
        CREATE TABLE remarks (metric_id uuid REFERENCES pattern_quality_metrics (id) ON DELETE {action});
        INSERT INTO remarks SELECT id FROM pattern_quality_metrics;
        """,
    )
    before = await measurements(any_database_url), await fetch(any_database_url, "TABLE remarks")

    with pytest.raises(asyncpg.DependentObjectsStillExistError):
        await migrate_up(any_database_url)

    assert (await measurements(any_database_url), await fetch(any_database_url, "TABLE remarks")) == before


async def test_a_unique_index_of_another_name_does_not_stand_in_for_ours(any_database_url: str) -> None:
    await make_elsewhere(any_database_url, "013")
    await execute(any_database_url, "CREATE UNIQUE INDEX theirs ON pattern_quality_metrics (pattern_id)")

    assert await migrate_up(any_database_url) == REVISIONS
    assert await fetch(
        any_database_url,
        "SELECT indexrelid::regclass::text AS name FROM pg_index "
        "WHERE indrelid = 'pattern_quality_metrics'::regclass ORDER BY 1",
    ) == [
        {"name": "pattern_quality_metrics_pattern_id_unique"},
        {"name": "pattern_quality_metrics_pkey"},
        {"name": "theirs"},
    ]
    assert await stamp(any_database_url) == [REVISIONS[-1]]
