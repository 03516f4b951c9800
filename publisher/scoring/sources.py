"""Find the Python files to score, and name their modules.

A module's name depends on the file's place in its project. The argument, the working directory and links to
the file do not change it.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Final

PROJECT_MARKERS: Final = ("pyproject.toml", ".git")
"""A directory that holds one of them is a project root. In a worktree or a submodule `.git` is a file."""

IMPORT_ROOTS: Final = frozenset({"site-packages", "dist-packages"})
"""Directories of installed packages. They are roots too: an environment is often inside a project."""

SKIPPED_DIRECTORIES: Final = (
    frozenset({"__pycache__", "__pypackages__", "node_modules", "venv"}) | IMPORT_ROOTS
)
"""Not searched unless given as an argument; nor are hidden directories and virtual environments."""

BUILD_DIRECTORIES: Final = frozenset({"build", "dist"})
"""Not searched either, because they hold copies of the source. A package (`__init__.py`) is searched."""

UNSCORED_SUFFIXES: Final = {".ipynb": "notebook", ".pyi": "stub"}
"""Files with Python in them that are not scored: cells are not modules, and a stub has no bodies."""

_SOURCE_DIRECTORY: Final = "src"


@dataclass(frozen=True, slots=True)
class Source:
    """A file to score.

    Attributes:
        path: the path to open, as it was found.
        module: its dotted name, with `PROJECT/` before it if a project is named.
        location: its path from the project's root, with slashes; never absolute.
    """

    path: Path
    module: str
    location: str


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file or directory that could not be scored, and the reason in words."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(slots=True)
class Found:
    """The result of a search.

    Attributes:
        sources: the files to score, each once, sorted by their real paths.
        unreadable: arguments and files that cannot be scored, and directories that cannot be searched.
        passed_over: notebooks and stubs in the directories that were searched.
        without_root: the number of sources outside any project.
    """

    sources: list[Source] = field(default_factory=list)
    unreadable: list[UnreadableFile] = field(default_factory=list)
    passed_over: set[Path] = field(default_factory=set)
    without_root: int = 0


def find_sources(paths: Iterable[Path], *, root: Path | None = None, project: str | None = None) -> Found:
    """Find the Python files below the paths.

    A directory is searched for `*.py`, without following links to directories. A file that is given by itself
    is taken whatever its name, unless it is a notebook or a stub.

    Args:
        paths: directories and files.
        root: the root of all modules' names. Without it, each file has the nearest project root above it.
        project: the prefix of all modules' names.

    Raises:
        FileNotFoundError: one of the paths does not exist.
    """
    found, files = Found(), dict[Path, Path]()
    for argument in dict.fromkeys(paths):
        if not argument.exists():
            raise FileNotFoundError(f"no such file or directory: {argument}")
        for path in _files_below(argument, found) if argument.is_dir() else _file(argument, found):
            files.setdefault(path.resolve(), path)
    places = _Places(root)
    prefix = f"{project}/" if project else ""
    for real, path in sorted(files.items()):
        start = places.root_of(real.parent)
        if start is not None and not real.is_relative_to(start):
            found.unreadable.append(UnreadableFile(path, "lies outside of the root"))
            continue
        top = start or _import_root_of(real)
        location = real.relative_to(top)
        module = _readable(prefix + _module_of(location, top))
        found.sources.append(Source(path, module, storable(location.as_posix())))
        found.without_root += start is None
    return found


def _file(path: Path, found: Found) -> Iterator[Path]:
    kind = UNSCORED_SUFFIXES.get(path.resolve().suffix)
    if kind is None and path.is_file():
        yield path
    else:
        reason = f"a {kind} is not scored" if kind else "is not a regular file"
        found.unreadable.append(UnreadableFile(path, reason))


def _files_below(top: Path, found: Found) -> Iterator[Path]:
    failures: list[OSError] = []
    is_empty, passed_over = True, set[Path]()
    for directory, children, names in os.walk(top, onerror=failures.append):
        here = Path(directory)
        if "pyvenv.cfg" in names and here != top:
            children.clear()
            continue
        children[:] = [child for child in children if _is_searched(here, child)]
        passed_over |= {(here / name).resolve() for name in names if Path(name).suffix in UNSCORED_SUFFIXES}
        for path in (here / name for name in names if name.endswith(".py")):
            if _is_file(path):
                is_empty = False
                yield path
    found.passed_over |= passed_over
    found.unreadable += [UnreadableFile(Path(error.filename), error.strerror or "") for error in failures]
    if is_empty:
        found.unreadable.append(UnreadableFile(top, "holds no Python file to score"))


def _is_searched(parent: Path, name: str) -> bool:
    if name in BUILD_DIRECTORIES:
        return (parent / name / "__init__.py").exists()
    return not name.startswith(".") and name not in SKIPPED_DIRECTORIES


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True  # opening it fails with the reason


class _Places:
    """Knows the project root of each directory.

    Args:
        root: the root of all directories, if there is one.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = None if root is None else root.resolve()
        self._roots: dict[Path, Path | None] = {}

    def root_of(self, directory: Path) -> Path | None:
        """Return the nearest root at or above a directory, by its real path; None if there is none."""
        if self._root is not None:
            return self._root
        if directory not in self._roots:
            if _is_root(directory):
                self._roots[directory] = directory
            else:
                self._roots[directory] = (
                    None if directory.parent == directory else self.root_of(directory.parent)
                )
        return self._roots[directory]


def _is_root(directory: Path) -> bool:
    return directory.name in IMPORT_ROOTS or any((directory / marker).exists() for marker in PROJECT_MARKERS)


def _import_root_of(file: Path) -> Path:
    """Return the directory above the outermost package; without a package, the file's own directory."""
    packages = list(takewhile(_is_package, file.parents))
    return packages[-1].parent if packages else file.parent


def _module_of(location: Path, root: Path) -> str:
    names = location.with_suffix("").parts
    if names[0] == _SOURCE_DIRECTORY and len(names) > 1 and not _is_package(root / _SOURCE_DIRECTORY):
        names = names[1:]
    if names[-1] == "__init__" and len(names) > 1:
        names = names[:-1]
    return ".".join(names)


def _is_package(directory: Path) -> bool:
    return (directory / "__init__.py").exists()


def _readable(name: str) -> str:
    """Return the name in Unicode's form NFC, as some file systems decompose what a person typed."""
    return unicodedata.normalize("NFC", storable(name))


def storable(text: str) -> str:
    """Replace lone surrogates, which stand for bytes that are not UTF-8: no database stores them."""
    return text.encode("utf-8", "backslashreplace").decode()
