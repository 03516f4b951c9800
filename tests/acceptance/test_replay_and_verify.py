"""Replay and verify as the installed command: their reports are true, and they leave the fold."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import SECONDS_MAX, CommandLine
from tests.support.letters import rows, run_sql
from tests.support.load import WATCH_FOR_STEPS_BACK, Load, is_shared
from tests.support.pipeline import (
    an_event,
    committed_offsets,
    dead_letters,
    execute,
    expected_table,
    fetch,
    producing,
    progress,
    send,
    table,
)
from tests.support.waiting import eventually

NUMBERS = ("read", "applied", "superseded", "dead_letters")

ROWS = "SELECT *, xmin::text FROM pattern_quality_metrics ORDER BY pattern_id"

DAMAGE = """
DELETE FROM pattern_quality_metrics WHERE pattern_id < '00000000-0000-0000-0000-000000000003';
UPDATE pattern_quality_metrics SET measurement_timestamp = '2020-01-01', quality_score = 0
WHERE pattern_id = '00000000-0000-0000-0000-000000000003';
"""


def numbers(read: int, applied: int, superseded: int, dead: int) -> dict[str, int]:
    return dict(zip(NUMBERS, (read, applied, superseded, dead), strict=True))


def four(report: dict[str, Any]) -> list[int]:
    """Return the four numbers, after checking that they have exactly these keys and add up."""
    read, applied, superseded, dead = found = [report[name] for name in NUMBERS]
    assert read == applied + superseded + dead
    return found


async def test_damage_is_seen_counted_fixed_and_then_verified(
    command: CommandLine, settings: WorkerSettings
) -> None:
    """The damage: deleted rows, and a row in which somebody wrote an older value."""
    events = [an_event(number) for number in range(1, 9)]
    await send(settings, [*(event.to_json() for event in events), b"poison"])
    consumed = await command.run("consume", "--until-caught-up", "--json")
    whole = await command.run("verify", "--against-topic", "--json")
    await execute(settings, DAMAGE)
    damaged_rows = await fetch(settings, ROWS)

    damaged = await command.run("verify", "--against-topic")
    dry = await command.run("replay", "--dry-run", "--json")
    assert await fetch(settings, ROWS) == damaged_rows
    mended = await command.run("replay", "--json")
    mended_rows = await fetch(settings, ROWS)
    again = await command.run("replay")

    assert consumed.succeeded().json == numbers(9, 8, 0, 1)
    assert whole.succeeded().json["passed"] is True
    assert four(whole.json) == [9, 8, 0, 1]
    assert damaged.code == 1
    assert b"2 missing, 1 older, 0 different, 0 newer, 0 absent_in_topic" in damaged.stdout
    assert b"read 9 = applied 8 + superseded 0 + dead letters 1" in damaged.stdout
    assert b"mend it with: pattern-metrics replay" in damaged.stdout
    for event, finding in zip(events, ("missing", "missing", "older"), strict=False):
        assert f"{event.pattern_id} {finding}".encode() in damaged.stdout
    assert dry.succeeded().json == mended.succeeded().json == numbers(9, 3, 5, 1)
    assert again.succeeded().stdout == b"read 9 = applied 0 + superseded 8 + dead letters 1\n"
    assert await table(settings) == expected_table(events)
    assert await fetch(settings, ROWS) == mended_rows
    assert len(await dead_letters(settings)) == 1
    (await command.run("verify", "--against-topic", "--strict")).succeeded()


async def test_unexplained_rows_are_reported_and_unread_records_are_not_missing(
    command: CommandLine, settings: WorkerSettings
) -> None:
    await send(settings, [an_event(1).to_json(), an_event(2).to_json()])
    (await command.run("consume", "--until-caught-up")).succeeded()
    await send(settings, [an_event(3).to_json()])
    others = b"\n".join(event.to_json() for event in (an_event(1, seconds=1), an_event(9)))
    (await command.run("backfill", "-", stdin=others)).succeeded()

    reported = (await command.run("verify", "--against-topic", "--json")).succeeded()
    strict = await command.run("verify", "--against-topic", "--strict")

    assert reported.json["differences"] == {"newer": 1, "absent_in_topic": 1}
    assert four(reported.json) == [2, 2, 0, 0]
    assert strict.code == 1
    assert b"0 missing, 0 older, 0 different, 1 newer, 1 absent_in_topic" in strict.stdout


async def test_a_row_that_was_changed_by_hand_under_its_own_time_is_different(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    """A replay does not supersede it, and the remedy that verify prints repairs it."""
    events = [an_event(number) for number in range(1, 4)]
    await send(real_settings, [event.to_json() for event in events])
    (await real_command.run("consume", "--until-caught-up")).succeeded()
    by_hand = "pattern_id = '00000000-0000-0000-0000-000000000002'"
    await execute(real_settings, f"UPDATE pattern_quality_metrics SET quality_score = 0.123 WHERE {by_hand}")

    changed = await real_command.run("verify", "--against-topic")
    await execute(real_settings, f"DELETE FROM pattern_quality_metrics WHERE {by_hand}")
    (await real_command.run("replay")).succeeded()

    assert changed.code == 1
    assert b"0 missing, 0 older, 1 different" in changed.stdout
    assert f"{events[1].pattern_id} different".encode() in changed.stdout
    assert (
        b"mend it with: deleting the rows that are different, then pattern-metrics replay" in changed.stdout
    )
    assert await table(real_settings) == expected_table(events)


async def test_a_number_that_an_earlier_release_rounded_stays_until_its_row_is_deleted(
    command: CommandLine, settings: WorkerSettings
) -> None:
    """The upgrade guide says so: the row is different, a replay changes nothing, a deleted row comes back."""
    sent = an_event(1, metadata={}).to_json().replace(b"{}", b'{"precise":0.1234567890123456789}')
    await send(settings, [sent, an_event(2).to_json()])
    (await command.run("consume", "--until-caught-up")).succeeded()
    precise = "SELECT metadata ->> 'precise' FROM pattern_quality_metrics WHERE metadata ? 'precise'"
    as_sent = await fetch(settings, precise)
    await execute(
        settings,
        "UPDATE pattern_quality_metrics SET metadata = jsonb_build_object('precise', "
        "(metadata ->> 'precise')::float8) WHERE metadata ? 'precise'",
    )
    rounded = await fetch(settings, precise)

    verified = await command.run("verify", "--against-topic", "--json")
    replayed = await command.run("replay", "--json")
    unchanged = await fetch(settings, precise)
    await execute(settings, "DELETE FROM pattern_quality_metrics WHERE metadata ? 'precise'")
    (await command.run("replay")).succeeded()

    assert as_sent != rounded == unchanged
    assert verified.json["differences"] == {"different": 1}
    assert replayed.succeeded().json == numbers(2, 0, 2, 0)
    assert await fetch(settings, precise) == as_sent


async def test_a_slice_is_replayed_and_touches_no_groups_offsets(
    command: CommandLine, settings: WorkerSettings
) -> None:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    events = [an_event(number) for number in range(10)]
    async with producing(settings) as producer:
        for number, event in enumerate(events):
            await producer.send_and_wait(
                settings.kafka_topic,
                event.to_json(),
                key=str(event.pattern_id).encode(),
                partition=number % 2,
                timestamp_ms=int((start + timedelta(minutes=number)).timestamp() * 1000),
            )
    (await command.run("consume", "--until-caught-up")).succeeded()
    offsets = await committed_offsets(settings), await progress(settings)
    await execute(settings, "TRUNCATE pattern_quality_metrics")

    async def replayed(*which: str) -> set[int]:
        """Return the patterns that a slice writes to the table."""
        before = await table(settings)
        report = (await command.run("replay", *which, "--json")).succeeded().json
        brought = {pattern_id.int for pattern_id in (await table(settings)).keys() - before.keys()}
        assert four(report)[1] == len(brought)
        return brought

    since, until = (start + timedelta(minutes=3)).isoformat(), (start + timedelta(minutes=5)).isoformat()
    assert await replayed("--pattern", str(events[7].pattern_id)) == {7}
    assert await replayed("--from", since, "--to", until) == {3, 4}
    assert await replayed("--partition", "1", "--from-offset", "4") == {9}
    assert await replayed("--from-offset", "3", "--from", since) == {6, 8}
    assert await replayed("--partition", "0") == {0, 2}
    assert await replayed() == {1, 5}
    assert (await committed_offsets(settings), await progress(settings)) == offsets


@pytest.mark.long
async def test_replay_and_verify_hold_while_two_workers_write(
    command: CommandLine, settings: WorkerSettings
) -> None:
    await execute(settings, WATCH_FOR_STEPS_BACK)
    load = Load(settings)
    others = [an_event(number, seconds=1000 + number) for number in range(10)]

    async with command.worker(batch_max_records=50) as one, command.worker(batch_max_records=50) as other:
        async with load.running():
            await eventually(lambda: is_shared(one, other), deadline_seconds=SECONDS_MAX)
            await one.wait_until_read(3 * 50)
            await other.wait_until_read(3 * 50)
            at_least = len(load.events) + len(load.poison)
            verified = await command.run("verify", "--against-topic", "--json")
            dry = await command.run("replay", "--dry-run", "--json")
            replayed = await command.run("replay", "--json")
            file = b"\n".join(event.to_json() for event in others)
            filled = await command.run("backfill", "-", "--json", stdin=file)
            redriven = await command.run("dead-letters", "redrive", "--all", "--json")
            assert is_shared(one, other)
        await eventually(load.is_written, deadline_seconds=SECONDS_MAX)
        assert [await one.terminate(), await other.terminate()] == [0, 0]

    assert verified.code == 0, verified.stdout
    assert verified.json["differences"].keys() <= {"newer", "absent_in_topic"}
    for report in (verified.json, dry.succeeded().json, replayed.succeeded().json):
        read, _, _, dead = four(report)
        assert read > 0
        assert dead > 0
    assert dry.json["read"] >= at_least
    assert replayed.json["read"] >= dry.json["read"]
    assert sum(four(filled.succeeded().json)[1:]) == len(others)
    assert redriven.code == 1
    assert four(redriven.json)[0] == redriven.json["dead_letters"] > 0
    assert await table(settings) == expected_table([*load.events, *others])
    assert sorted(await dead_letters(settings)) == sorted((value, "invalid_json") for value in load.poison)
    assert await fetch(settings, "SELECT * FROM steps_back") == []
    (await command.run("verify", "--against-topic")).succeeded()


BREAK = {
    "the constraint of 014 is there": (
        "ALTER TABLE pattern_quality_metrics RENAME CONSTRAINT pattern_quality_metrics_pattern_id_unique TO u"
    ),
    "no pattern occurs twice": """
        ALTER TABLE pattern_quality_metrics DROP CONSTRAINT pattern_quality_metrics_pattern_id_unique;
        INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence)
        SELECT '00000000-0000-0000-0000-000000000001', 0.5, 0.5 FROM generate_series(1, 2)
    """,
    "scores are from 0 to 1": """
        ALTER TABLE pattern_quality_metrics DROP CONSTRAINT pattern_quality_metrics_quality_score_check;
        INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence)
        VALUES ('00000000-0000-0000-0000-000000000001', 1.5, 0.5)
    """,
    "a second insert of a pattern updates its row": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON pattern_quality_metrics FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    "the revision is the one that this release needs": (
        "UPDATE pattern_metrics_alembic_version SET version_num = '014'"
    ),
}


@pytest.mark.parametrize("check", BREAK)
async def test_each_check_of_the_table_can_fail_and_leaves_nothing_behind(
    database_command: CommandLine, migrated_database_url: str, check: str
) -> None:
    (await database_command.run("verify")).succeeded()
    await run_sql(migrated_database_url, BREAK[check])
    before = await rows(migrated_database_url, ROWS)

    finished = await database_command.run("verify")

    assert finished.code == 1
    assert f"FAILED {check}" in finished.stdout.decode()
    assert await rows(migrated_database_url, ROWS) == before


@pytest.mark.parametrize("damage", ["the progress is gone", "the group is another"])
async def test_a_topic_of_which_nothing_was_compared_proves_no_table(
    real_command: CommandLine, real_settings: WorkerSettings, damage: str
) -> None:
    lines = b"\n".join(an_event(number).to_json() for number in range(9))
    (await real_command.run("publish", "-", stdin=lines)).succeeded()
    (await real_command.run("consume", "--until-caught-up")).succeeded()
    group = "another"
    if damage == "the progress is gone":
        group = real_settings.kafka_group_id
        await execute(real_settings, "TRUNCATE pattern_quality_metrics, ingest_progress")

    finished = await real_command.run("verify", "--against-topic", kafka_group_id=group)

    assert finished.code == 1
    assert b"no progress" in finished.stdout
    assert b"mend it with: pattern-metrics consume" in finished.stdout


async def test_another_constraint_under_the_name_of_014_is_not_taken_for_it(
    database_command: CommandLine, migrated_database_url: str
) -> None:
    name = "pattern_quality_metrics_pattern_id_unique"
    await run_sql(
        migrated_database_url,
        f"ALTER TABLE pattern_quality_metrics DROP CONSTRAINT {name}, "
        f"ADD CONSTRAINT {name} UNIQUE (pattern_id, measurement_timestamp)",
    )

    refused = await database_command.run("verify")
    await run_sql(migrated_database_url, f"ALTER TABLE pattern_quality_metrics DROP CONSTRAINT {name}")
    (await database_command.run("migrate", "up")).succeeded()

    assert refused.code == 1
    assert b"FAILED the constraint of 014 is there" in refused.stdout
    assert b"mend it with: dropping another of that name" in refused.stdout
    (await database_command.run("verify")).succeeded()
