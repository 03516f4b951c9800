"""The rows of events."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from time import time
from typing import Final

from pattern_metrics.publisher.outbox.row import UNIX_EPOCH, OutboxRow, new_row
from pattern_metrics.schemas.pattern_scored import PatternScored

_MICROSECOND: Final = timedelta(microseconds=1)


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
            (event.measurement_timestamp - UNIX_EPOCH) // _MICROSECOND,
            stored,
            headers,
            event.to_json(),
        )
        for event in events
    ]
