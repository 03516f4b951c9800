"""The rows of events."""

from collections.abc import Iterable, Sequence
from time import time

from pattern_metrics.publisher.outbox.row import OutboxRow, microseconds, new_row
from pattern_metrics.schemas.pattern_scored import PatternScored


def rows_of(events: Iterable[PatternScored], headers: str) -> Sequence[OutboxRow]:
    """Return the rows of events, to be stored.

    Args:
        events: the events, each valid.
        headers: as `headers_text` returns them.
    """
    stored = int(time())
    return [
        new_row(
            event.event_id.bytes,
            event.pattern_id.bytes,
            microseconds(event.measurement_timestamp),
            stored,
            headers,
            event.to_json(),
        )
        for event in events
    ]
