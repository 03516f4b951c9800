"""`pattern-metrics backfill`: stores a file in the table, without Kafka."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.command import CommandLine, Finished
from tests.support.letters import rows
from tests.support.pipeline import an_event

VALUES = "SELECT pattern_id, measurement_timestamp, quality_score FROM pattern_quality_metrics ORDER BY 1"


def values(events: list[PatternScored]) -> list[tuple[Any, ...]]:
    return [(event.pattern_id, event.measurement_timestamp, event.quality_score) for event in events]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "measurements.jsonl"


def write(file: Path, events: list[PatternScored]) -> None:
    file.write_bytes(b"".join(event.to_json() + b"\n" for event in events))


async def test_a_second_run_updates_the_ten_rows_of_the_first(
    database_command: CommandLine, migrated_database_url: str, file: Path
) -> None:
    url = migrated_database_url
    first, later, earlier = (
        [an_event(number, seconds=seconds, score=score) for number in range(20)]
        for seconds, score in ((0, 0.5), (60, 0.75), (-60, 0.25))
    )

    async def run() -> Finished:
        return (await database_command.run("backfill", file, "--limit", "10", "--json")).succeeded()

    write(file, first)
    assert (await run()).json["applied"] == 10
    assert await rows(url, VALUES) == values(first[:10])
    assert (await run()).json["superseded"] == 10
    assert await rows(url, VALUES) == values(first[:10])
    write(file, later)
    assert (await run()).json["applied"] == 10
    write(file, earlier)
    assert (await run()).json["superseded"] == 10
    assert await rows(url, VALUES) == values(later[:10])


async def test_the_options_choose_what_is_taken_and_how_fast(
    database_command: CommandLine, migrated_database_url: str, file: Path
) -> None:
    url = migrated_database_url
    events = [an_event(number, confidence=0.9 if number < 5 else 0.1) for number in range(1, 9)]
    write(file, events)
    chosen = ("backfill", file, "--min-confidence", "0.5", "--batch-size", "3", "--delay", "1.5", "--json")

    dry = (await database_command.run(*chosen, "--dry-run")).succeeded()
    assert await rows(url, VALUES) == []
    stored = (await database_command.run(*chosen)).succeeded()

    assert dry.json == stored.json
    assert stored.json == {"read": 4, "applied": 4, "superseded": 0, "dead_letters": 0, "passed_over": 4}
    assert await rows(url, VALUES) == values(events[:4])
    batches = await rows(
        url,
        "SELECT count(*), created_at FROM pattern_quality_metrics GROUP BY created_at, xmin::text ORDER BY 2",
    )
    assert [count for count, _ in batches] == [3, 1]
    assert batches[1][1] - batches[0][1] >= timedelta(seconds=1.5)


async def test_csv_is_taken_as_json_lines_are(
    database_command: CommandLine, migrated_database_url: str, tmp_path: Path
) -> None:
    events = [an_event(1), an_event(2)]
    file = tmp_path / "measurements.csv"
    header = "event_id,pattern_id,quality_score,confidence,measurement_timestamp,metadata\r\n"
    lines = [
        f"{e.event_id},{e.pattern_id},{e.quality_score},{e.confidence},{e.measurement_timestamp.isoformat()},"
        f'"{{""name"": ""a, b""}}"\r\n'
        for e in events
    ]
    file.write_text(
        header + "".join(lines) + f"{events[0].event_id},nonsense,0.5,0.5,2026-01-01T00:00:00Z,\r\n"
    )

    stored = await database_command.run("backfill", file)

    assert (stored.code, stored.stdout) == (1, b"read 3 = applied 2 + superseded 0 + dead letters 1\n")
    assert "line 4: invalid_field: pattern_id" in stored.stderr
    assert await rows(migrated_database_url, VALUES) == values(events)
    names = "SELECT DISTINCT metadata ->> 'name' FROM pattern_quality_metrics"
    assert await rows(migrated_database_url, names) == [("a, b",)]


async def test_a_progress_bar_shows_rate_and_time_left_after_a_second(
    database_command: CommandLine, file: Path
) -> None:
    write(file, [an_event(number) for number in range(1, 9)])

    async with database_command.watched("backfill", file, "--batch-size", "1", "--delay", "1") as backfill:
        await backfill.wait_for(r"backfilling .+\d+% +[0-9.]+ (bytes|kB)/s +0:00:0[1-9] +(-:--:--|0:00:0\d)")
