"""Events in a file: JSON Lines, one object a line. `score` writes this form and `publish` reads it."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.pattern_retired import PatternEvent, parse_either


def read_events(
    lines: Iterable[tuple[int, bytes]], *, accepted_until: datetime
) -> Iterator[tuple[int, PatternEvent | InvalidEventError]]:
    """Read events line by line. Blank lines are skipped.

    Args:
        lines: number and bytes of each line.
        accepted_until: the latest acceptable measurement time.

    Yields:
        The line's number and its event, or the reason why the line holds no event. An event without an
        `event_id` gets an id derived from its content, so that publishing a file twice is a retry.
    """
    for number, line in lines:
        if line.strip():
            try:
                yield number, parse_either(line, accepted_until=accepted_until, is_line=True)
            except InvalidEventError as error:
                yield number, error
