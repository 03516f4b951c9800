"""Patterns are retired, by the command: late and newer records, replays and restores keep the law."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pattern_metrics import PatternRetired, pattern_id_of
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.acceptance.test_restore import back_up, publish, restore
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, expected_table, fetch, send, table

RETIRED = "SELECT * FROM pattern_quality_retired ORDER BY pattern_id"


@pytest.fixture
def settings(real_settings: WorkerSettings) -> WorkerSettings:
    """The settings on Apache Kafka alone, because nothing here depends on the broker."""
    return real_settings


def measured(name: str, minutes: int, score: float = 0.5) -> PatternScored:
    """Return a measurement, so many minutes from now."""
    event = an_event(score=score)
    return event.model_copy(
        update={
            "pattern_id": pattern_id_of(name),
            "measurement_timestamp": datetime.now(UTC) + timedelta(minutes=minutes),
            "metadata": {"name": name},
        }
    )


async def consume(command: CommandLine, **variables: Any) -> list[int]:
    ran = (await command.run("consume", "--until-caught-up", "--json", **variables)).succeeded()
    return [ran.json[name] for name in ("applied", "superseded", "dead_letters")]


async def verified(command: CommandLine) -> None:
    (await command.run("verify", "--against-topic", "--strict")).succeeded()


async def test_a_retired_pattern_stays_retired_until_a_newer_measurement(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    first, other = measured("shop:total", -9, 0.3), measured("shop:other", -9)
    late, later = measured("shop:total", -8, 0.4), measured("shop:total", -10)
    await publish(command, [first, other])
    assert await consume(command) == [2, 0, 0]

    retired = await command.run("retire", "shop:total", "--because", "deleted", "--json")
    assert retired.succeeded().json["published"] == 1
    assert await consume(command) == [1, 0, 0]
    assert await table(settings) == expected_table([other])
    await publish(command, [late, later])
    assert await consume(command) == [0, 2, 0]

    assert await table(settings) == expected_table([other])
    [row] = await fetch(settings, RETIRED)
    assert (row["pattern_id"], row["reason"], row["quality_score"]) == (first.pattern_id, "deleted", 0.4)
    await verified(command)
    assert (await command.run("status", "--json")).succeeded().json["retired"] == 1
    await check_traces(command, first, late, row)
    await check_export(command, row)

    backup = tmp_path / "backup"
    await back_up(command, settings, backup)
    (await command.run("replay")).succeeded()
    assert await fetch(settings, RETIRED) == [row]
    again = await consume(command, KAFKA_GROUP_ID="another")
    assert again == [0, 5, 0]
    assert await fetch(settings, RETIRED) == [row]
    newer = measured("shop:total", 0)
    await publish(command, [newer])
    assert await consume(command) == [1, 0, 0]
    assert await table(settings) == expected_table([other, newer])
    assert await fetch(settings, RETIRED) == []

    await restore(command, settings, backup)
    assert await fetch(settings, RETIRED) == [row]
    assert await consume(command) == [1, 0, 0]
    assert await table(settings) == expected_table([other, newer])
    assert await fetch(settings, RETIRED) == []
    await verified(command)


async def check_traces(command: CommandLine, first: PatternScored, late: PatternScored, row: Any) -> None:
    pattern = ("--pattern", str(first.pattern_id), "--json")
    retirement = (await command.run("trace", str(row["event_id"]), *pattern)).succeeded().json
    last = (await command.run("trace", str(late.event_id), *pattern)).succeeded().json
    before = (await command.run("trace", str(first.event_id), *pattern)).succeeded().json

    assert retirement["state"] == "current"
    for superseded in (last, before):
        assert superseded["state"] == "superseded"
        assert superseded["superseded_by"] == str(row["event_id"])


async def check_export(command: CommandLine, row: Any) -> None:
    """The export is the event again, so that `publish` and `backfill` read it back."""
    exported = (await command.run("export", "--retired")).succeeded().stdout
    line = json.loads(exported)
    assert line["event_id"] == str(row["event_id"])
    assert line["last_row"]["quality_score"] == row["quality_score"]
    refilled = (await command.run("backfill", "--dry-run", "--json", "-", stdin=exported)).succeeded()
    assert refilled.json["superseded"] == refilled.json["read"] == 1


@pytest.mark.parametrize("arguments", [("\udcff", "--because", "x"), ("a", "--because", "\udcff")])
async def test_an_argument_that_is_not_utf8_is_wrong_usage(
    database_command: CommandLine, arguments: tuple[str, ...]
) -> None:
    refused = await database_command.run("retire", *arguments, "--dry-run")

    assert refused.code == 2
    assert "is not UTF-8" in refused.stderr


async def test_verify_finds_a_row_that_came_back_and_a_replay_mends_it(
    command: CommandLine, settings: WorkerSettings
) -> None:
    """A worker of a release without retirements may write it."""
    first = measured("shop:total", -9)
    await publish(command, [first])
    (await command.run("retire", str(first.pattern_id), "--because", "deleted")).succeeded()
    assert await consume(command) == [1, 1, 0]
    await fetch(
        settings,
        "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, measurement_timestamp) "
        "VALUES ($1, 0.5, 0.5, $2)",
        first.pattern_id,
        first.measurement_timestamp,
    )

    found = await command.run("verify", "--against-topic")
    (await command.run("replay")).succeeded()

    assert found.code == 1
    assert b"older" in found.stdout
    assert await table(settings) == {}
    await verified(command)


async def test_a_dead_letter_that_an_older_worker_made_of_a_retirement_is_redriven(
    command: CommandLine, settings: WorkerSettings
) -> None:
    first = measured("shop:total", -9)
    gone = PatternRetired(event_id=uuid4(), pattern_id=first.pattern_id, retired_at=datetime.now(UTC))
    await publish(command, [first])
    await consume(command)
    await fetch(
        settings,
        'INSERT INTO dead_letters (topic, partition, "offset", record_timestamp, value, headers, reason, '
        "detail) VALUES ($1, 0, 1000, 1, $2, $3, 'missing_field', 'quality_score: Field required')",
        settings.kafka_topic,
        gone.to_json(),
        '[{"key": "ce_type", "value": "pattern.retired.v1"}]',
    )

    redriven = await command.run("dead-letters", "redrive", "--all", "--json")

    assert redriven.succeeded().json["applied"] == 1
    assert await table(settings) == {}
    [row] = await fetch(settings, RETIRED)
    assert row["event_id"] == gone.event_id


async def test_a_run_retires_what_the_project_no_longer_has(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    code = tmp_path / "shop.py"
    names = [f"f{number}" for number in range(6)]
    options = ("score", code, "--root", tmp_path, "--project", "acme", "--retire-missing")

    async def define(*defined: str) -> None:
        code.write_text("".join(f"def {name}(): ...\n" for name in defined), encoding="utf-8")

    await define(*names)
    scored = (await command.run(*options)).succeeded().stdout
    (await command.run("publish", "-", stdin=scored)).succeeded()
    others = ("acme2/shop:f0", "acme/web/shop:f0")
    await send(settings, [measured(name, -1).to_json() for name in others])
    await consume(command)

    await define(*names[1:])
    listed = (await command.run(*options, "--dry-run")).succeeded()
    written = (await command.run(*options)).succeeded().stdout
    await define("f1")
    too_many = await command.run(*options)
    confirmed = (await command.run(*options, "--yes")).succeeded().stdout
    code.write_text("def f(:\n", encoding="utf-8")
    unreadable = await command.run(*options, "--yes")
    (await command.run("publish", "-", stdin=written)).succeeded()
    await consume(command)

    assert listed.stdout == b"acme/shop:f0\n"
    retirements = [json.loads(line) for line in written.splitlines() if b"retired_at" in line]
    assert [one["pattern_id"] for one in retirements] == [str(pattern_id_of("acme/shop:f0"))]
    assert too_many.code == 1
    assert "5 of the 6" in too_many.stderr
    assert b"retired_at" not in too_many.stdout
    assert confirmed.count(b"retired_at") == 5
    assert unreadable.code == 1
    assert b"retired_at" not in unreadable.stdout
    left = {pattern_id_of(name) for name in (*others, *(f"acme/shop:{name}" for name in names[1:]))}
    assert (await table(settings)).keys() == left

    pruned = (await command.run("retired", "prune", "--older-than", "1d", "--json")).succeeded()
    kept = await fetch(settings, RETIRED)
    assert pruned.json == {"pruned": 0}
    assert len(kept) == 1


async def test_rows_of_an_export_are_retired(command: CommandLine, settings: WorkerSettings) -> None:
    events = [measured(f"shop:{name}", -1, score) for name, score in (("a", 0.1), ("b", 0.2), ("c", 0.9))]
    await publish(command, events)
    await consume(command)
    poor = (await command.run("export", "--band", "poor")).succeeded().stdout

    refused = await command.run("retire", "-", "--because", "x" * 201, "--json", stdin=poor)
    retired = await command.run("retire", "-", "--because", "poor", "--json", stdin=poor)
    await consume(command)

    assert (refused.code, refused.json["refused"]) == (1, 2)
    assert retired.succeeded().json["published"] == 2
    assert await table(settings) == expected_table(events[2:])
