"""Many events → the latest per pattern: the law of the table. Pure."""

from collections.abc import Iterable
from uuid import UUID

from consumer.records import Accepted


def fold(accepted: Iterable[Accepted]) -> dict[UUID, Accepted]:
    """Keep, per pattern, the event that supersedes all others (see `PatternScored.order`).

    The order is total, so the result depends neither on the order of the events nor on duplicates. One row
    per pattern is also what the upsert needs: PostgreSQL refuses to touch a row twice (SQLSTATE 21000).
    """
    latest: dict[UUID, Accepted] = {}
    for candidate in accepted:
        current = latest.get(candidate.event.pattern_id)
        if current is None or candidate.event.order > current.event.order:
            latest[candidate.event.pattern_id] = candidate
    return latest
