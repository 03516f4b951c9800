"""The demonstration as a newcomer runs it: from the installed wheel."""

import asyncio
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pattern_metrics.consumer.demo.embedded import HOST, free_port
from tests.support.command import SECONDS_MAX, CommandLine
from tests.support.scraping import Scraper
from tests.support.waiting import eventually


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can reach: if root runs the demo, PostgreSQL runs as another user."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def processes_of(directory: Path) -> list[str]:
    """Return the command lines of all processes whose directory or arguments name a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            place = (process / "cwd").readlink()
        except OSError:
            continue  # the process has ended meanwhile
        if str(directory) in words or place.is_relative_to(directory):
            found.append(words)
    return found


def files_of(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def lines_of_the_readme() -> Iterator[str]:
    """Yield each line that the README shows of the demo, as a pattern in which any number fits."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = readme.partition("make demo")[2].partition("```\n")[2].partition("```\n")[2].partition("```")[0]
    for line in block.splitlines():
        yield re.sub(r"\d+(?:,\d+)*", r"[\\d,]+", re.escape(line))


@pytest.mark.long
async def test_the_demo_proves_its_claims_and_leaves_nothing_behind(
    tmp_path: Path, open_directory: Path, installed: Path
) -> None:
    demo = CommandLine(tmp_path).run_program(installed / "pattern-metrics", "demo", tmpdir=open_directory)
    running = asyncio.create_task(demo)
    await eventually(lambda: processes_of(open_directory), deadline_seconds=SECONDS_MAX)
    assert files_of(open_directory)

    shown = (await running).succeeded()

    output = shown.stdout.decode()
    assert "Proved:" in output
    assert "0 rows changed, 0 rows written" in output
    expected = list(lines_of_the_readme())
    assert len(expected) > 5
    assert [line for line in expected if not re.search(line, output)] == []
    assert "Traceback" not in shown.stderr
    await eventually(lambda: not processes_of(open_directory))
    assert files_of(open_directory) == []


@pytest.mark.long
async def test_a_demo_that_stays_serves_the_page_at_the_configured_address(
    tmp_path: Path, open_directory: Path
) -> None:
    scraper = Scraper(free_port())
    where = {"http_host": "0.0.0.0", "http_port": scraper.port}

    async with CommandLine(tmp_path).watched("demo", "--keep", tmpdir=open_directory, **where) as demo:
        await demo.wait_for(re.escape(f"To look at it: http://127.0.0.1:{scraper.port}/"))
        progress = await scraper.ask("/v1/progress")
        code = await demo.press_ctrl_c()

    assert progress.json["worker"]["obstacles"] == {}
    assert code == 0


async def test_a_port_that_is_taken_is_reported_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        refused = await CommandLine(tmp_path).run("demo", "--keep", http_port=port)

    assert refused.code == 2
    assert refused.stdout == b""
    assert refused.stderr.endswith(f"error: HTTP_PORT: cannot listen on {HOST} port {port} (EADDRINUSE)\n")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["LOG_FORMAT", "PATTERN_METRICS_BATCH_MAX_RECORDS"])
async def test_a_wrong_setting_of_the_demo_is_reported_in_one_line(
    name: str, tmp_path: Path, open_directory: Path
) -> None:
    refused = await CommandLine(tmp_path, {name: "hunter2"}).run("demo", tmpdir=open_directory)

    assert refused.code == 2
    assert refused.stderr.startswith(f"error: {name}: ")
    assert len(refused.stderr.splitlines()) == 1
