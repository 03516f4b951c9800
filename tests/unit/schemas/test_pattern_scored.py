"""The contract's table, row by row. tests/support/hostile.py has the records that must be refused."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.event_limits import VERSION_CHARACTERS_MAX
from pattern_metrics.schemas.pattern_scored import (
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    PatternScored,
    parse_event,
)
from tests.support.events import (
    ACCEPTED_UNTIL,
    DIGITS_MAX,
    EVENT_ID,
    PATTERN_ID,
    REQUIRED,
    fields,
    nested,
    value,
    value_with_raw,
    value_without,
)
from tests.support.hostile import HOSTILE, Hostile

FIELDS = (*REQUIRED, "version", "metadata")


def parse(content: bytes) -> PatternScored:
    return parse_event(content, accepted_until=ACCEPTED_UNTIL)


def refusal(content: bytes) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        parse(content)
    return caught.value


def test_a_valid_event_holds_what_its_json_says() -> None:
    scored = parse(value(version="2.1.0-rc.1", metadata={"name": "naïve", "dimensions": [0.5, None]}))

    assert scored.event_id == EVENT_ID
    assert scored.pattern_id == PATTERN_ID
    assert scored.quality_score == 0.75
    assert scored.confidence == 0.5
    assert scored.measurement_timestamp == datetime(2025, 6, 1, 12, tzinfo=UTC)
    assert scored.version == "2.1.0-rc.1"
    assert scored.metadata == {"name": "naïve", "dimensions": [0.5, None]}


def test_version_and_metadata_have_defaults() -> None:
    scored = parse(value())

    assert (scored.version, scored.metadata) == ("1.0.0", {})


OPTIONAL = [name for name, field in PatternScored.model_fields.items() if not field.is_required()]


@pytest.mark.parametrize("field", OPTIONAL)
def test_an_optional_field_that_is_null_is_as_if_it_was_absent(field: str) -> None:
    assert set(OPTIONAL) == {"version", "metadata"}
    assert parse(value(**{field: None})) == parse(value())
    assert PatternScored.model_validate({**dict(parse(value())), field: None}) == parse(value())


@pytest.mark.parametrize("levels", [250, 990, 1_500, 5_000, 100_000])
@pytest.mark.parametrize(
    "template",
    [
        *("%s", '{"x": %s}', '{"x": NaN, "y": %s}', '{"x": "\\ud800", "y": %s}', '{"x": %s, "y": 1e400}'),
        '{"x": "\\"", "y": %s}',
    ],
)
@pytest.mark.parametrize(("opening", "closing"), [("[", ""), ("[", "]"), ('{"a":', "1"), ('{"a":[', "]}")])
def test_the_verdict_on_depth_is_not_the_interpreter_s(
    levels: int, template: str, opening: str, closing: str
) -> None:
    deep = template % (opening * levels + closing * levels)
    verdicts = set()
    for limit in (500, 1_000, 20_000):
        with recursion_limited_to(limit):
            verdicts.add(str(refusal(deep.encode())))

    assert len(verdicts) == 1
    assert verdicts.pop().startswith("too_deep: ")


@pytest.mark.parametrize("text", ['["%s', '{"a": "%s"', '"\\"%s'])
def test_brackets_in_a_string_are_no_depth(text: str) -> None:
    assert refusal((text % ("[" * 5_000)).encode()).reason is RejectReason.INVALID_JSON


@contextmanager
def recursion_limited_to(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named(field: str) -> None:
    error = refusal(value_without(field))

    assert (error.reason, error.field) == (RejectReason.MISSING_FIELD, field)
    assert field in error.detail


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_wrong_type_is_named(field: str) -> None:
    error = refusal(value(**{field: True}))

    assert (error.reason, error.field) == (RejectReason.INVALID_FIELD, field)
    assert field in error.detail


def test_all_wrong_fields_are_reported_at_once() -> None:
    error = refusal(value(pattern_id="x", confidence=2))

    assert "pattern_id" in error.detail
    assert "confidence" in error.detail


@pytest.mark.parametrize("name", ["schema_version", "Pattern_ID", "", "data", "a\n"])
@pytest.mark.parametrize("content", [None, 1, "x", [{}], {"a": {"b": [1]}}], ids=repr)
def test_an_unknown_field_is_tolerated(name: str, content: Any) -> None:
    assert parse(value(**{name: content})) == parse(value())


def test_an_unknown_field_may_hold_what_postgresql_cannot_store() -> None:
    assert parse(value(note="\0", deep=nested(METADATA_DEPTH_MAX + 1))) == parse(value())


@pytest.mark.parametrize("score", ["0", "0.0", "-0.0", "1", "1.0", "1e0", "5e-324", "0.1", "1e-400", "10e-1"])
@pytest.mark.parametrize("field", ["quality_score", "confidence"])
def test_a_proportion_lies_from_0_to_1_inclusive(field: str, score: str) -> None:
    assert getattr(parse(value_with_raw(field, score)), field) == float(score)


@pytest.mark.parametrize("field", ["event_id", "pattern_id"])
def test_a_uuid_may_be_written_in_capitals(field: str) -> None:
    assert parse(value(**{field: fields()[field].upper()})) == parse(value())


@pytest.mark.parametrize("field", ["event_id", "pattern_id"])
@pytest.mark.parametrize("number", [0, 1, 2**128 - 1])
def test_a_uuid_may_be_of_any_version(field: str, number: int) -> None:
    assert getattr(parse(value(**{field: str(UUID(int=number))})), field) == UUID(int=number)


@pytest.mark.parametrize(
    "text",
    [
        "2025-06-01T12:00:00Z",
        "2025-06-01t12:00:00z",
        "2025-06-01 12:00:00Z",
        "2025-06-01T12:00:00+00:00",
        "2025-06-01T12:00:00-00:00",
        "2025-06-01T14:00:00+02:00",
        "2025-06-02T02:00:00+14:00",
        "2025-06-01T00:00:00-12:00",
        "2025-06-01T17:45:00+05:45",
        "2025-06-01T12:00:00.0Z",
        "2025-06-01T12:00:00.000000Z",
        "2025-06-01T12:00:00.0000009999Z",
    ],
)
def test_equal_instants_are_equal_in_whatever_form(text: str) -> None:
    scored = parse(value(measurement_timestamp=text))

    assert scored == parse(value())
    assert scored.measurement_timestamp.utcoffset() == timedelta(0)


def test_fractions_beyond_microseconds_are_cut_off_and_not_rounded() -> None:
    scored = parse(value(measurement_timestamp="2025-06-01T11:59:59.999999999999Z"))

    assert scored.measurement_timestamp == datetime(2025, 6, 1, 11, 59, 59, 999_999, tzinfo=UTC)


def test_a_leap_second_is_refused_as_no_clock_of_ours_can_hold_it() -> None:
    error = refusal(value(measurement_timestamp="2016-12-31T23:59:60Z"))

    assert (error.reason, error.field) == (RejectReason.INVALID_FIELD, "measurement_timestamp")


def test_a_time_that_only_its_offset_pushes_out_of_the_years_is_out_of_range() -> None:
    parse(value(measurement_timestamp="0001-01-01T14:00:00.000001+14:00"))
    for text in ("0001-01-01T00:00:00+14:00", "0001-01-01T13:59:59.999999+14:00"):
        error = refusal(value(measurement_timestamp=text))
        assert (error.reason, error.field) == (RejectReason.OUT_OF_RANGE, "measurement_timestamp")


def test_the_clock_skew_is_granted_to_the_microsecond() -> None:
    later = ACCEPTED_UNTIL + timedelta(microseconds=1)

    parse(value(measurement_timestamp=ACCEPTED_UNTIL.isoformat()))
    error = refusal(value(measurement_timestamp=later.isoformat()))

    assert (error.reason, error.field) == (RejectReason.TIMESTAMP_IN_FUTURE, "measurement_timestamp")


def test_the_future_is_judged_in_utc() -> None:
    parse(value(measurement_timestamp="2026-01-01T13:00:00+14:00"))
    assert refusal(value(measurement_timestamp="2025-12-31T23:00:00-14:00")).reason is (
        RejectReason.TIMESTAMP_IN_FUTURE
    )


@pytest.mark.parametrize("character", ["a", "é", "😀"])
def test_a_version_has_at_most_64_characters(character: str) -> None:
    assert VERSION_CHARACTERS_MAX == 64
    assert parse(value(version=character * 64)).version == character * 64
    error = refusal(value(version=character * 65))
    assert (error.reason, error.field) == (RejectReason.INVALID_FIELD, "version")


def metadata_of(size: int, character: str = "x") -> str:
    """Return metadata of so many bytes as JSON."""
    room = size - len('{"a":""}')
    width = len(character.encode())
    return f'{{"a":"{character * (room // width)}{"x" * (room % width)}"}}'


@pytest.mark.parametrize("character", ["x", "é", "😀", "\\u00e9", "\\n"])
def test_metadata_has_at_most_64_kib_as_it_was_sent(character: str) -> None:
    assert METADATA_BYTES_MAX == 64 * 1024
    parse(value_with_raw("metadata", metadata_of(METADATA_BYTES_MAX, character)))
    parse(
        value_with_raw("metadata", metadata_of(METADATA_BYTES_MAX - 9, character).replace(":", " :        "))
    )
    for longer in (
        metadata_of(METADATA_BYTES_MAX + 1, character),
        metadata_of(METADATA_BYTES_MAX, character).replace(":", " :"),
    ):
        error = refusal(value_with_raw("metadata", longer))
        assert (error.reason, error.field) == (RejectReason.TOO_LARGE, "metadata")


def test_metadata_of_an_event_made_in_python_has_at_most_64_kib_as_compact_json() -> None:
    event = parse(value())
    metadata = json.loads(metadata_of(METADATA_BYTES_MAX))
    fields = dict(event) | {"metadata": metadata}

    assert PatternScored(**fields).metadata_json == metadata_of(METADATA_BYTES_MAX).encode()
    with pytest.raises(ValidationError):
        PatternScored(**(fields | {"metadata": metadata | {"b": 1}}))


def test_metadata_has_at_most_100_levels() -> None:
    assert METADATA_DEPTH_MAX == 100
    assert parse(value(metadata=nested(100))).metadata == nested(100)
    error = refusal(value(metadata=nested(101)))
    assert (error.reason, error.field) == (RejectReason.TOO_DEEP, "metadata")


def test_a_number_in_metadata_has_at_most_as_many_digits_as_can_be_read_back() -> None:
    largest = 10**DIGITS_MAX - 1

    assert parse(value_with_raw("metadata", f'{{"a": -{largest}}}')).metadata == {"a": -largest}
    error = refusal(value_with_raw("metadata", f'{{"a": {largest}0}}'))
    assert error.reason is RejectReason.OUT_OF_RANGE


def test_characters_beyond_the_basic_plane_are_no_lone_surrogates() -> None:
    assert parse(value_with_raw("version", '"\\ud83d\\ude00"')).version == "😀"


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_an_error_says_its_reason_and_its_detail(hostile: Hostile) -> None:
    if hostile.value is None or hostile.headers or hostile.reason is RejectReason.OTHER_TYPE:
        return  # possible only for a record
    error = refusal(hostile.value)

    assert str(error) == f"{error.reason}: {error.detail}"


def test_each_reason_is_explained() -> None:
    explanations = [reason.explanation for reason in RejectReason]

    assert all(explanation.endswith(".") for explanation in explanations)
    assert len(set(explanations)) == len(explanations)


def test_a_byte_order_mark_is_named() -> None:
    with pytest.raises(InvalidEventError, match="invalid_json: a byte order mark"):
        parse_event(b"\xef\xbb\xbf" + value(), accepted_until=ACCEPTED_UNTIL)
