"""An event's metadata may hold a secret: no error may repeat any of an event's values."""

import json
import traceback
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pattern_metrics.consumer.records.unwrapping import event_json
from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.pattern_retired import parse_either
from pattern_metrics.schemas.pattern_scored import PatternScored, parse_event
from tests.support.events import ACCEPTED_UNTIL, fields, nested

MARKER = "hunter2"

BEARERS = (
    MARKER,
    f"\0{MARKER}",
    f"\ud800{MARKER}",
    MARKER * 10_000,
    [MARKER],
    {MARKER: MARKER},
    {MARKER: {MARKER: float("nan")}},
    {MARKER: nested(101)},
    {MARKER: nested(300)},
    f"2025-06-01T12:00:00Z{MARKER}",
    f"2025-06-01T12:00:{MARKER}",
    f"7d444840-9dc0-41d1-b245-{MARKER}",
)

# Faults that only bytes can have.
DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda content: content.replace(b"confidence", b"confidense", 1),
    lambda content: content[:-1],
    lambda content: content.replace(b'"', b"", 1),
    lambda content: content.replace(b"r2", b"r2\xff", 1),
    lambda content: content.replace(b"r2", b'r2"', 1),
    lambda content: content.replace(b"r2", b"r2\\x", 1),
    lambda content: content.replace(b"r2", b"r2\n", 1),
    lambda content: content.replace(b"}", b', "a": %s}' % (b"1" * 5_000), 1),
)


def told_by(error: InvalidEventError) -> list[str]:
    return [error.detail, str(error), repr(error), *traceback.format_exception(error)]


def parse(content: bytes, *, is_structured: bool, envelope: tuple[str, ...]) -> None:
    event = event_json(content, is_structured=is_structured, envelope=envelope)
    parse_event(event, accepted_until=ACCEPTED_UNTIL)


@given(
    changes=st.dictionaries(st.sampled_from([*fields(), "version", "metadata"]), st.sampled_from(BEARERS)),
    damage=st.sampled_from(DAMAGES),
    wrap=st.sampled_from(
        [
            lambda event: event,
            lambda event: b'{"data": %b}' % event,
            lambda event: json.dumps({"data": event.decode(errors="surrogateescape")}).encode(),
            lambda event: b'{"data_base64": "%b"}' % b64encode(event),
            lambda event: b'{"data": {"%b": %b}, "type": "%b"}' % (MARKER.encode(), event, MARKER.encode()),
        ]
    ),
    envelope=st.sampled_from([(), ("payload",)]),
)
def test_no_error_repeats_a_value(
    changes: dict[str, Any],
    damage: Callable[[bytes], bytes],
    wrap: Callable[[bytes], bytes],
    envelope: tuple[str, ...],
) -> None:
    damaged = damage(json.dumps(fields(**{"metadata": {MARKER: MARKER}, **changes})).encode())
    content = wrap(damaged)
    with pytest.raises(InvalidEventError) as caught:
        parse(content, is_structured=content != damaged, envelope=envelope)

    assert not [text for text in told_by(caught.value) if MARKER in text]


@pytest.mark.parametrize("bearer", BEARERS[1:4], ids=["u+0000", "surrogate", "too long"])
def test_no_error_of_a_measurement_without_an_id_repeats_a_value(bearer: str) -> None:
    measurement = fields(version=bearer)
    del measurement["event_id"]
    with pytest.raises(InvalidEventError) as caught:
        parse_either(json.dumps(measurement).encode(), accepted_until=ACCEPTED_UNTIL, is_line=True)

    assert not [text for text in told_by(caught.value) if MARKER in text]


def test_an_event_of_the_future_is_reported_without_its_time() -> None:
    content = json.dumps(fields(measurement_timestamp="2345-01-01T00:00:00Z")).encode()
    with pytest.raises(InvalidEventError) as caught:
        parse_event(content, accepted_until=datetime(2026, 1, 1, tzinfo=UTC))

    assert not [text for text in told_by(caught.value) if "2345" in text]


def test_an_event_that_is_made_wrongly_is_reported_without_its_values() -> None:
    with pytest.raises(ValidationError) as caught:
        PatternScored.model_validate(fields(version=[MARKER], metadata={"a": {1: MARKER}}))

    assert MARKER not in str(caught.value)
