"""The answers of the tools, from which their output schemas are made. The fields explain themselves."""

from collections.abc import Mapping
from typing import Any, Literal

from typing_extensions import TypedDict


class FoundPattern(TypedDict):
    """A pattern of a list."""

    id: str
    name: str
    score: float
    band: str
    weakest: str | None
    weakest_score: float | None


class FoundPatterns(TypedDict):
    """The answer of `find_patterns`."""

    patterns: list[FoundPattern]
    left_off: int
    next: str | None
    percent_read: float


class TrendPoint(TypedDict):
    """A measurement; without a score, a retirement."""

    at: str
    score: float | None


class PatternQuality(TypedDict):
    """The answer of `pattern_quality`."""

    id: str
    name: str
    score: float | None
    band: str | None
    confidence: float | None
    version: str | None
    measured_at: str | None
    retired_at: str | None
    dimensions: dict[str, float | None]
    trend: list[TrendPoint]
    untrusted: str | None


class CodeScore(TypedDict):
    """A function or class of `score_code`."""

    name: str
    file: str
    line: int
    end_line: int
    score: float
    band: str
    weakest: str


class CodeScores(TypedDict):
    """The answer of `score_code`."""

    definitions: list[CodeScore]
    left_off: int
    notes: list[str]


class ExplainedDimension(TypedDict):
    """A dimension of `explain_score`."""

    dimension: str
    score: float
    weight: float
    facts: str


class GainfulChange(TypedDict):
    """A change of `explain_score`."""

    change: str
    dimension: str
    gain: float


class Explanation(TypedDict):
    """The answer of `explain_score`."""

    name: str
    line: int
    end_line: int
    score: float
    band: str
    dimensions: list[ExplainedDimension]
    changes: list[GainfulChange]


class ScoreResult(TypedDict):
    """The outcome of one score of `publish_scores`."""

    event_id: str | None
    status: Literal["accepted", "refused", "unacknowledged"]
    reason: str | None
    detail: str | None


class PublishedScores(TypedDict):
    """The answer of `publish_scores`."""

    accepted: int
    refused: int
    unacknowledged: int
    durable: Literal["kafka", "local"]
    note: str | None
    results: list[ScoreResult]


class IngestStatus(TypedDict):
    """The answer of `ingest_status`."""

    lag: int | None
    patterns: int | None
    newest_row: str | None
    dead_letters: dict[str, int] | None
    outbox_waiting: int | None
    outbox_oldest_seconds: int | None
    outbox_refused: int | None
    problems: list[str]


def weakest(dimensions: Mapping[str, Any]) -> str | None:
    """Return the dimension with the lowest score; None if there are none."""
    return min(dimensions, key=lambda name: dimensions[name], default=None)
