"""An event's metadata may hold a secret: no error may repeat any of an event's values."""

import json
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import InvalidEventError
from schemas.pattern_scored import parse_event, parse_measurement
from tests.support.events import ACCEPTED_UNTIL, fields, nested

MARKER = "hunter2"

_bearers: st.SearchStrategy[Any] = st.sampled_from(
    [
        MARKER,
        f"\0{MARKER}",
        f"\ud800{MARKER}",
        MARKER * 20_000,
        [MARKER],
        {MARKER: MARKER},
        {"a": [{MARKER: float("nan")}]},
        {MARKER: nested(101)},
        {MARKER: nested(300)},
        f"2025-06-01T12:00:00Z{MARKER}",
        f"2025-06-01T12:00:{MARKER}",
        [[MARKER, 10**4400]],
    ]
)

# What only its bytes can say: the marker between two of them is replaced.
_damage = st.sampled_from(
    [(b"", b""), (b'"', b""), (b"}", b""), (b":", b" "), (MARKER[-1:].encode(), b"\xff"), (b"r2", b'r2"')]
)


def _dump(document: Any) -> bytes:
    limit_reached = "9" * 4400
    text = json.dumps(document, default=str) if MARKER else limit_reached
    return text.encode()


@given(
    changes=st.dictionaries(st.sampled_from(list(fields())) | st.just("metadata"), _bearers, min_size=1),
    damage=_damage,
    structured=st.booleans(),
)
def test_no_error_repeats_a_value(
    changes: dict[str, Any], damage: tuple[bytes, bytes], structured: bool
) -> None:
    document = fields(**changes)
    content = _dump({"data": document} if structured else document).replace(*damage)
    with pytest.raises(InvalidEventError) as caught:
        parse_event(content, accepted_until=ACCEPTED_UNTIL, structured=structured)

    error = caught.value
    told = [error.detail, str(error), repr(error), *traceback.format_exception(error)]
    assert not [text for text in told if MARKER in text]
