"""Folds many events to the latest per pattern: the law of the table. Pure."""

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from operator import attrgetter
from typing import Final, TypeVar
from uuid import UUID

from pattern_metrics.consumer.records.record import Accepted, Event, Retired

KeyT = TypeVar("KeyT", bound=Hashable)
CandidateT = TypeVar("CandidateT", bound=Accepted | Retired)


by_pattern: Final[Callable[[Event], UUID]] = attrgetter("pattern_id")
"""The key of the table: one current row per pattern."""

by_measurement: Final[Callable[[Event], tuple[UUID, datetime]]] = attrgetter(
    "pattern_id", "measurement_timestamp"
)
"""The key of the history: one row per pattern and time."""


def fold(candidates: Iterable[CandidateT], key: Callable[[Event], KeyT]) -> dict[KeyT, CandidateT]:
    """Keep, per key, the event that supersedes all others (see `schemas.pattern_scored.Ordered`).

    The order is total, so the result depends neither on the order of the events nor on duplicates. The
    upserts also need one row per key: PostgreSQL refuses to update a row twice in one statement (SQLSTATE
    21000).
    """
    latest: dict[KeyT, CandidateT] = {}
    for candidate in candidates:
        event = candidate.event
        name = key(event)
        current = latest.get(name)
        if current is None or event.supersedes(current.event):
            latest[name] = candidate
    return latest
