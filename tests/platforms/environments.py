"""Environments of each Python, and of the oldest and the newest dependencies that the ranges allow."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from tests.support.installation import ROOT

PROJECT: Final = f"{ROOT}[worker]"
LOCKED: Final = "locked"
USUAL: Final = f"{sys.version_info.major}.{sys.version_info.minor}"

_PINNED: Final = re.compile(r"^[a-z0-9][a-z0-9._-]*==[^ ;\\]+", re.MULTILINE | re.IGNORECASE)
_PYENV: Final = Path("~/.pyenv/versions").expanduser()


def interpreter(version: str) -> str | None:
    """Return the Python of a version; None if this machine has none."""
    found = shutil.which(f"python{version}", path=None)
    if found and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
        return found
    return next((str(path) for path in sorted(_PYENV.glob(f"{version}.*/bin/python"))), None)


def environment(directory: Path, python: str, dependencies: str) -> Path:
    """Make an environment with the project and the extra `worker`. Return its `pattern-metrics`.

    Args:
        directory: a new directory.
        python: the interpreter.
        dependencies: which versions: locked, lowest or newest.
    """
    constraints = {LOCKED: locked, "lowest": lowest, "newest": list[str]}[dependencies]()
    subprocess.run([python, "-m", "venv", directory], check=True)
    file = directory / "constraints.txt"
    file.write_text("\n".join(constraints), encoding="utf-8")
    pip: list[str | Path] = [
        directory / "bin" / "python",
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
    ]
    options = ["--prefer-binary", "--constraint", str(file)]
    subprocess.run([*pip, "install", *options, PROJECT], check=True)
    return directory / "bin" / "pattern-metrics"


def locked() -> list[str]:
    """Return the versions of requirements.lock."""
    return _PINNED.findall((ROOT / "requirements.lock").read_text(encoding="utf-8"))


def lowest() -> list[str]:
    """Return the lower bounds of the requirements in pyproject.toml, as versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["worker"]]
    return [
        f"{requirement.name}=={specifier.version}"
        for requirement in map(Requirement, lines)
        for specifier in requirement.specifier
        if specifier.operator == ">="
    ]
