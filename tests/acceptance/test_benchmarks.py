"""The benchmarks as a person runs them."""

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest

from tests.support.command import CommandLine
from tests.support.kafka import require_apache

ROOT = Path(__file__).parents[2]


@pytest.mark.long
async def test_a_run_ends_with_the_figures_the_table_and_the_chart(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    require_apache(request)
    what = ("--events", "1000", "--scenarios", "distinct,replay")
    options = ("--quick", *what, "--systems", "pattern-metrics,postgresql-upsert-2", "--output", tmp_path)
    ended = await CommandLine(ROOT).run_program(sys.executable, "-m", "benchmarks", *options)
    page = (tmp_path / "results.md").read_text()
    assert ended.succeeded().stdout.decode() == page
    runs = orjson.loads((tmp_path / "results.json").read_bytes())["runs"]
    assert [(run["scenario"], run["system"]) for run in runs] == [
        ("distinct", "pattern-metrics"),
        ("distinct", "postgresql-upsert-2"),
        ("replay", "pattern-metrics"),
    ]
    assert all(run["events"] == 1000 and run["seconds"] > 0 for run in runs)
    assert runs[-1]["row_wal_bytes"] == 0
    ET.parse(tmp_path / "chart.svg")
    assert str(ROOT) not in page

    of_another_size = ("--quick", "--resume", "--events", "2000", "--output", tmp_path)
    refused = await CommandLine(ROOT).run_program(sys.executable, "-m", "benchmarks", *of_another_size)
    assert (refused.code, "has runs of 1,000 events" in refused.stderr) == (2, True)
    assert (tmp_path / "results.md").read_text() == page
