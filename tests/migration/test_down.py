import asyncpg
import pytest

from pattern_metrics.consumer.operations.migration import (
    MigrationError,
    migrate_down,
    migrate_up,
    migration_status,
)
from pattern_metrics.consumer.records.offsets import NO_TOPIC_ID
from pattern_metrics.migrations.revisions import REVISIONS
from tests.migration.databases import (
    NO_SCHEMA,
    TWO_MEASUREMENTS,
    apply_by_hand_up_to,
    catalog,
    execute,
    fetch,
    make_elsewhere,
    measurements,
    stamp,
)


async def test_the_measurements_survive_down_and_up_again(any_database_url: str) -> None:
    await migrate_up(any_database_url)
    await execute(any_database_url, TWO_MEASUREMENTS)
    before = await catalog(any_database_url), await measurements(any_database_url)

    undone = await migrate_down(any_database_url, "013")

    assert undone == REVISIONS[:1:-1]
    assert (await migration_status(any_database_url)).current == "013"
    assert await measurements(any_database_url) == before[1]
    assert await migrate_up(any_database_url) == REVISIONS[2:]
    assert (await catalog(any_database_url), await measurements(any_database_url)) == before


@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_each_revision_is_undone_to_what_the_files_before_it_make(
    any_database_url: str, revision: str
) -> None:
    await migrate_up(any_database_url)
    await migrate_down(any_database_url, revision)
    down = await catalog(any_database_url)
    await migrate_up(any_database_url)
    await migrate_down(any_database_url, "base")
    await apply_by_hand_up_to(any_database_url, revision)

    assert down == await catalog(any_database_url)


async def test_down_to_the_base_leaves_nothing(any_database_url: str) -> None:
    await migrate_up(any_database_url)

    assert await migrate_down(any_database_url, "base") == REVISIONS[::-1]
    assert await catalog(any_database_url) == NO_SCHEMA
    assert await migrate_down(any_database_url, "base") == ()
    assert await migrate_up(any_database_url) == REVISIONS


async def test_a_table_that_holds_measurements_is_not_dropped(any_database_url: str) -> None:
    await migrate_up(any_database_url)
    await execute(any_database_url, TWO_MEASUREMENTS)
    before = await catalog(any_database_url), await measurements(any_database_url)

    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="still holds measurements"):
        await migrate_down(any_database_url, "base")

    assert (await catalog(any_database_url), await measurements(any_database_url)) == before
    assert await stamp(any_database_url) == [REVISIONS[-1]]


async def test_the_duplicates_that_were_moved_stay_on_the_way_down(any_database_url: str) -> None:
    await make_elsewhere(any_database_url, "013")
    await execute(any_database_url, TWO_MEASUREMENTS + TWO_MEASUREMENTS)
    await migrate_up(any_database_url)

    await migrate_down(any_database_url, "012")

    assert await fetch(any_database_url, "SELECT count(*) FROM pattern_quality_metrics_duplicates") == [
        {"count": 2}
    ]
    assert len(await measurements(any_database_url)) == 2


async def test_down_to_a_revision_that_the_database_has_not_reached_is_refused(database_url: str) -> None:
    with pytest.raises(MigrationError, match="run migrate up first"):
        await migrate_down(database_url, "013")
    await migrate_up(database_url, "013")
    with pytest.raises(MigrationError, match="not stamped with 014 or later"):
        await migrate_down(database_url, "014")
    assert await migrate_down(database_url, "013") == ()
    assert await stamp(database_url) == ["013"]


async def test_down_from_022_keeps_the_topic_of_a_name_that_was_written_last(database_url: str) -> None:
    await migrate_up(database_url)
    await execute(
        database_url,
        """
        INSERT INTO ingest_progress (consumer_group, topic, partition, next_offset, topic_id, updated_at)
        VALUES
            ('g', 't', 0, 5, '00000000-0000-0000-0000-000000000001', '2026-01-01Z'),
            ('g', 't', 0, 3, '00000000-0000-0000-0000-000000000002', '2026-01-02Z'),
            ('g', 't', 1, 9, '00000000-0000-0000-0000-000000000000', '2026-01-01Z');
        INSERT INTO ingest_gaps (consumer_group, topic, topic_id, partition, first_offset, last_offset)
        VALUES
            ('g', 't', '00000000-0000-0000-0000-000000000001', 0, 1, 4),
            ('g', 't', '00000000-0000-0000-0000-000000000002', 0, 1, 2);
        """,
    )

    await migrate_down(database_url, "021")

    progress = "SELECT partition, next_offset, topic_id::text FROM ingest_progress ORDER BY 1"
    of_second = {"partition": 0, "next_offset": 3, "topic_id": "00000000-0000-0000-0000-000000000002"}
    without_id = {"partition": 1, "next_offset": 9, "topic_id": None}
    assert await fetch(database_url, progress) == [of_second, without_id]
    gaps = "SELECT first_offset, last_offset FROM ingest_gaps"
    assert await fetch(database_url, gaps) == [{"first_offset": 1, "last_offset": 4}]
    assert await migrate_up(database_url) == ("022",)
    assert await fetch(database_url, progress) == [of_second, without_id | {"topic_id": str(NO_TOPIC_ID)}]
