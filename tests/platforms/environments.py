"""Environments of each Python, and of the oldest and the newest dependencies that the ranges allow."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.installation import ROOT

LOCKED: Final = "locked"
USUAL: Final = f"{sys.version_info.major}.{sys.version_info.minor}"

_OPTIONS: Final = {
    LOCKED: ["--constraint", str(ROOT / "requirements.lock")],
    "lowest": ["--resolution", "lowest-direct"],
    "newest": ["--resolution", "highest"],
}
_UV: Final = Path(sys.executable).with_name("uv")
_PYENV: Final = Path("~/.pyenv/versions").expanduser()


def interpreter(version: str) -> str | None:
    """Return the Python of a version; None if this machine has none."""
    found = shutil.which(f"python{version}")
    if found and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
        return found  # pyenv's program for a version that is not chosen fails
    return next((str(path) for path in sorted(_PYENV.glob(f"{version}.*/bin/python"))), None)


def environment(directory: Path, python: str, dependencies: str) -> Path:
    """Make an environment with the project and the extra `worker`. Return its `pattern-metrics`.

    Args:
        directory: a new directory.
        python: the interpreter.
        dependencies: which versions: locked, lowest or newest.
    """
    subprocess.run([python, "-m", "venv", "--without-pip", directory], check=True)
    options: list[str | Path] = ["--quiet", "--python", directory / "bin" / "python", *_OPTIONS[dependencies]]
    subprocess.run([_UV, "pip", "install", *options, f"{ROOT}[worker]"], check=True)
    return directory / "bin" / "pattern-metrics"
