"""`export FILE`: writes the format of the file name's ending, and never mixes two exports."""

import asyncio
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.support.command import CommandLine
from tests.support.pipeline import an_event

EVENTS = [an_event(number, metadata={"filler": "x" * 500}) for number in range(3000)]


@pytest.fixture
async def filled_command(database_command: CommandLine) -> CommandLine:
    lines = b"\n".join(event.to_json() for event in EVENTS)
    (await database_command.run("backfill", "-", stdin=lines)).succeeded()
    return database_command


async def test_the_ending_of_a_file_decides_its_format_or_is_contradicted(
    filled_command: CommandLine,
) -> None:
    directory = filled_command.directory
    for name in ("x.parquet", "x.CSV", "x.jsonl", "x.txt"):
        finished = (await filled_command.run("export", name)).succeeded()
        assert ("JSON Lines" in finished.stderr) == (name == "x.txt")
    contradicted = await filled_command.run("export", "--format", "csv", "y.parquet")

    assert pyarrow.parquet.read_table(directory / "x.parquet").num_rows == len(EVENTS)
    assert (directory / "x.CSV").read_text().startswith("pattern_id,name,")
    for name in ("x.jsonl", "x.txt"):
        assert len([json.loads(line) for line in (directory / name).read_text().splitlines()]) == len(EVENTS)
    assert contradicted.code == 2
    assert contradicted.stderr == "error: y.parquet: its ending says parquet, and --format csv\n"
    assert not (directory / "y.parquet").exists()


async def test_two_exports_to_one_file_at_once_leave_a_whole_one(filled_command: CommandLine) -> None:
    file = filled_command.directory / "x.jsonl"
    mine = file.with_name("x.jsonl.part")
    mine.write_text("mine")

    both = await asyncio.gather(*(filled_command.run("export", file) for _ in range(2)))

    assert [one.succeeded().code for one in both] == [0, 0]
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == len(EVENTS)
    assert mine.read_text() == "mine"
    assert names(filled_command.directory) == {"x.jsonl", "x.jsonl.part"}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}
