"""Folds many events to the latest per pattern: the law of the table. Pure."""

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from pattern_metrics.consumer.records.record import Accepted, Event

KeyT = TypeVar("KeyT", bound=Hashable)


def by_pattern(event: Event) -> UUID:
    """Return the key of the table: one current row per pattern."""
    return event.pattern_id


def by_measurement(event: Event) -> tuple[UUID, datetime]:
    """Return the key of the history: one row per pattern and time of measurement."""
    return event.pattern_id, event.measurement_timestamp


def fold(accepted: Iterable[Accepted], key: Callable[[Event], KeyT]) -> dict[KeyT, Accepted]:
    """Keep, per key, the event that supersedes all others (see `schemas.pattern_scored.Ordered`).

    The order is total, so the result depends neither on the order of the events nor on duplicates. The
    upserts also need one row per key: PostgreSQL refuses to update a row twice in one statement (SQLSTATE
    21000).
    """
    latest: dict[KeyT, Accepted] = {}
    for candidate in accepted:
        event = candidate.event
        name = key(event)
        current = latest.get(name)
        if current is None or event.supersedes(current.event):
            latest[name] = candidate
    return latest
