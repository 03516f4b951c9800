"""Retires patterns that no longer exist, and forgets patterns that were retired long ago."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from pattern_metrics.consumer.operations.files.recognition import Measurements, Part
from pattern_metrics.publisher.score import new_event_id
from pattern_metrics.schemas.pattern_id import pattern_id_from

MISSING_MAX: Final = 0.2
"""The largest part of a project's patterns that a run may find missing without being asked again."""


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
        (number, _json(pattern, because, retired_at)) for number, pattern in enumerate(patterns, start=1)
    ]
    return Measurements("pattern", iter([Part(lines, 0)]))


def _retirement(line: bytes, because: str, retired_at: datetime) -> bytes:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line  # it is refused where it is published
    if not isinstance(row, dict) or row.get("retired_at") is not None:
        return line
    return _json(row.get("pattern_id"), because, retired_at, row.get("name"))


def _json(pattern: Any, because: str, retired_at: datetime, name: Any = None) -> bytes:  # noqa: ANN401
    """Return the event of a retirement. A pattern that cannot be one is refused where it is published."""
    pattern_id = str(pattern_id_from(pattern)) if isinstance(pattern, str) and pattern else pattern
    if name is None and isinstance(pattern, str) and pattern.lower() != pattern_id:
        name = pattern
    metadata = {} if name is None else {"name": name}
    event = {
        "event_id": str(new_event_id()),
        "pattern_id": pattern_id,
        "retired_at": retired_at.isoformat(),
        "reason": because,
        "metadata": metadata,
    }
    return orjson.dumps(event)


@dataclass(frozen=True, slots=True)
class Missing:
    """The patterns of a project that the table holds and a run did not find.

    Attributes:
        names: the name of each, by its id.
        known: the number of all patterns of the project in the table.
    """

    names: dict[UUID, str]
    known: int

    @property
    def is_suspicious(self) -> bool:
        """True if so many are missing that the paths may be wrong."""
        return len(self.names) > MISSING_MAX * self.known

    def events(self, retired_at: datetime) -> Iterator[bytes]:
        """Yield the JSON of their retirements."""
        for pattern_id, name in self.names.items():
            yield _json(str(pattern_id), "the scorer no longer finds it", retired_at, name)


async def find_missing(database_url: str, project: str, found: Collection[UUID]) -> Missing:
    """Compare the patterns of a project in the table with those that a run found.

    Args:
        database_url: as in DATABASE_URL.
        project: the project, with which the names begin, before a `/`.
        found: the patterns of the run.

    Raises:
        asyncpg.PostgresError: a statement failed.
        OSError: PostgreSQL cannot be reached.
    """
    from pattern_metrics.consumer.operations.sql import statement
    from pattern_metrics.consumer.postgres.connection import connected

    async with connected(database_url) as connection:
        rows = await connection.fetch(statement("select_patterns_of_prefix"), f"{project}/")
    return Missing(
        {row["pattern_id"]: row["name"] for row in rows if row["pattern_id"] not in found}, len(rows)
    )


async def prune_retired(database_url: str, before: datetime) -> int:
    """Forget the patterns that were retired before a time. Return their number.

    Raises:
        asyncpg.PostgresError: the statement failed.
        OSError: PostgreSQL cannot be reached.
    """
    from pattern_metrics.consumer.operations.sql import statement
    from pattern_metrics.consumer.postgres.connection import connected

    async with connected(database_url) as connection:
        status = await connection.execute(statement("delete_retired"), before)
    return int(status.rpartition(" ")[2])
