"""An agent that scores real Python code: source trees in, one event per function and class out.

It reads; nothing is imported or executed. The rule of each dimension stands in `scoring_rules`.
"""

import ast
import io
import os
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Final

from pattern_metrics.publisher.scoring import rules as scoring_rules
from pattern_metrics.publisher.scoring.facts import (
    ClassFacts,
    Definition,
    FunctionFacts,
    SourceLines,
    read_definitions,
)
from pattern_metrics.schemas.bands import band_of
from pattern_metrics.schemas.pattern_id import pattern_id_of
from pattern_metrics.schemas.pattern_scored import Measurement, PatternScored

SCORER_VERSION: Final = "1.0.0"
"""Of the rules: a change of what they give is a new version."""

WEIGHTS: Final = {
    "completeness": 0.30,
    "documentation": 0.25,
    "compliance": 0.20,
    "metadata_richness": 0.15,
    "complexity": 0.10,
}
"""The dimensions, and each one's part of the score."""

SKIPPED_DIRECTORIES: Final = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "venv"}
)
"""Other people's code or no source: not searched unless given as a path. Nor are hidden directories."""

NAME_CHARACTERS_MAX: Final = 1024
"""Longest name in the metadata; generated code may have any. `pattern_id` comes from the whole name."""

_RULES: Final[dict[str, Callable[[FunctionFacts | ClassFacts], float]]] = {
    "completeness": scoring_rules.completeness,
    "documentation": scoring_rules.documentation,
    "compliance": scoring_rules.compliance,
    "metadata_richness": scoring_rules.metadata_richness,
    "complexity": scoring_rules.complexity,
}

_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Source:
    """A file to score.

    Attributes:
        path: how to open it.
        module: its dotted name: from the outermost directory with an `__init__.py`, else from the given path.
        location: its path from that same starting point, with slashes; never absolute.
    """

    path: Path
    module: str
    location: str


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that could not be scored, and why, for a person."""

    path: Path
    reason: str


def find_sources(paths: Iterable[Path]) -> list[Source]:
    """The Python files below the paths, each once, sorted by path.

    A directory is searched for `*.py`, without following links to directories; a file given by itself is
    taken whatever its name.

    Raises:
        FileNotFoundError: one of the paths does not exist.
    """
    sources: dict[Path, Source] = {}
    for root in paths:
        if not root.exists():
            raise FileNotFoundError(f"no such file or directory: {root}")
        for path in _files_below(root) if root.is_dir() else [root]:
            sources.setdefault(_real(path), _source(path, root))
    return sorted(sources.values(), key=lambda source: source.path)


def score_paths(paths: Iterable[Path], *, measured_at: datetime) -> Iterator[PatternScored | UnreadableFile]:
    """Score what `find_sources` finds, file by file, as the result is consumed.

    Args:
        paths: directories and files.
        measured_at: the measurement's time, with an offset.

    Raises:
        FileNotFoundError: one of the paths does not exist; at once, not when the result is consumed.
    """
    sources = find_sources(paths)
    return (result for source in sources for result in score_file(source, measured_at=measured_at))


def score_file(source: Source, *, measured_at: datetime) -> list[PatternScored | UnreadableFile]:
    """One event per function and class of a file, in the order of the source, or the one reason why not.

    Where a module defines a name more than once (overloads, a property's setter, `if`/`else`), the second is
    `name#2`, and so on. Scored are the functions and classes of the module and of its classes.
    """
    try:
        definitions = _read(source.path)
    except (OSError, SyntaxError, ValueError, LookupError, RecursionError, MemoryError) as error:
        return [UnreadableFile(source.path, _explain(error))]
    seen: Counter[str] = Counter()
    events: list[PatternScored | UnreadableFile] = []
    for definition in definitions:
        seen[definition.name] += 1
        ordinal = f"#{seen[definition.name]}" if seen[definition.name] > 1 else ""
        name = f"{source.module}:{definition.name}{ordinal}"
        events.append(_score(definition, name, source.location, measured_at))
    return events


def _files_below(root: Path) -> Iterator[Path]:
    unreadable: list[OSError] = []
    for directory, children, names in os.walk(root, onerror=unreadable.append):
        is_environment = "pyvenv.cfg" in names and Path(directory) != root
        children[:] = [] if is_environment else filter(_is_searched, children)
        paths = [] if is_environment else [Path(directory, name) for name in names if name.endswith(".py")]
        yield from filter(_is_file, paths)
    # To open such a directory fails as to list it did: so it is reported and not passed over in silence.
    yield from (Path(error.filename) for error in unreadable)


def _is_searched(directory_name: str) -> bool:
    return not directory_name.startswith(".") and directory_name not in SKIPPED_DIRECTORIES


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True  # to open it will tell why not


def _real(path: Path) -> Path:
    """The path without links on the way to it; a link to a file is a file of its own."""
    return path.parent.resolve() / path.name


def _source(path: Path, root: Path) -> Source:
    real = _real(path)
    packages = list(takewhile(lambda directory: (directory / "__init__.py").exists(), real.parents))
    start = root.resolve() if root.is_dir() else real.parent
    if packages:
        start = packages[-1].parent
    inside = real.relative_to(start)
    names = inside.with_suffix("").parts
    module = ".".join(names[:-1] if names[-1] == "__init__" else names)
    return Source(path, _storable(module), _storable(inside.as_posix()))


def _storable(text: str) -> str:
    """A file's name may hold bytes that are no UTF-8, as lone surrogates, which no database stores."""
    return text.encode("utf-8", "backslashreplace").decode()


def _read(path: Path) -> list[Definition]:
    """Read what a file defines, in the encoding it declares (PEP 263)."""
    content = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    text = content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler thinks of foreign code
        tree = ast.parse(text)
    return list(read_definitions(tree.body, SourceLines(text)))


def _explain(error: Exception) -> str:
    match error:
        case SyntaxError(lineno=int(line)):
            return f"line {line}: {error.msg}"
        case OSError(strerror=str(reason)):
            return reason
        case RecursionError() | MemoryError():
            return "nested too deeply, or too large"
        case _:
            return _storable(str(error))


def _score(definition: Definition, name: str, location: str, measured_at: datetime) -> PatternScored:
    dimensions = {dimension: round(rule(definition.facts), _DIGITS) for dimension, rule in _RULES.items()}
    score = round(sum(WEIGHTS[dimension] * value for dimension, value in dimensions.items()), _DIGITS)
    return PatternScored.from_measurement(
        Measurement(
            pattern_id=pattern_id_of(name),
            quality_score=score,
            confidence=round(scoring_rules.confidence(definition.facts), _DIGITS),
            measurement_timestamp=measured_at,
            version=SCORER_VERSION,
            metadata={
                "name": name[:NAME_CHARACTERS_MAX],
                "kind": definition.kind,
                "dimensions": {**dimensions},
                "band": band_of(score),
                "location": {"path": location, "line": definition.line, "end_line": definition.end_line},
                "language": "python",
            },
        )
    )
