"""The released files are complete, and work read-only and without a user name, as in the image."""

import json
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from pattern_metrics import __version__, pattern_id_of
from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import SECONDS_MAX, CommandLine, Finished, environment_of
from tests.support.installation import ROOT, Built, build, link, required, unprivileged
from tests.support.kafka import Broker
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.scraping import Scraper
from tests.support.waiting import eventually

PACKAGES = ("consumer", "migrations", "publisher", "schemas")
MAN_PAGE = f"pattern_metrics-{__version__}.data/data/share/man/man1/pattern-metrics.1"

AGENT = """
import asyncio
import pathlib
from datetime import UTC, datetime
from uuid import UUID

for name in ("consumer", "migrations", "publisher", "schemas", "tests"):
    assert pathlib.Path(__import__(name).__file__).parent.parent == pathlib.Path(__file__).parent

from pattern_metrics import PatternScored, ScorePublisher, pattern_id_of


async def report() -> None:
    async with ScorePublisher() as publisher:
        await publisher.publish(
            PatternScored(
                event_id=UUID(int=7),
                pattern_id=pattern_id_of("billing:Invoice.total"),
                quality_score=0.75,
                confidence=0.9,
                measurement_timestamp=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )


if __name__ == "__main__":
    asyncio.run(report())
"""

AGENTS_TEST = """
import agent


def test_the_agent_is_imported_beside_its_own_folders():
    assert agent.pattern_id_of("a").version == 5
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An agent's project, with folders that have the names of ours in the repository."""
    for name in (*PACKAGES, "tests"):
        tmp_path.joinpath(name).mkdir()
        tmp_path.joinpath(name, "__init__.py").touch()
    tmp_path.joinpath("agent.py").write_text(AGENT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def open_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def files_of_the_packages() -> dict[str, str]:
    """Return each file's name in the wheel by its name in the repository."""
    own = [path for path in (ROOT / "pattern_metrics").iterdir() if path.is_file()]
    linked = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    names = [path.relative_to(ROOT).as_posix() for path in own + linked if "__pycache__" not in path.parts]
    return {
        name: MAN_PAGE if name.endswith(".1") else f"pattern_metrics/{name.removeprefix('pattern_metrics/')}"
        for name in names
    }


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


def health_check() -> list[str]:
    """Return the image's own health check."""
    [line] = re.findall(r"^HEALTHCHECK .* CMD (.+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    words: list[str] = json.loads(line)
    return words


def state_of(tree: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in tree.rglob("*")}


def test_sdist_and_wheel_hold_each_file_of_the_packages(built: Built) -> None:
    expected = files_of_the_packages()
    in_wheel = set(contents(built.wheel))
    with tarfile.open(built.sdist) as sdist:
        in_sdist = {name.partition("/")[2] for name in sdist.getnames()}

    assert {path.rpartition(".")[2] for path in expected} >= {"py", "sql", "json", "yaml", "typed"}
    assert {name for name in in_wheel if ".dist-info/" not in name} == set(expected.values())
    assert set(expected) - in_sdist == set()
    imported = {name for name in in_wheel if ".dist-info/" not in name} - {MAN_PAGE}
    assert {name.partition("/")[0] for name in imported} == {"pattern_metrics"}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "requirements.lock", "docker-compose.yml"} <= in_sdist


def test_the_wheel_from_the_sdist_is_the_wheel_from_the_checkout(built: Built, tmp_path: Path) -> None:
    build(tmp_path, "--wheel")
    [from_checkout] = tmp_path.glob("*.whl")

    assert contents(built.wheel) == contents(from_checkout)
    assert built.wheel.name == from_checkout.name


async def test_the_installed_worker_needs_no_rights_no_home_and_no_place_to_write(
    installed: Path, database_url: str, embedded_broker: Broker, open_directory: Path
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
    """Without this, the test above would prove nothing."""
    touched = await CommandLine(installed).run_program(*unprivileged(), "touch", installed / "new")

    assert touched.code != 0
    assert not (installed / "new").exists()


async def test_an_agent_publishes_from_a_project_with_folders_of_our_names(
    light: Path, project: Path, real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    """The agent has only the wheel. The worker is from the full environment."""
    agent = CommandLine(project, environment_of(real_settings))
    (await agent.run_program(light / "python", "agent.py")).succeeded()

    run = (await real_command.run("consume", "--until-caught-up", "--json")).succeeded()

    assert run.json == {"read": 1, "applied": 1, "superseded": 0, "dead_letters": 0}
    measured = datetime(2026, 1, 1, tzinfo=UTC)
    assert await table(real_settings) == {
        pattern_id_of("billing:Invoice.total"): (measured, UUID(int=7), 0.75)
    }


async def test_the_commands_run_in_a_folder_that_holds_folders_of_our_names(
    worker_only: Path, project: Path, database_url: str, embedded_broker: Broker
) -> None:
    """`python -m` puts the working directory before everything else, also for Alembic's imports."""
    settings = worker_settings(embedded_broker.bootstrap_servers, f"test-{uuid4().hex}", database_url)
    python = worker_only / "python"
    command = CommandLine(project, environment_of(settings))
    event = an_event()

    async def run(*arguments: str, stdin: bytes = b"") -> Finished:
        return await command.run_program(python, "-m", "pattern_metrics", *arguments, stdin=stdin)

    for arguments in (("migrate", "up"), ("migrate", "sql"), ("topic", "create"), ("consume", "--check")):
        (await run(*arguments)).succeeded()
    scored = (await run("score", "agent.py")).succeeded()
    (await run("publish", "-", stdin=event.to_json())).succeeded()
    (await run("consume", "--until-caught-up")).succeeded()
    health = await command.run_program(python, "-m", "pattern_metrics.consumer.alive")

    assert len(scored.stdout.splitlines()) == 1
    assert await table(settings) == expected_table([event])
    assert (health.code, health.stderr) == (0, "")  # HTTP is off


async def test_pytest_runs_in_a_project_with_folders_of_our_names(
    light: Path, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (project / "tests/test_agent.py").write_text(AGENTS_TEST, encoding="utf-8")
    pytest_alone = tmp_path_factory.mktemp("pytest")
    link(required("pytest", set()), pytest_alone)
    command = CommandLine(project, {"PYTHONPATH": str(pytest_alone)})

    run = await command.run_program(light / "python", "-m", "pytest", "-p", "no:cacheprovider")

    assert (run.code, b"1 passed" in run.stdout) == (0, True), run.stdout
