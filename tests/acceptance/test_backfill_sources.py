"""Files in the forms that people have: no CSV is refused at once, and a bad row costs only itself."""

import gzip
import random
import re

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine
from tests.support.letters import rows, run_sql
from tests.support.pipeline import an_event, dead_letters, table
from tests.support.postgres import wheel_program

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
        (row(2, version="\xe9t\xe9").encode("cp1252"), "invalid_utf8"),
        (row(2, metadata='"{""a"": ""' + "x" * 200_000 + '""}"').encode(), "too_large"),
        (row(2, metadata='"{""a"": ""\\ud800""}"').encode(), "unstorable_text"),
        (row(2).encode() + b",,surplus", "missing_field"),
        (row(2, metadata="[" * 5_000).encode(), "too_deep"),
        (row(2, metadata="[" * 900 + "]" * 900).encode(), "too_deep"),
    ],
    ids=["latin-1", "long cell", "lone surrogate", "surplus cell", "deep cell", "deep json"],
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
    ("content", "expected"),
    [
        (a_csv(row(1)).replace(b"quality_score", b"score"), "lacks quality_score"),
        (a_csv(row(1)).replace(b"version", b"confidence"), "twice"),
        (a_csv(row(1), encoding="utf-16"), "is UTF-16"),
        (b"PK\x03\x04" + bytes(100), "Excel"),
        (a_csv(row(1)).partition(b"\r\n")[2], "neither JSON"),
    ],
    ids=["another column", "a column twice", "utf-16", "xlsx", "no header"],
)
async def test_a_csv_without_the_columns_is_refused_before_anything_is_written(
    database_command: CommandLine, settings_of_database: WorkerSettings, content: bytes, expected: str
) -> None:
    path = database_command.directory / "measurements.csv"
    path.write_bytes(content)

    for command in ("backfill", "publish"):  # no Kafka is running
        finished = await database_command.run(command, path)

        assert finished.code == 2
        assert expected in finished.stderr
        assert finished.stderr.count("\n") == 1
    assert await dead_letters(settings_of_database) == []


async def test_a_cut_archive_is_taken_up_to_the_cut_and_reported(
    database_command: CommandLine, settings_of_database: WorkerSettings
) -> None:
    lines = [
        an_event(number, metadata={"random": random.randbytes(300).hex()}).to_json() for number in range(9000)
    ]
    packed = gzip.compress(b"\n".join(lines))

    finished = await database_command.run("backfill", "-", "--json", stdin=packed[: len(packed) * 2 // 3])

    assert finished.code == 1
    taken = re.fullmatch(
        r"error: <stdin>: the gzip archive ends too early; read up to line ([0-9,]+)\n", finished.report
    )
    assert taken is not None, finished.stderr
    count = int(taken[1].replace(",", ""))
    assert finished.json == {
        "read": count,
        "applied": count,
        "superseded": 0,
        "dead_letters": 0,
        "passed_over": 0,
    }
    assert 0 < count == len(await table(settings_of_database)) < len(lines)


async def test_lines_that_are_all_refused_for_one_reason_are_called_a_misunderstanding(
    database_command: CommandLine, settings_of_database: WorkerSettings
) -> None:
    content = a_csv(*(row(number).replace("00Z", "00") for number in range(3)))

    dry = await database_command.run("backfill", "-", "--dry-run", stdin=content)
    finished = await database_command.run("backfill", "-", stdin=content)

    assert (dry.code, finished.code) == (1, 1)
    for one in (dry, finished):
        assert (
            "each of the 3 lines is refused for the same reason (invalid_field: measurement_timestamp"
            in one.stderr
        )
        assert "--dry-run" in one.stderr
    assert len(await dead_letters(settings_of_database)) == 3


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns", "Europe/Amsterdam"])
async def test_a_copy_of_the_first_table_by_psql_comes_back(
    database_command: CommandLine, migrated_database_url: str, zone: str
) -> None:
    """The table as revision 012 has it, without event ids. Long ago, an offset had seconds."""
    await run_sql(
        migrated_database_url,
        """
        INSERT INTO pattern_quality_metrics
            (pattern_id, quality_score, confidence, measurement_timestamp, version, metadata)
        SELECT gen_random_uuid(), random(), random(), moment, version, metadata FROM (VALUES
            (now() - interval '1 day', '1.0.0', '{"name": "a, \\"b\\"\\nc", "n": [1e2, 0.5, null]}'::jsonb),
            ('1880-01-01 00:00:00.5+00', 'β; 2', '{}'), ('2024-07-01 12:00+00', '=1', '{"a": {"b": []}}')
        ) AS rows (moment, version, metadata)
        """,
    )
    columns = "pattern_id, quality_score, confidence, measurement_timestamp, version, metadata::text"
    query = f"SELECT {columns} FROM pattern_quality_metrics ORDER BY pattern_id"
    before = await rows(migrated_database_url, query)
    of_012 = f"id, {columns.removesuffix('::text')}, created_at, updated_at"
    set_zone = f"SET timezone = '{zone}'"
    copy = f"\\copy (SELECT {of_012} FROM pattern_quality_metrics) TO 'dump.csv' WITH (FORMAT csv, HEADER)"
    (
        await database_command.run_program(
            wheel_program("psql"), migrated_database_url, "-q", "-c", set_zone, "-c", copy
        )
    ).succeeded()
    await run_sql(migrated_database_url, "TRUNCATE pattern_quality_metrics")

    stored = (await database_command.run("backfill", "dump.csv", "--json")).succeeded()

    assert stored.json["applied"] == 3
    assert await rows(migrated_database_url, query) == before


@pytest.fixture
def settings_of_database(migrated_database_url: str) -> WorkerSettings:
    return WorkerSettings(database_url=migrated_database_url)
