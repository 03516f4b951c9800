"""`pattern-metrics dead-letters` as a data owner uses it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import PROGRAM, CommandLine, Finished
from tests.support.letters import a_record, add_letters, run_sql, statuses
from tests.support.pipeline import an_event, send, table


def objects(finished: Finished) -> list[dict[str, Any]]:
    return [json.loads(line) for line in finished.succeeded().stdout.splitlines()]


async def test_letters_are_exported_fixed_published_and_discarded(
    command: CommandLine, settings: WorkerSettings, tmp_path: Path
) -> None:
    right, wrong = an_event(1), an_event(2, score=0.25)
    values = [right.to_json(), wrong.to_json().replace(b"0.25", b"25"), b"\xff"]
    await send(settings, values)
    (await command.run("consume", "--until-caught-up")).succeeded()
    place, file = f"{settings.kafka_topic}/0", tmp_path / "mended.jsonl"

    listed = objects(await command.run("dead-letters", "list", "--json"))
    shown = (await command.run("dead-letters", "show", f"{place}/1")).succeeded().stdout.decode()
    exported = (await command.run("dead-letters", "export", file)).succeeded()
    refused = await command.run("publish", file, "--json")
    lines = file.read_bytes().splitlines()
    file.write_bytes(lines[0].replace(b":25", b":0.25"))
    (await command.run("publish", file)).succeeded()
    (await command.run("consume", "--until-caught-up")).succeeded()
    discarded = await command.run(
        "dead-letters", "discard", f"{place}/1", f"{place}/2", "--because", "published again", "--json"
    )

    assert [(letter["offset"], letter["reason"]) for letter in listed] == [
        (2, "invalid_utf8"),
        (1, "out_of_range"),
    ]
    assert all(letter.keys() >= {"topic", "partition", "offset", "reason", "detail"} for letter in listed)
    assert "quality_score" in shown
    assert values[1].decode() in shown
    assert f"dead-letters redrive {place}/1" in shown
    assert exported.stderr == "exported 1 values as they are, 1 that are not JSON\n"
    assert lines[0] == values[1]
    assert json.loads(lines[1]) == {
        "dead_letter": f"{place}/2",
        "reason": "invalid_utf8",
        "value_base64": "/w==",
    }
    assert refused.json["refused"] == 2
    assert (await table(settings))[wrong.pattern_id][1:] == (wrong.event_id, 0.25)
    assert discarded.succeeded().json == {"discarded": 2}
    assert objects(await command.run("dead-letters", "list", "--json")) == []
    [letter] = objects(await command.run("dead-letters", "show", f"{place}/2", "--json"))
    assert (letter["status"], letter["resolution"]) == ("discarded", "published again")
    assert letter["value_hex"] == "ff"


async def test_redrive_prints_the_four_numbers_and_fails_if_letters_are_refused_again(
    database_command: CommandLine, migrated_database_url: str
) -> None:
    url = migrated_database_url
    await run_sql(url, "ALTER TABLE pattern_quality_metrics ADD CONSTRAINT r CHECK (quality_score < 0.9)")
    await add_letters(url, [a_record(n, an_event(n, score=n / 10).to_json()) for n in (8, 9)])

    first = await database_command.run("dead-letters", "redrive", "--all")
    await run_sql(url, "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT r")
    second = await database_command.run("dead-letters", "redrive", "scores/0/9", "--json")
    third = await database_command.run("dead-letters", "redrive", "--since", "1h")
    pruned = await database_command.run("dead-letters", "prune", "--older-than", "1d", "--json")

    assert (first.code, first.stdout) == (1, b"read 2 = applied 1 + superseded 0 + dead letters 1\n")
    assert second.succeeded().json == {"read": 1, "applied": 1, "superseded": 0, "dead_letters": 0}
    assert third.succeeded().stdout == b"read 0 = applied 0 + superseded 0 + dead letters 0\n"
    assert pruned.succeeded().json == {"pruned": 0}
    assert await statuses(url) == {8: "redriven", 9: "redriven"}


async def test_control_characters_are_shown_escaped_on_a_terminal(
    database_command: CommandLine, migrated_database_url: str
) -> None:
    value = "\x1b[2Jred [bold]\x07\r\n\x9b31m\u202e".encode()
    headers = (("\x1b]0;title", b"\x1b"), ("none", None))
    topic = "file:\x1b[1m[/bold] it's"
    await add_letters(migrated_database_url, [a_record(0, value, topic, key=b"\x1b\xff", headers=headers)])

    listed = (await database_command.run("dead-letters", "list")).succeeded().stdout.decode()
    shown = (await database_command.run("dead-letters", "show", f"{topic}/0/0")).succeeded().stdout.decode()

    assert all(character == "\n" or character.isprintable() for character in listed + shown)
    assert r"file:\x1b[1m[/bold] it's/0/0" in listed
    assert r"\x1b[2Jred [bold]\x07\r" in shown
    assert "1b ff (hexadecimal)" in shown
    assert "pattern-metrics backfill mended.jsonl" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["redrive"], "--all"),
        (["discard", "--because", "x"], "--all"),
        (["discard", "--all"], "--because"),
        (["discard", "--all", "--because", " "], "--because"),
        (["redrive", "scores/0"], "TOPIC/PARTITION/OFFSET"),
        (["redrive", "--reason", "none"], "--reason"),
        (["list", "--since", "yesterday"], "--since"),
        (["list", "--since", "2026-01-01"], "offset"),
        (["list", "--status", "closed"], "--status"),
        (["prune"], "--older-than"),
        (["prune", "--older-than", "99999999999d"], "--older-than"),
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_reported_and_changes_nothing(
    database_command: CommandLine, migrated_database_url: str, arguments: list[str], expected: str
) -> None:
    await add_letters(migrated_database_url, [a_record(0, an_event(1).to_json())])

    finished = await database_command.run("dead-letters", *arguments)

    assert (finished.code, finished.stdout) == (2, b"")
    assert expected in finished.stderr
    assert "Traceback" not in finished.stderr
    assert await statuses(migrated_database_url) == {0: "open"}


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["redrive", "scores/0/0"], ["discard", "scores/0/0", "--because", "x"]],
    ids=" ".join,
)
async def test_a_place_without_a_letter_is_named_and_nothing_is_done(
    database_command: CommandLine, migrated_database_url: str, arguments: list[str]
) -> None:
    await add_letters(migrated_database_url, [a_record(0, an_event(1).to_json())])

    finished = await database_command.run("dead-letters", *arguments, "scores/0/1")

    assert (finished.code, finished.stdout) == (1, b"")
    assert finished.stderr == "error: no dead letter at scores/0/1\n"
    assert await statuses(migrated_database_url) == {0: "open"}


async def test_an_output_that_cannot_be_written_is_not_blamed_on_the_database(
    database_command: CommandLine, migrated_database_url: str
) -> None:
    await add_letters(migrated_database_url, [a_record(n, b"x" * 100) for n in range(2000)])

    full = await database_command.run("dead-letters", "export", "/dev/full")
    pipe = f"{PROGRAM} dead-letters list --json | head -n 1"
    cut_off = await database_command.run_program("/bin/sh", "-c", pipe)

    assert full.code == 1
    assert full.stderr == "error: /dev/full: No space left on device\n"
    assert (len(cut_off.stdout.splitlines()), cut_off.stderr) == (1, "")


async def test_a_missing_revision_is_reported_with_the_command_to_run(
    database_command: CommandLine, database_url: str
) -> None:
    (await database_command.run("migrate", "up", database_url=database_url)).succeeded()
    (await database_command.run("migrate", "down", "015", database_url=database_url)).succeeded()

    finished = await database_command.run("dead-letters", "list", database_url=database_url)

    assert finished.code == 2
    assert "a column is missing: run `pattern-metrics migrate up`" in finished.stderr


async def test_the_table_of_letters_is_for_people_and_says_how_many_there_are(
    database_command: CommandLine, migrated_database_url: str
) -> None:
    await add_letters(migrated_database_url, [a_record(n, b"") for n in range(60)])

    default = (await database_command.run("dead-letters", "list")).succeeded().stdout.decode().splitlines()
    all_of_them = await database_command.run("dead-letters", "list", "--limit", "100", "--status", "all")

    assert len(default) == 1 + 50 + 1
    assert default[0].split() == ["letter", "reason", "noticed", "detail"]
    assert default[1].startswith("scores/0/59  refused_by_database  ")
    assert f"{datetime.now(UTC):%Y}" in default[1]
    assert default[-1] == "50 of 60"
    assert all_of_them.succeeded().stdout.decode().splitlines()[-1] == "60 of 60"
