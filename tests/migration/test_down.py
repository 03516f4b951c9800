import asyncio
import os
from pathlib import Path

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
    Catalog,
    apply_by_hand,
    catalog,
    execute,
    fetch,
    make_elsewhere,
    measurements,
    stamp,
)
from tests.support.command import PROGRAM, CommandLine


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


async def test_each_revision_is_undone_to_what_the_files_before_it_make(
    any_migrated_database_url: str, any_database_url: str, newest_catalog: Catalog
) -> None:
    down = dict[str, Catalog]()
    for revision in reversed(REVISIONS[:-1]):
        await migrate_down(any_migrated_database_url, revision)
        down[revision] = await catalog(any_migrated_database_url)
        await migrate_up(any_migrated_database_url)
        assert await catalog(any_migrated_database_url) == newest_catalog
    await migrate_up(any_database_url)
    await migrate_down(any_database_url, "base")
    for revision in REVISIONS[:-1]:
        await apply_by_hand(any_database_url, revision)
        assert down[revision] == await catalog(any_database_url), revision


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


# Two rows of each table of 015. One letter is resolved, and one measurement has the id of its event.
WHAT_DOWN_DELETES = """
    INSERT INTO dead_letters
        (topic, partition, "offset", record_timestamp, reason, detail, status, resolved_at)
    VALUES
        ('t', 0, 0, 0, 'invalid_json', '', 'open', NULL),
        ('t', 0, 1, 0, 'invalid_json', '', 'redriven', now());
    INSERT INTO ingest_gaps (consumer_group, topic, partition, first_offset, last_offset)
    VALUES ('g', 't', 0, 0, 0), ('g', 't', 0, 5, 6);
    INSERT INTO ingest_progress (consumer_group, topic, partition, next_offset)
    VALUES ('g', 't', 0, 7), ('g', 't', 1, 7);
    INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, event_id)
    VALUES (gen_random_uuid(), 1, 1, gen_random_uuid()), (gen_random_uuid(), 1, 1, DEFAULT);
"""
OF_016 = "the status of 1 dead letters, which count as open again"
OF_015 = (
    "2 dead letters, 2 recorded gaps, the progress of 2 partitions, "
    "the ids of the events of 1 measurements, which stay"
)


async def everything(url: str) -> list[object]:
    tables = ("dead_letters", "ingest_gaps", "ingest_progress", "pattern_quality_metrics")
    return [
        await catalog(url),
        *[await fetch(url, f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables],
    ]


@pytest.mark.parametrize(("revision", "expected"), [("015", OF_016), ("014", f"{OF_016}, {OF_015}")])
async def test_the_command_counts_what_it_would_delete_and_deletes_it_only_with_yes(
    migrated_database_url: str, tmp_path: Path, revision: str, expected: str
) -> None:
    await execute(migrated_database_url, WHAT_DOWN_DELETES)
    before, command = await everything(migrated_database_url), CommandLine(tmp_path)

    refused = await command.run("migrate", "down", revision, database_url=migrated_database_url)
    after = await everything(migrated_database_url)
    done = await command.run("migrate", "down", revision, "--yes", database_url=migrated_database_url)

    assert refused.code == 2
    assert f"migrate down {revision} deletes {expected}\n" in refused.stderr
    assert "--yes" in refused.stderr
    assert after == before
    assert f"deletes {expected}" in done.succeeded().stderr
    assert (await migration_status(migrated_database_url)).current == revision


async def test_progress_and_gaps_of_a_topic_of_the_same_name_are_counted(
    migrated_database_url: str, tmp_path: Path
) -> None:
    await execute(
        migrated_database_url,
        """
        INSERT INTO ingest_progress (consumer_group, topic, partition, next_offset, topic_id)
        SELECT 'g', 't', 0, 7, gen_random_uuid() FROM generate_series(1, 3);
        INSERT INTO ingest_gaps (consumer_group, topic, partition, first_offset, last_offset, topic_id)
        SELECT 'g', 't', 0, 0, 5, gen_random_uuid() FROM generate_series(1, 3);
        """,
    )

    refused = await CommandLine(tmp_path).run("migrate", "down", "021", database_url=migrated_database_url)

    assert refused.code == 2
    for loss in ("the progress of 2 partitions of an earlier topic", "2 recorded gaps of another topic"):
        assert refused.stderr.count(loss) == 1


async def test_a_way_back_that_deletes_nothing_needs_no_yes(
    migrated_database_url: str, tmp_path: Path
) -> None:
    await execute(migrated_database_url, WHAT_DOWN_DELETES)
    command = CommandLine(tmp_path)

    (await command.run("migrate", "down", "016", database_url=migrated_database_url)).succeeded()

    assert (await migration_status(migrated_database_url)).current == "016"


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("y", 0)])
async def test_on_a_terminal_the_command_asks(migrated_database_url: str, answer: str, code: int) -> None:
    await execute(migrated_database_url, WHAT_DOWN_DELETES)
    master, slave = os.openpty()
    try:
        os.write(master, f"{answer}\n".encode())
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "migrate", "down", "014", "--database-url", migrated_database_url,
            stdin=slave, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, stderr = await process.communicate()
    finally:
        os.close(master)
        os.close(slave)

    assert process.returncode == code
    assert b"2 dead letters" in stderr
    assert b"Delete it?" in stderr
    assert (await migration_status(migrated_database_url)).current == (
        "014" if answer == "y" else REVISIONS[-1]
    )


async def test_a_way_back_waits_for_a_busy_table_and_nobody_waits_behind_it(
    migrated_database_url: str,
) -> None:
    busy, reader = await asyncpg.connect(migrated_database_url), await asyncpg.connect(migrated_database_url)
    try:
        transaction = busy.transaction()
        await transaction.start()
        await busy.execute("LOCK TABLE pattern_quality_metrics IN ACCESS SHARE MODE")
        going_down = asyncio.create_task(migrate_down(migrated_database_url, "014"))
        for _ in range(20):
            await asyncio.wait_for(reader.fetch("SELECT * FROM pattern_quality_metrics"), timeout=20)
            await asyncio.wait([going_down], timeout=0.05)
        assert not going_down.done()
        await transaction.rollback()
        assert await going_down == REVISIONS[:2:-1]
    finally:
        await busy.close()
        await reader.close()


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
    assert await migrate_up(database_url) == ("022", "023")
    assert await fetch(database_url, progress) == [of_second, without_id | {"topic_id": str(NO_TOPIC_ID)}]
