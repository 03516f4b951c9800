"""What is released is whole, and works where it may write nothing and is nobody, as in the image."""

import json
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from pattern_metrics.consumer.demo.embedded import EmbeddedBroker, free_port
from tests.support.command import SECONDS_MAX, CommandLine, environment_of
from tests.support.installation import ROOT, Built, unprivileged
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.scraping import Scraper
from tests.support.waiting import eventually

PACKAGES = ("consumer", "migrations", "publisher", "schemas")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def files_of_the_packages() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def health_check() -> list[str]:
    """The image's own."""
    [line] = re.findall(r"^HEALTHCHECK .* CMD (.+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    words: list[str] = json.loads(line)
    return words


def state_of(tree: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in tree.rglob("*")}


def test_sdist_and_wheel_hold_each_file_of_the_packages(built: Built) -> None:
    expected = files_of_the_packages()
    with zipfile.ZipFile(built.wheel) as wheel:
        in_wheel = set(wheel.namelist())
    with tarfile.open(built.sdist) as sdist:
        in_sdist = {name.partition("/")[2] for name in sdist.getnames()}

    assert {path.rpartition(".")[2] for path in expected} >= {"py", "sql", "json", "yaml", "typed"}
    assert expected - in_wheel == set()
    assert expected - in_sdist == set()
    assert {name.partition("/")[0] for name in in_wheel if ".dist-info/" not in name} == set(PACKAGES)
    assert {"LICENSE", "README.md", "CHANGELOG.md", "requirements.lock", "docker-compose.yml"} <= in_sdist


async def test_the_installed_worker_needs_no_rights_no_home_and_no_place_to_write(
    installed: Path, database_url: str, embedded_broker: EmbeddedBroker, open_directory: Path
) -> None:
    settings = worker_settings(embedded_broker.bootstrap_servers, f"test-{uuid4().hex}", database_url)
    program: list[str | Path] = [*unprivileged(), installed / "pattern-metrics"]
    command = CommandLine(open_directory, environment_of(settings), program)
    scraper = Scraper(free_port())
    event = an_event()
    before = state_of(installed.parent)

    async def is_healthy() -> bool:
        python, *arguments = health_check()
        asked = await command.run_program(
            *unprivileged(), installed / python, *arguments, http_port=scraper.port
        )
        return asked.code == 0

    for arguments in (("--help",), ("migrate", "up"), ("topic", "create")):
        (await command.run_program(*program, *arguments)).succeeded()
    (await command.run_program(*program, "publish", "-", stdin=event.to_json())).succeeded()
    async with command.worker(http_port=scraper.port) as worker:
        await scraper.wait_until_ready()
        healthy = await is_healthy()
        await eventually(lambda: table(settings), deadline_seconds=SECONDS_MAX)
        code = await worker.terminate()

    assert await table(settings) == expected_table([event])
    assert code == 0
    assert (healthy, await is_healthy()) == (True, False)
    assert state_of(installed.parent) == before


async def test_a_user_without_rights_can_write_nowhere_in_the_installation(installed: Path) -> None:
    """Otherwise the test above would prove nothing."""
    touched = await CommandLine(installed).run_program(*unprivileged(), "touch", installed / "new")

    assert touched.code != 0
    assert not (installed / "new").exists()
