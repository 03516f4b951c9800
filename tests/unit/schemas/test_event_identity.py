"""The event's id, its order, and its JSON."""

import json
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.json_lines import read_events
from pattern_metrics.schemas.pattern_retired import parse_either
from pattern_metrics.schemas.pattern_scored import PatternScored, parse_event
from tests.support.events import (
    ACCEPTED_UNTIL,
    EVENT_ID,
    REQUIRED,
    colliding_events,
    event,
    events,
    fields,
    metadata,
    value,
    value_without,
)

MEASURED = {"metadata": {"a": 1, "b": {"c": [1, 2], "d": None}}, "version": "2"}


def unnamed(**changes: Any) -> dict[str, Any]:
    """Return the fields of a measurement that has no id yet."""
    return {name: content for name, content in fields(**changes).items() if name != "event_id"}


def derived_id(measurement: dict[str, Any], **style: Any) -> UUID:
    text = json.dumps(measurement, **style)
    return parse_either(text.encode(), accepted_until=ACCEPTED_UNTIL, is_line=True).event_id


def reversed_keys(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: reversed_keys(inner) for key, inner in reversed(content.items())}
    return [reversed_keys(inner) for inner in content] if isinstance(content, list) else content


def test_a_measurement_keeps_the_event_id_it_has() -> None:
    assert parse_either(value(), accepted_until=ACCEPTED_UNTIL, is_line=True) == event()


def test_an_event_id_that_is_null_is_derived_as_one_that_is_missing() -> None:
    assert derived_id(unnamed() | {"event_id": None}) == derived_id(unnamed())


@pytest.mark.parametrize("event_id", ["", "x", 5, False, []], ids=repr)
def test_a_wrong_event_id_is_refused_and_not_replaced(event_id: Any) -> None:
    with pytest.raises(InvalidEventError) as caught:
        parse_either(value(event_id=event_id), accepted_until=ACCEPTED_UNTIL, is_line=True)

    assert (caught.value.reason, caught.value.field) == (RejectReason.INVALID_FIELD, "event_id")


@pytest.mark.parametrize("field", [name for name in REQUIRED if name != "event_id"])
def test_a_measurement_without_another_field_is_refused_for_that_field(field: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        parse_either(value_without("event_id", field), accepted_until=ACCEPTED_UNTIL, is_line=True)

    assert (caught.value.reason, caught.value.field) == (RejectReason.MISSING_FIELD, field)


def test_a_measurement_without_id_in_the_future_is_refused() -> None:
    late = (ACCEPTED_UNTIL + timedelta(seconds=1)).isoformat()
    with pytest.raises(InvalidEventError) as caught:
        derived_id(unnamed(measurement_timestamp=late))

    assert caught.value.reason is RejectReason.TIMESTAMP_IN_FUTURE


@pytest.mark.parametrize(
    "same",
    [
        unnamed(**MEASURED, measurement_timestamp="2025-06-01T14:00:00+02:00"),
        unnamed(**MEASURED, measurement_timestamp="2025-06-01t12:00:00.000z"),
        unnamed(**MEASURED, pattern_id=fields()["pattern_id"].upper()),
        unnamed(**MEASURED, unknown="field"),
        reversed_keys(unnamed(**MEASURED)),
    ],
    ids=["offset", "form of the time", "capitals", "unknown field", "key order"],
)
def test_equal_content_in_another_form_has_the_same_id(same: dict[str, Any]) -> None:
    assert derived_id(same) == derived_id(unnamed(**MEASURED))


def test_whitespace_and_escapes_do_not_change_the_id() -> None:
    measurement = unnamed(metadata={"name": "naïve"})

    assert derived_id(measurement, indent=4) == derived_id(measurement, separators=(",", ":"))
    assert derived_id(measurement, ensure_ascii=False) == derived_id(measurement)


def test_a_default_that_is_written_out_does_not_change_the_id() -> None:
    assert derived_id(unnamed(version="1.0.0", metadata={})) == derived_id(unnamed())


@pytest.mark.parametrize(
    ("measurement", "event_id"),
    [
        (unnamed(), "611a66d8-10b8-5726-8f85-f66a19f40c17"),
        (unnamed(version=None, metadata=None), "611a66d8-10b8-5726-8f85-f66a19f40c17"),
        (unnamed(**MEASURED), "996df2d2-a088-5270-a687-776fb50d65b1"),
        (
            unnamed(metadata={"name": "naïve", "x": [1.5, 1e16, -0.0, 12345678901234567890, None, True]}),
            "cbc26301-eaa6-538f-bd69-a70ceba6d230",
        ),
        (
            unnamed(version="", measurement_timestamp="2025-06-01T14:00:00.123456+02:00"),
            "dd85fe48-7f28-5cc8-a2d3-b124ca115562",
        ),
        (unnamed(quality_score=1, confidence=0), "eacf3976-cd15-56ab-b5de-87dc7a6ccf59"),
    ],
)
def test_the_id_of_a_content_stays_what_it_has_always_been(
    measurement: dict[str, Any], event_id: str
) -> None:
    assert derived_id(measurement) == UUID(event_id)


def test_any_difference_in_content_makes_another_id() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"pattern_id": str(EVENT_ID)},
        {"quality_score": 0.7500000000000001},
        {"confidence": 0.75, "quality_score": 0.5},
        {"measurement_timestamp": "2025-06-01T12:00:00.000001Z"},
        {"version": "1.0.1"},
        {"metadata": {"a": None}},
        {"metadata": {"a": 1}},
        {"metadata": {"a": "1"}},
        {"metadata": {"a": [1]}},
        {"metadata": {"b": 1}},
    ]

    assert len({derived_id(unnamed(**change)) for change in changes}) == len(changes)


