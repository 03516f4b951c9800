"""The built wheel in its own environment, which contains nothing of this checkout."""

import os
import stat
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.shared import shared

ROOT = Path(__file__).parents[2]
PROJECT = "pattern-metrics"


@dataclass(frozen=True)
class Built:
    """The sdist, and the wheel that was built from it."""

    sdist: Path
    wheel: Path


def build(directory: Path, *options: str) -> None:
    """Build as `make dist` does: the sdist, and the wheel from it."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, *options, ROOT],
        check=True,
        capture_output=True,
    )


def install(wheel: Path, directory: Path, extras: set[str]) -> Path:
    """Make an environment with the wheel, these extras and their requirements. Return its `bin`.

    The requirements are links to the installed distributions, which have the locked versions. No index is
    asked.
    """
    venv.create(directory, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(directory)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    [packages] = directory.glob("lib/python*/site-packages")
    link(required(PROJECT, extras) - {PROJECT}, packages)
    return directory / "bin"


def link(names: set[str], packages: Path) -> None:
    """Link distributions of this environment into a directory of packages."""
    for name in names:
        _link(distribution(name), packages)


def required(name: str, extras: set[str]) -> set[str]:
    """Return the names of all distributions that one needs, itself included."""
    found = {name}
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}
        ):
            found |= required(requirement.name, requirement.extras)
    return found


def _link(requirement: Distribution, packages: Path) -> None:
    home = Path(str(requirement.locate_file("")))
    for part in {Path(str(file)).parts[0] for file in requirement.files or ()} - {"..", "__pycache__"}:
        if not (packages / part).exists():
            (packages / part).symlink_to(home / part)


def unprivileged() -> list[str]:
    """Return the beginning of a command that runs as a user without files, name and home.

    Root's interpreter may be below /root; that user can still read it.
    """
    if os.geteuid() != 0:
        return ["env", "--unset=HOME"]
    python = Path(sys.executable).resolve()
    is_open = all(path.stat().st_mode & stat.S_IXOTH for path in (python, *python.parents))
    rights = "-all" if is_open else "-all,+dac_read_search"
    kept = [f"--inh-caps={rights}", f"--ambient-caps={rights}", f"--bounding-set={rights}"]
    return [
        "setpriv",
        "--reuid=65532",
        "--regid=65532",
        "--clear-groups",
        "--no-new-privs",
        *kept,
        "env",
        "--unset=HOME",
    ]


@contextmanager
def _distribution() -> Iterator[str]:
    """Yield the directory of the build."""
    with tempfile.TemporaryDirectory() as name:
        build(Path(name))
        yield name


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> Iterator[Built]:
    with shared(pytestconfig, _distribution) as name:
        [sdist], [wheel] = Path(name).glob("*.tar.gz"), Path(name).glob("*.whl")
        yield Built(sdist, wheel)


@dataclass(frozen=True)
class _Environment:
    """Makes an environment with the wheel, and yields its `bin`.

    Attributes:
        distribution: the directory of the build.
        extras: the extras of the wheel.
        is_read_only: whether nobody can write to it; every user can read it.
    """

    distribution: str
    extras: frozenset[str]
    is_read_only: bool = False

    @contextmanager
    def __call__(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as name:
            [wheel] = Path(self.distribution).glob("*.whl")
            programs = install(wheel, Path(name) / PROJECT, set(self.extras))
            if self.is_read_only:
                Path(name).chmod(0o755)
                subprocess.run(["chmod", "-R", "a-w,a+rX", programs.parent], check=True)
            yield str(programs)
            if self.is_read_only:
                subprocess.run(["chmod", "-R", "u+w", programs.parent], check=True)


@contextmanager
def _environment(
    config: pytest.Config, built: Built, *extras: str, is_read_only: bool = False
) -> Iterator[Path]:
    made = _Environment(str(built.wheel.parent), frozenset(extras), is_read_only)
    with shared(config, made) as programs:
        yield Path(programs)


@pytest.fixture(scope="session")
def light(pytestconfig: pytest.Config, built: Built) -> Iterator[Path]:
    """The programs of `pip install pattern-metrics`, as agents install it."""
    with _environment(pytestconfig, built) as programs:
        yield programs


@pytest.fixture(scope="session")
def worker_only(pytestconfig: pytest.Config, built: Built) -> Iterator[Path]:
    """The programs of `pip install 'pattern-metrics[worker]'`."""
    with _environment(pytestconfig, built, "worker") as programs:
        yield programs


@pytest.fixture(scope="session")
def installed(pytestconfig: pytest.Config, built: Built) -> Iterator[Path]:
    """The programs of an installation that nobody can write to, and every user can read."""
    with _environment(pytestconfig, built, "embedded", is_read_only=True) as programs:
        yield programs
