"""Helpers with which the tests of the scorer score code."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import pytest

from pattern_metrics.publisher.scoring.scorer import WEIGHTS, Result, score_sources
from pattern_metrics.publisher.scoring.sources import find_sources
from pattern_metrics.schemas.bands import band_of
from pattern_metrics.schemas.pattern_scored import PatternScored, parse_event

MEASURED_AT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def score_paths(
    paths: Iterable[Path], *, root: Path | None = None, project: str | None = None
) -> Iterator[Result]:
    """Yield the results of the search and of the scorer, in this order."""
    found = find_sources(paths, root=root, project=project)
    scored = score_sources(found.sources, measured_at=MEASURED_AT)
    return chain(found.unreadable, chain.from_iterable(scored))


def events_of(*paths: Path, root: Path | None = None, project: str | None = None) -> list[PatternScored]:
    results = list(score_paths(paths, root=root, project=project))
    events = [result for result in results if isinstance(result, PatternScored)]
    assert events == results
    return events


def score_text(text: str) -> dict[str, PatternScored]:
    """Return events by their name within the module."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "module.py")
        path.write_text(dedent(text))
        return {str(event.metadata["name"]).partition(":")[2]: event for event in events_of(path)}


def dimensions_of(event: PatternScored) -> dict[str, float]:
    dimensions = event.metadata["dimensions"]
    assert isinstance(dimensions, dict)
    return {name: float(str(value)) for name, value in dimensions.items()}


def assert_consistent(event: PatternScored) -> None:
    dimensions = dimensions_of(event)
    weighted = sum(WEIGHTS[dimension] * value for dimension, value in dimensions.items())
    assert set(dimensions) == set(WEIGHTS)
    assert all(0 <= value <= 1 for value in dimensions.values())
    assert event.quality_score == pytest.approx(weighted, abs=0.00005)
    assert event.metadata["band"] == band_of(event.quality_score)
    assert parse_event(event.to_json(), accepted_until=MEASURED_AT) == event