@given(metadata)
def test_the_derived_id_depends_on_content_alone(content: dict[str, Any]) -> None:
    measurement = unnamed(metadata=content)

    assert derived_id(reversed_keys(measurement), indent=1) == derived_id(measurement)


@given(events)
def test_an_event_comes_through_json_as_it_was(scored: PatternScored) -> None:
    again = parse_event(scored.to_json(), accepted_until=ACCEPTED_UNTIL)

    assert again == scored
    assert again.to_json() == scored.to_json()


@given(events)
def test_the_json_of_an_event_is_one_line_that_any_parser_reads(scored: PatternScored) -> None:
    text = scored.to_json()

    assert b"\n" not in text
    read = json.loads(text)
    assert read["metadata"] == scored.metadata
    assert read["pattern_id"] == str(scored.pattern_id)


@given(events)
def test_the_compact_metadata_says_the_same_as_the_metadata(scored: PatternScored) -> None:
    assert json.loads(scored.metadata_json) == scored.metadata


@given(st.lists(colliding_events, min_size=2, max_size=12))
def test_the_order_is_total(scored: list[PatternScored]) -> None:
    ordered = sorted(scored, key=lambda one: one.order)

    for earlier, later in pairwise(ordered):
        assert earlier.order <= later.order
        same = (earlier.measurement_timestamp, earlier.event_id) == (
            later.measurement_timestamp,
            later.event_id,
        )
        assert same == (earlier.order == later.order)


@given(colliding_events, colliding_events)
def test_an_event_supersedes_another_by_the_order_alone(one: PatternScored, other: PatternScored) -> None:
    assert one.supersedes(other) == (one.order > other.order)


def test_the_time_decides_before_the_id() -> None:
    small, great = str(UUID(int=1)), str(UUID(int=2**128 - 1))
    earlier = event(event_id=great, measurement_timestamp="2025-06-01T14:00:00+02:00")
    later = event(event_id=small, measurement_timestamp="2025-06-01T12:00:00.000001Z")

    assert earlier.order < later.order


@given(st.uuids(), st.uuids())
def test_ids_are_ordered_by_their_bytes_as_postgresql_does(one: UUID, other: UUID) -> None:
    assume(one != other)
    pair = event(event_id=str(one)), event(event_id=str(other))

    assert (pair[0].order < pair[1].order) == (one.bytes < other.bytes)


def test_json_lines_give_each_line_its_number_and_its_event_or_its_error() -> None:
    lines = [value(), b"\n", b"{\n", json.dumps(unnamed()).encode() + b"\r\n", b"   "]

    results = dict(read_events(enumerate(lines, start=10), accepted_until=ACCEPTED_UNTIL))

    assert list(results) == [10, 12, 13]
    assert results[10] == event()
    assert isinstance(results[12], InvalidEventError)
    assert isinstance(results[13], PatternScored)
    assert results[13].event_id == derived_id(unnamed())
