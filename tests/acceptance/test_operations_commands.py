"""Replay, verify, backfill and status as the installed command."""

import json
from pathlib import Path

import asyncpg

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, send

NUMBERS = {"read", "applied", "superseded", "dead_letters"}


async def test_status_shows_lag_rows_dead_letters_and_gaps(
    real_command: CommandLine,
) -> None:
    (await real_command.run("publish", "-", stdin=an_event(1).to_json())).succeeded()

    before = (await real_command.run("status", "--json")).succeeded()
    (await real_command.run("consume", "--until-caught-up")).succeeded()
    after = (await real_command.run("status", "--json")).succeeded()
    shown = (await real_command.run("status")).succeeded()

    assert (before.json["lag"], before.json["patterns"]) == (1, 0)
    assert (after.json["lag"], after.json["patterns"]) == (0, 1)
    assert after.json.keys() >= {"lag", "patterns", "dead_letters", "gaps", "partitions"}
    assert len(after.json["partitions"]) == 3
    assert b"patterns      1" in shown.stdout


async def test_a_skip_says_what_it_would_pass_over_and_status_says_why_it_did(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    await send(real_settings, [an_event(number).to_json() for number in range(3)], partition=1)
    to_the_end = ["skip", "--to", "latest", "--because", "a broken scorer"]

    dry = (await real_command.run(*to_the_end, "--dry-run")).succeeded()
    done = (await real_command.run(*to_the_end, "--json")).succeeded()
    status = (await real_command.run("status", "--json")).succeeded().json
    shown = (await real_command.run("status", columns=120)).succeeded().stdout.decode()
    refused = [
        await real_command.run("skip", *arguments)
        for arguments in (
            ["--to", "latest", "--because", " "],
            ["--to", "tomorrow", "--because", "x"],
            ["--to", "3", "--because", "x"],
            ["--to", "9", "--partition", "1", "--because", "x"],
            ["--to", "latest", "--partition", "9", "--because", "x"],
        )
    ]

    topic = real_settings.kafka_topic
    assert dry.stdout.decode().splitlines() == [
        f"{topic} partition 1: offsets 0 to 2 (3)",
        "would be: 3 offsets skipped; nothing was written",
    ]
    place = {"topic": topic, "partition": 1, "first_offset": 0, "next_offset": 3}
    assert done.json == {"offsets": 3, "skipped": [place]}
    assert (status["gaps_by_reason"], status["lag"]) == ({"skipped: a broken scorer": 1}, 0)
    assert "gaps          1 (3 offsets): 1 skipped: a broken scorer" in shown
    assert [one.code for one in refused] == [2] * len(refused)
    for one, named in zip(refused, ("--because", "--to", "--partition", "ends at 3", "9"), strict=True):
        assert named in one.stderr


async def test_a_backfill_needs_no_kafka_and_names_the_lines_it_refuses(
    migrated_database_url: str, tmp_path: Path
) -> None:
    command = CommandLine(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    file = tmp_path / "measurements.jsonl"
    file.write_bytes(b"\n".join([*(an_event(number).to_json() for number in range(1, 20)), b"nonsense"]))
    url = ["--database-url", migrated_database_url]

    first = (await command.run("backfill", file, *url, "--limit", "10")).succeeded()
    second = (await command.run("backfill", file, *url, "--limit", "10", "--json")).succeeded()
    dry = await command.run("backfill", file, *url, "--dry-run", "--json")
    whole = await command.run("backfill", file, *url, "--batch-size", "3", "--json")

    assert first.stdout == b"read 10 = applied 10 + superseded 0 + dead letters 0\n"
    assert second.json == {"read": 10, "applied": 0, "superseded": 10, "dead_letters": 0, "passed_over": 0}
    assert (dry.code, whole.code) == (1, 1)
    assert dry.json == whole.json
    assert "line 20: invalid_json" in whole.stderr
    connection = await asyncpg.connect(migrated_database_url)
    letters = await connection.fetch('SELECT topic, "offset", value FROM dead_letters')
    await connection.close()
    assert [tuple(letter) for letter in letters] == [("file:measurements.jsonl", 20, b"nonsense")]


async def test_scores_go_from_source_to_table_through_a_pipe(
    migrated_database_url: str, tmp_path: Path
) -> None:
    command = CommandLine(tmp_path, {"DATABASE_URL": migrated_database_url})
    (tmp_path / "module.py").write_text("def documented():\n    '''Say so.'''\n    return 1\n")

    scored = (await command.run("score", "module.py")).succeeded()
    stored = (await command.run("backfill", "-", "--json", stdin=scored.stdout)).succeeded()

    assert json.loads(scored.stdout)["metadata"]["name"] == "module:documented"
    assert stored.json["applied"] == 1


async def test_wrong_usage_is_reported_before_anything_is_done(tmp_path: Path) -> None:
    command = CommandLine(tmp_path, {"DATABASE_URL": "postgresql://127.0.0.1:1/none"})

    for arguments in (
        ("replay", "--from", "yesterday"),
        ("replay", "--from", "2026-01-01T00:00:00"),
        ("replay", "--pattern", "seven"),
        ("replay", "--partition", "-1"),
        ("backfill", "no-such-file"),
        ("backfill", "-", "--min-confidence", "2"),
    ):
        assert (await command.run(*arguments)).code == 2, arguments
