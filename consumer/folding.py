"""Many events → the latest per pattern: the law of the table. Pure."""

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from consumer.records import Accepted
from schemas.pattern_scored import PatternScored

KeyT = TypeVar("KeyT", bound=Hashable)


def by_pattern(event: PatternScored) -> UUID:
    """The key of the table: one current row per pattern."""
    return event.pattern_id


def by_measurement(event: PatternScored) -> tuple[UUID, datetime]:
    """The key of the history: one row per pattern and time of measurement."""
    return event.pattern_id, event.measurement_timestamp


def fold(accepted: Iterable[Accepted], key: Callable[[PatternScored], KeyT]) -> dict[KeyT, Accepted]:
    """Keep, per key, the event that supersedes all others (see `PatternScored.order`).

    The order is total, so the result depends neither on the order of the events nor on duplicates. One row
    per key is also what the upserts need: PostgreSQL refuses to touch a row twice (SQLSTATE 21000).
    """
    latest: dict[KeyT, Accepted] = {}
    for candidate in accepted:
        name = key(candidate.event)
        current = latest.get(name)
        if current is None or candidate.event.order > current.event.order:
            latest[name] = candidate
    return latest
