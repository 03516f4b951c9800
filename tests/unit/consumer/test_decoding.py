import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.records.decoding import decode, decode_all
from pattern_metrics.consumer.records.record import Accepted, Rejected
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.events import (
    ACCEPTED_UNTIL,
    TopicRecord,
    as_scored,
    event,
    events,
    fields,
    value,
    value_with_raw,
)
from tests.support.hostile import HOSTILE, Hostile

PREFIX = b"\0\0\0\x30\x39"


def fate_of(content: bytes | None, *headers: tuple[str, bytes | None]) -> Accepted | Rejected:
    return decode(TopicRecord(content, headers=headers), accepted_until=ACCEPTED_UNTIL)


def envelope(data: object) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "id": "1", "source": "/agent", "type": "x", "data": data}
    ).encode()


def assert_postgresql_can_hold(text: str) -> None:
    text.encode()  # no lone surrogate
    assert "\0" not in text


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_record_is_refused_for_its_one_reason(hostile: Hostile) -> None:
    record = TopicRecord(hostile.value, key=hostile.key, headers=hostile.headers)

    fate = decode(record, accepted_until=ACCEPTED_UNTIL)

    assert isinstance(fate, Rejected)
    assert fate.reason is hostile.reason
    assert fate.record is record
    assert fate.detail
    assert_postgresql_can_hold(fate.detail)


def test_a_number_of_too_many_digits_is_out_of_range_and_not_bad_json_however_small_its_value() -> None:
    fate = fate_of(value_with_raw("metadata", '{"a": %s}' % ("1" * 5_000 + "e-4990")))

    assert isinstance(fate, Rejected)
    assert fate.reason is RejectReason.OUT_OF_RANGE


def test_each_reason_that_needs_no_database_is_in_the_table_of_hostile_records() -> None:
    assert {hostile.reason for hostile in HOSTILE} == set(RejectReason) - {RejectReason.REFUSED_BY_DATABASE}


@pytest.mark.parametrize("key", [None, b"", b"\0\xff", b"another-pattern"])
def test_the_key_does_not_matter(key: bytes | None) -> None:
    fate = decode(TopicRecord(value(), key=key), accepted_until=ACCEPTED_UNTIL)

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == event()


def test_a_schema_registry_prefix_is_passed_over() -> None:
    fate = fate_of(PREFIX + value())

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == event()


def test_a_line_of_a_file_has_no_schema_registry_prefix() -> None:
    fate = decode(TopicRecord(PREFIX + value(), topic="file:scores.jsonl"), accepted_until=ACCEPTED_UNTIL)

    assert isinstance(fate, Rejected)
    assert fate.reason is RejectReason.INVALID_JSON


def test_a_schema_registry_prefix_may_come_before_a_structured_event() -> None:
    fate = fate_of(PREFIX + envelope(fields()), ("content-type", b"application/cloudevents+json"))

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == event()


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("content-type", b"application/cloudevents+json"),
        ("content-type", b"application/cloudevents+json; charset=UTF-8"),
        ("content-type", b"application/cloudevents+json;charset=utf-8"),
        ("Content-Type", b"Application/CloudEvents+JSON"),
        ("CONTENT-TYPE", b"APPLICATION/CLOUDEVENTS+JSON; CHARSET=UTF-8"),
    ],
)
def test_a_structured_event_lies_under_data(name: str, content_type: bytes) -> None:
    fate = fate_of(envelope(fields()), ("traceparent", b"00-1-2-00"), (name, content_type))

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == event()


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", None),),
        (("content-type", b""),),
        (("content-type", b"application/json"),),
        (("content-type", b"\xff\0"),),
        (("content-type", b"application/cloudevents"),),
        (("ce_type", b"something.else"), ("ce_specversion", b"9"), ("ce_id", b"\xff")),
        (("x-content-type", b"application/cloudevents+json"),),
        (("", None), ("\ud800", b"\0")),
    ],
    ids=repr,
)
def test_all_other_headers_are_irrelevant(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    fate = fate_of(value(), *headers)

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == event()


def test_the_error_of_a_structured_event_names_its_field() -> None:
    fate = fate_of(envelope(fields(confidence="high")), ("content-type", b"application/cloudevents+json"))

    assert isinstance(fate, Rejected)
    assert "confidence" in fate.detail
    assert "high" not in fate.detail


@given(events)
def test_each_valid_event_is_accepted_as_it_is(scored: PatternScored) -> None:
    fate = fate_of(scored.to_json())

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == scored


def mutations() -> st.SearchStrategy[bytes]:
    """A valid event with some of its bytes replaced: nearer to what passes than chance alone comes."""
    return st.builds(
        lambda start, length, inserted: value()[:start] + inserted + value()[start + length :],
        st.integers(0, len(value())),
        st.integers(0, 8),
        st.binary(max_size=8),
    )


def odd_json() -> st.SearchStrategy[bytes]:
    """JSON with all that Python's writer lets pass: lone surrogates, NaN, any nesting."""
    scalars = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None))
    )
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(categories=None)), inner),
        max_leaves=8,
    )
    return st.builds(
        lambda field, content: value(**{field: content}), st.sampled_from(list(fields())), values
    ) | values.map(lambda content: json.dumps(content).encode())


@given(
    content=st.none() | st.binary() | mutations() | odd_json(),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["content-type", "Content-Type"]) | st.text(),
            st.none() | st.binary() | st.just(b"application/cloudevents+json"),
        ),
        max_size=3,
    ),
)
@example(content=value_with_raw("pattern_id", b'"7d444840-9dc0-41d1-b245-5ffdce74fad\\u0000"'), headers=[])
def test_decoding_never_raises_and_its_detail_is_always_storable(
    content: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    record = TopicRecord(content, headers=tuple(headers))

    fate = decode(record, accepted_until=ACCEPTED_UNTIL)

    assert fate.record is record
    if isinstance(fate, Rejected):
        assert_postgresql_can_hold(fate.detail)


sent = events.map(lambda one: one.to_json()) | st.sampled_from([value(), value(metadata={"a": 1e15}), b"{}"])
records = st.builds(
    TopicRecord,
    st.one_of(sent, sent.map(lambda content: PREFIX + content), st.just(b""), st.none()),
    headers=st.sampled_from(
        [
            (),
            (("content-type", b"application/json"),),
            (("ce_type", b"x"), ("Content-Type", b"application/cloudevents+json")),
            (("content-type", None), ("content-type", b"application/cloudevents+json")),
            (("content-type", b"application/json"), ("content-type", b"application/cloudevents+json")),
        ]
    ),
    topic=st.sampled_from(["pattern-scored.v1"] * 3 + ["file:events.jsonl"]),
) | st.sampled_from(
    [TopicRecord(hostile.value, key=hostile.key, headers=hostile.headers) for hostile in HOSTILE]
)
usual = st.builds(TopicRecord, events.map(lambda one: one.to_json()))


@settings(max_examples=300)
@given(st.lists(usual, max_size=40), st.lists(records, max_size=6))
def test_decoded_together_each_record_has_the_fate_that_it_has_alone(
    ordinary: list[TopicRecord], others: list[TopicRecord]
) -> None:
    together = [*ordinary, *others, *ordinary]

    fates = decode_all(together, accepted_until=ACCEPTED_UNTIL)

    assert [fate.record for fate in fates] == together
    for fate in fates:
        alone = decode(fate.record, accepted_until=ACCEPTED_UNTIL)
        if isinstance(alone, Rejected):
            assert fate == alone
        else:
            assert isinstance(fate, Accepted)
            assert as_scored(fate.event) == as_scored(alone.event)
