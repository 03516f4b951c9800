"""Files as people have them: what is no CSV is told at once, and a bad row costs that row alone."""

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine
from tests.support.pipeline import an_event, dead_letters, table

HEADER = "pattern_id,quality_score,confidence,measurement_timestamp,version,metadata"


def row(number: int, version: str = "1", metadata: str = "") -> str:
    return f"{an_event(number).pattern_id},0.5,0.9,2026-01-01T00:00:00Z,{version},{metadata}"


def a_csv(*rows: str, encoding: str = "utf-8") -> bytes:
    return "\r\n".join([HEADER, *rows]).encode(encoding)


async def test_csv_comes_through_a_pipe_as_well_by_its_header(
    database_command: CommandLine, settings_of_database: WorkerSettings
) -> None:
    await database_command.run("backfill", "-", stdin=b"\xef\xbb\xbf" + a_csv(row(1), row(2)))
    exported = (await database_command.run("export", "--format", "csv")).succeeded()

    again = (await database_command.run("backfill", "-", "--json", stdin=exported.stdout)).succeeded()

    assert again.json == {"read": 2, "applied": 0, "superseded": 2, "dead_letters": 0, "passed_over": 0}
    assert len(await table(settings_of_database)) == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(2, version="\xe9t\xe9").encode("cp1252"), "unstorable_text"),
        (row(2, metadata='"{""a"": ""' + "x" * 200_000 + '""}"').encode(), "too_large"),
        (row(2, metadata='"{""a"": ""\\ud800""}"').encode(), "unstorable_text"),
        (row(2).encode() + b",,surplus", "missing_field"),
    ],
    ids=["latin-1", "long cell", "lone surrogate", "surplus cell"],
)
async def test_a_bad_row_costs_that_row_alone(
    database_command: CommandLine, settings_of_database: WorkerSettings, bad: bytes, reason: str
) -> None:
    content = b"\r\n".join([a_csv(row(1)), bad, row(3).encode()])

    finished = await database_command.run("backfill", "-", "--json", stdin=content)

    assert finished.code == 1
    assert finished.json == {"read": 3, "applied": 2, "superseded": 0, "dead_letters": 1, "passed_over": 0}
    assert "line 3: " in finished.stderr
    assert [why for _, why in await dead_letters(settings_of_database)] == [reason]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (a_csv(row(1)).replace(b",", b";"), "lacks"),
        (a_csv(row(1)).replace(b"quality_score", b"score"), "lacks quality_score"),
        (a_csv(row(1)).replace(b"version", b"confidence"), "twice"),
        (a_csv(row(1), encoding="utf-16"), "lacks"),
    ],
    ids=["semicolons", "another column", "a column twice", "utf-16"],
)
async def test_what_is_no_such_csv_is_told_in_one_line_before_anything_is_written(
    database_command: CommandLine, settings_of_database: WorkerSettings, content: bytes, told: str
) -> None:
    path = database_command.directory / "measurements.csv"
    path.write_bytes(content)

    finished = await database_command.run("backfill", path)

    assert finished.code == 2
    assert told in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert await dead_letters(settings_of_database) == []


@pytest.fixture
def settings_of_database(migrated_database_url: str) -> WorkerSettings:
    return WorkerSettings(database_url=migrated_database_url)
