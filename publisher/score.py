"""The events of a score and of a retirement, from what an agent knows of them."""

import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Required, TypedDict, Unpack
from uuid import UUID

from pydantic import JsonValue

from pattern_metrics.schemas.event_limits import VERSION_DEFAULT
from pattern_metrics.schemas.pattern_id import pattern_id_from
from pattern_metrics.schemas.pattern_retired import PatternRetired
from pattern_metrics.schemas.pattern_scored import PatternScored
from pattern_metrics.schemas.uuid7 import uuid7


class Score(TypedDict, total=False):
    """The arguments of `publish_score`: all that an agent knows of a score."""

    pattern: Required[UUID | str]
    """The pattern's id, or its name, such as `module:qualified_name`; see `pattern_id_of`."""

    quality_score: Required[float]
    """From 0 (worst) to 1 (best)."""

    confidence: Required[float]
    """The trust of the scorer in its own score, from 0 to 1."""

    dimensions: Mapping[str, float]
    """A score from 0 to 1 by dimension; it becomes `metadata["dimensions"]`."""

    metadata: Mapping[str, JsonValue]
    """Anything else. A pattern's name becomes `metadata["name"]`, unless one is given here."""

    version: str
    """The scorer's version."""

    measured_at: datetime
    """The time of the measurement; by default now."""

    event_id: UUID
    """The measurement's own id; by default a new one. To repeat it is a retry."""


class RetirementDetails(TypedDict, total=False):
    """The arguments of `retire` that are seldom needed."""

    metadata: Mapping[str, JsonValue]
    """Anything. A pattern's name becomes `metadata["name"]`, unless one is given here."""

    retired_at: datetime
    """The time of the retirement; by default now."""

    event_id: UUID
    """The retirement's own id; by default a new one. To repeat it is a retry."""


def score_event(**score: Unpack[Score]) -> PatternScored:
    """Return the event of a score.

    Raises:
        ValueError: a value is not valid; pydantic's ValidationError names it.
        TypeError: there is no such argument.
    """
    _require_known(score, Score)
    pattern_id, metadata = identity_of(score["pattern"], score.get("metadata", {}))
    if "dimensions" in score:
        metadata["dimensions"] = dict(score["dimensions"])
        for name, value in score["dimensions"].items():
            if not 0 <= value <= 1:
                raise ValueError(f"dimensions: {name} is not from 0 to 1")
    event_id, measured_at = score.get("event_id"), score.get("measured_at")
    return PatternScored(
        event_id=new_event_id() if event_id is None else event_id,
        pattern_id=pattern_id,
        quality_score=score["quality_score"],
        confidence=score["confidence"],
        measurement_timestamp=datetime.now(UTC) if measured_at is None else measured_at,
        version=score.get("version", VERSION_DEFAULT),
        metadata=metadata,
    )


def retirement_event(
    pattern: UUID | str, because: str | None, **details: Unpack[RetirementDetails]
) -> PatternRetired:
    """Return the event that retires a pattern.

    Raises:
        ValueError: a value is not valid; pydantic's ValidationError names it.
        TypeError: there is no such argument.
    """
    _require_known(details, RetirementDetails)
    pattern_id, metadata = identity_of(pattern, details.get("metadata", {}))
    event_id, retired_at = details.get("event_id"), details.get("retired_at")
    return PatternRetired(
        event_id=new_event_id() if event_id is None else event_id,
        pattern_id=pattern_id,
        retired_at=datetime.now(UTC) if retired_at is None else retired_at,
        reason=because,
        metadata=metadata,
    )


def _require_known(given: Mapping[str, object], known: type) -> None:
    """Check the names of arguments, which Python does not do for a TypedDict.

    Raises:
        TypeError: there is no such argument.
    """
    for name in given.keys() - known.__annotations__.keys():
        raise TypeError(f"unexpected argument {name!r}; there are {', '.join(known.__annotations__)}")


def identity_of(pattern: UUID | str, metadata: Mapping[str, JsonValue]) -> tuple[UUID, dict[str, JsonValue]]:
    """Return the id of a pattern that is given by id or name, and the metadata with the name.

    Raises:
        ValueError: see `pattern_id_of`.
    """
    pattern_id, metadata = pattern_id_from(pattern), dict(metadata)
    if isinstance(pattern, str) and pattern.lower() != str(pattern_id):
        metadata.setdefault("name", pattern)
    return pattern_id, metadata


def new_event_id() -> UUID:
    """Return a UUID of version 7 (RFC 9562, section 5.7). Ids of later milliseconds are greater."""
    bits = secrets.randbits(12 + 62)
    return UUID(int=uuid7(time.time_ns() // 1_000_000, bits >> 62, bits & (1 << 62) - 1))
