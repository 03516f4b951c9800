"""An agent that scores real Python code: it reads source trees and yields one event per function and class.

It only reads; nothing is imported or executed. `scoring.rules` holds the rule of each dimension.
"""

import ast
import io
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from pattern_metrics.publisher.scoring import rules as scoring_rules
from pattern_metrics.publisher.scoring.facts import (
    ClassFacts,
    Definition,
    FunctionFacts,
    SourceLines,
    read_definitions,
)
from pattern_metrics.publisher.scoring.sources import Source, UnreadableFile, storable
from pattern_metrics.schemas.bands import band_of
from pattern_metrics.schemas.pattern_id import pattern_id_of
from pattern_metrics.schemas.pattern_scored import Measurement, PatternScored

SCORER_VERSION: Final = "1.1.0"
"""Version of the rules, including those for names. A rule with other results needs a new version."""

WEIGHTS: Final = {
    "completeness": 0.30,
    "documentation": 0.25,
    "compliance": 0.20,
    "metadata_richness": 0.15,
    "complexity": 0.10,
}
"""The weight of each dimension in the score."""


NAME_CHARACTERS_MAX: Final = 1024
"""Longest name in the metadata, as generated code may have longer names. `pattern_id` uses the whole name."""

RULES: Final[dict[str, Callable[[FunctionFacts | ClassFacts], float]]] = {
    "completeness": scoring_rules.completeness,
    "documentation": scoring_rules.documentation,
    "compliance": scoring_rules.compliance,
    "metadata_richness": scoring_rules.metadata_richness,
    "complexity": scoring_rules.complexity,
}
"""The rule of each dimension."""

_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class DuplicateDefinition:
    """A definition that was left out because an earlier file defines the same name, which has the same id.

    Attributes:
        name: the name of both definitions.
        path: the file whose definition was left out.
        scored: the file whose definition was scored.
    """

    name: str
    path: Path
    scored: Path

    def __str__(self) -> str:
        return f"{self.path}: {self.name} is defined in {self.scored} already"


Result: TypeAlias = PatternScored | UnreadableFile | DuplicateDefinition


def score_sources(sources: Iterable[Source], *, measured_at: datetime) -> Iterator[list[Result]]:
    """Score files as the result is consumed: one list of results for each file.

    No two events have one id: if two files define one name, the definition of the first file is scored, and
    the other definition is a `DuplicateDefinition`.

    Args:
        sources: the files, as `find_sources` returns them.
        measured_at: the measurement's time, with an offset.
    """
    scored = dict[UUID, Path]()
    for source in sources:
        results = list[Result]()
        for result in score_file(source, measured_at=measured_at):
            if isinstance(result, UnreadableFile):
                results.append(result)
                continue
            first = scored.setdefault(result.pattern_id, source.path)
            is_first = first == source.path
            name = str(result.metadata["name"])
            results.append(result if is_first else DuplicateDefinition(name, source.path, first))
        yield results


UNREADABLE: Final = (OSError, SyntaxError, ValueError, LookupError, RecursionError, MemoryError)
"""The errors of a file that cannot be read or parsed. `reason_of` says which it is."""


class ScoredDefinition(NamedTuple):
    """A function or class with its score.

    Attributes:
        name: its name, with its module before it.
        definition: its place and its facts.
        dimensions: the score of each dimension.
        score: the score.
    """

    name: str
    definition: Definition
    dimensions: dict[str, float]
    score: float


def score_file(source: Source, *, measured_at: datetime) -> list[PatternScored | UnreadableFile]:
    """Return one event per function and class of a file, in source order, or the one reason for having none.

    See `score_module`.
    """
    try:
        scored = score_module(source.path.read_bytes(), source.module)
    except UNREADABLE as error:
        return [UnreadableFile(source.path, reason_of(error))]
    return [_event(one, source.location, measured_at) for one in scored]


def score_module(content: bytes | str, module: str) -> list[ScoredDefinition]:
    """Score the content of a file.

    The functions and classes of the module and of its classes are scored. If a module defines a name more
    than once (overloads, a property's setter, `if`/`else`), the second definition is `name#2`, and so on.

    Args:
        content: the content: bytes in the encoding that they declare (PEP 263), or text.
        module: the module's name.

    Raises:
        Exception: one of UNREADABLE.
    """
    seen: Counter[str] = Counter()
    scored = list[ScoredDefinition]()
    for definition in _read(content):
        seen[definition.name] += 1
        ordinal = f"#{seen[definition.name]}" if seen[definition.name] > 1 else ""
        dimensions = {name: round(rule(definition.facts), _DIGITS) for name, rule in RULES.items()}
        score = round(weighted(dimensions), _DIGITS)
        name = f"{module}:{definition.name}{ordinal}"
        scored.append(ScoredDefinition(name, definition, dimensions, score))
    return scored


def weighted(dimensions: Mapping[str, float]) -> float:
    """Return the score of these dimensions."""
    return sum(WEIGHTS[dimension] * value for dimension, value in dimensions.items())


def _read(content: bytes | str) -> list[Definition]:
    if isinstance(content, bytes):
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        content = content.decode(encoding)
    text = content.replace("\r\n", "\n").replace("\r", "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's warnings about foreign code
        tree = ast.parse(text)
    return list(read_definitions(tree.body, SourceLines(text)))


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read or parsed, for one of UNREADABLE."""
    match error:
        case SyntaxError(lineno=int(line)):
            return f"line {line}: {error.msg}"
        case OSError(strerror=str(reason)):
            return reason
        case RecursionError() | MemoryError():
            return "nested too deeply, or too large"
        case _:
            return storable(str(error))


def _event(scored: ScoredDefinition, location: str, measured_at: datetime) -> PatternScored:
    definition = scored.definition
    return PatternScored.from_measurement(
        Measurement(
            pattern_id=pattern_id_of(scored.name),
            quality_score=scored.score,
            confidence=round(scoring_rules.confidence(definition.facts), _DIGITS),
            measurement_timestamp=measured_at,
            version=SCORER_VERSION,
            metadata={
                "name": scored.name[:NAME_CHARACTERS_MAX],
                "kind": definition.kind,
                "dimensions": {**scored.dimensions},
                "band": band_of(scored.score),
                "location": {"path": location, "line": definition.line, "end_line": definition.end_line},
                "language": "python",
            },
        )
    )
