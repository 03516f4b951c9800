"""Makes retirements of patterns that are given by id, by name, or as rows. It needs no database driver."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from pattern_metrics.consumer.operations.files.recognition import Measurements, Part
from pattern_metrics.publisher.score import identity_of, new_event_id


def as_retirements(rows: Measurements, *, because: str, retired_at: datetime) -> Measurements:
    """Turn rows with a `pattern_id`, such as an export has, into retirements of these patterns.

    A row's own `retired_at`, `event_id` and `reason` are kept if it has `retired_at`.
    """
    return replace(
        rows,
        parts=(
            Part([(number, _retirement(line, because, retired_at)) for number, line in part.lines], part.size)
            for part in rows.parts
        ),
    )


def retirements_of(patterns: Collection[str], *, because: str, retired_at: datetime) -> Measurements:
    """Return the retirements of patterns that are given by their ids or names."""
    lines = [
        (number, retirement_json(pattern, because, retired_at))
        for number, pattern in enumerate(patterns, start=1)
    ]
    return Measurements("pattern", iter([Part(lines, 0)]))


def _retirement(line: bytes, because: str, retired_at: datetime) -> bytes:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line  # it is refused where it is published
    if not isinstance(row, dict) or row.get("retired_at") is not None:
        return line
    return retirement_json(row.get("pattern_id"), because, retired_at, row.get("name"))


def retirement_json(
    pattern: Any,  # noqa: ANN401 - whatever a row held
    because: str,
    retired_at: datetime,
    name: Any = None,  # noqa: ANN401 - likewise
) -> bytes:
    """Return the event of a retirement. A pattern that cannot be one is refused where it is published."""
    pattern_id, metadata = pattern, {} if name is None else {"name": name}
    if isinstance(pattern, str) and pattern:
        pattern_id, metadata = identity_of(pattern, metadata)
    event = {
        "event_id": str(new_event_id()),
        "pattern_id": pattern_id,
        "retired_at": retired_at.isoformat(),
        "reason": because,
        "metadata": metadata,
    }
    return orjson.dumps(event)
