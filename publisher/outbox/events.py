"""The rows of events."""

import json
from collections.abc import Iterable, Sequence
from time import time

from pattern_metrics.publisher.outbox.row import TYPE, OutboxRow, microseconds, new_row
from pattern_metrics.schemas.pattern_retired import PatternEvent
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE


def rows_of(events: Iterable[PatternEvent], headers: str) -> Sequence[OutboxRow]:
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
            with_type(headers, event.EVENT_TYPE),
            event.to_json(),
        )
        for event in events
    ]


def with_type(headers: str, event_type: str) -> str:
    """Return the headers of a row with the type of its event; a measurement's is left out."""
    return headers if event_type == EVENT_TYPE else json.dumps({**json.loads(headers), TYPE: event_type})
