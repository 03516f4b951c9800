import gzip
import json
import zlib
from base64 import b64encode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.records.decoding import decode, decode_all
from pattern_metrics.consumer.records.record import Accepted, Fate, Rejected
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, PatternScored
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


def fate_of(content: bytes | None, *headers: tuple[str, bytes | None]) -> Fate:
    return decode(TopicRecord(content, headers=headers), accepted_until=ACCEPTED_UNTIL)


def envelope(data: object, **attributes: object) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "id": "1", "source": "/agent", "type": EVENT_TYPE, "data": data, **attributes}
    ).encode()


def refused(content: bytes | None, *headers: tuple[str, bytes | None]) -> Rejected:
    fate = fate_of(content, *headers)
    assert isinstance(fate, Rejected)
    return fate


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


def test_a_number_of_too_many_digits_is_out_of_range_and_not_bad_json() -> None:
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
        ("content-type", b'"application/cloudevents+json"'),
        ("content-type", b" application/cloudevents+json ;charset=utf-8"),
        ("content-type", b'\t"application/cloudevents+json; charset=utf-8"'),
    ],
)
def test_a_structured_event_lies_under_data(name: str, content_type: bytes) -> None:
    fate = fate_of(
        json.dumps({"data": fields()}).encode(), ("traceparent", b"00-1-2-00"), (name, content_type)
    )

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == event()


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", b"application/json"),),
        (("content-type", None), ("content-type", b"application/cloudevents+json")),
        (("content-type", b"application/json"), ("content-type", b"application/cloudevents+json")),
        (("content-type", b"\xff"), ("ce_type", EVENT_TYPE.encode())),
    ],
    ids=repr,
)
def test_a_structured_event_is_known_by_specversion(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    for content in (
        envelope(fields()),
        envelope(fields(), type=None),
        envelope(json.dumps(fields(version=None))),
        envelope(None, data_base64=b64encode(value()).decode()),
    ):
        fate = fate_of(content, *headers)

        assert isinstance(fate, Accepted)
        assert as_scored(fate.event) == event()


def test_an_event_that_only_names_specversion_is_read_as_it_is() -> None:
    fate = fate_of(value(specversion="1.0", type=EVENT_TYPE))

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == event()


def test_a_structured_header_without_data_is_named() -> None:
    fate = refused(value(), ("content-type", b"application/cloudevents+json"))

    assert fate.reason is RejectReason.MISSING_FIELD
    assert "content-type" in fate.detail
    assert "data_base64" in fate.detail


@pytest.mark.parametrize(
    "content_type",
    [b"application/cloudevents-batch+json", b"Application/CloudEvents+avro", b"application/cloudevents"],
)
@pytest.mark.parametrize("content", [b"\x02\x80", b"[" + value() + b"]", b"{}", b"{"])
def test_a_form_of_cloudevents_that_is_not_read_is_named(content_type: bytes, content: bytes) -> None:
    assert "content-type" in refused(content, ("content-type", content_type)).detail
    assert "content-type" not in refused(content, ("content-type", b"application/json")).detail


@pytest.mark.parametrize("other", ["pattern.score.retracted.v1", "pattern.scored.v2", "", "null"])
def test_the_type_decides_alike_in_both_modes_of_cloudevents(other: str) -> None:
    binary = fate_of(value(), ("ce_type", other.encode()))
    structured = fate_of(envelope(fields(), type=other))

    assert isinstance(binary, Rejected) == isinstance(structured, Rejected) == bool(other)
    for fate in (binary, structured):
        if isinstance(fate, Rejected):
            assert fate.reason is RejectReason.OTHER_TYPE
            assert "type" in fate.detail


@pytest.mark.parametrize(
    ("prefix", "registry"),
    [
        (bytes(9), "Apicurio"),
        (b"\0" + (2**40 + 5).to_bytes(8), "Apicurio"),
        (b"\0\0\0\0\1", "Confluent"),
        (b"\1" + b"a" * 16, "Confluent"),
        (b"\3\0" + b'{"' * 8, "Glue"),
    ],
)
def test_each_framing_is_read_or_named(prefix: bytes, registry: str) -> None:
    fate = fate_of(prefix + value())

    assert isinstance(fate, Accepted)
    assert as_scored(fate.event) == event()
    assert registry in refused(prefix + b"\x02\x80avro").detail
    assert registry in refused(prefix).detail
    assert registry not in refused(prefix + b'{"a": 1}').detail


@pytest.mark.parametrize(
    ("encoded", "named"),
    [
        (gzip.compress(value()), "gzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
        (value().decode().encode("utf-16"), "UTF-16"),
        (json.dumps(value().decode()).encode(), "encode the event once"),
    ],
)
def test_an_encoding_that_is_not_read_is_named(encoded: bytes, named: str) -> None:
    assert named in refused(encoded).detail
    assert named in refused(b"\0\0\0\0\1" + encoded).detail


def test_glue_s_compression_is_named() -> None:
    assert "compression" in refused(b"\3\5" + b"a" * 16 + zlib.compress(value())).detail


@pytest.mark.parametrize(
    ("path", "content", "missing"),
    [
        ("payload", {"event_type": "scored"}, "payload"),
        ("payload", {"payload": None}, "payload"),
        ("payload", fields(), "payload"),
        ("a.b.c", {"a": {"b": {}}}, "a.b.c"),
        ("a.b.c", {"a": {"b": [1]}}, "a.b.c"),
        ("a.b.c", {"a": {"x": 1}}, "a.b"),
        ("a.b.c", {"a": '{"b": null}'}, "a.b"),
    ],
)
def test_the_missing_field_of_an_envelopes_path_is_named(path: str, content: object, missing: str) -> None:
    record = TopicRecord(json.dumps(content).encode())

    [fate] = decode_all([record], accepted_until=ACCEPTED_UNTIL, envelope=path.split("."))

    assert isinstance(fate, Rejected)
    assert fate.reason is RejectReason.MISSING_FIELD
    assert fate.detail.startswith(f"{missing}: is missing")
    assert f"KAFKA_ENVELOPE_FIELD is {path}" in fate.detail


def test_a_line_of_a_file_has_no_envelope() -> None:
    lines = [TopicRecord(value(), topic="file:scores.jsonl")] * 3
    records = [*lines, TopicRecord(json.dumps({"payload": fields()}).encode()), *lines]

    fates = decode_all(records, accepted_until=ACCEPTED_UNTIL, envelope=("payload",))

    assert all(isinstance(fate, Accepted) for fate in fates)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", None),),
        (("content-type", b""),),
        (("content-type", b"application/json"),),
        (("content-type", b"\xff\0"),),
        (("content-type", b"application/cloudevents"),),
        (("ce_specversion", b"9"), ("ce_id", b"\xff"), ("ce-type", b"x"), ("type", b"x")),
        (("ce_type", None),),
        (("ce_type", b""), ("Ce_Type", b"pattern.scored.v1")),
        (("ce_type", b"pattern.scored.v1"),),
        (("CE_TYPE", b' "pattern.scored.v1"'),),
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
    """A valid event with some of its bytes replaced, which is nearer to acceptance than random bytes are."""
    return st.builds(
        lambda start, length, inserted: value()[:start] + inserted + value()[start + length :],
        st.integers(0, len(value())),
        st.integers(0, 8),
        st.binary(max_size=8),
    )


def odd_json() -> st.SearchStrategy[bytes]:
    """JSON with everything that Python's writer allows: lone surrogates, NaN, any nesting."""
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


FOREIGN_LINE = TopicRecord(value(), headers=(("ce_type", b"x"),), topic="file:events.jsonl")


@settings(max_examples=300)
@given(st.lists(usual, max_size=40), st.lists(records, max_size=6))
@example([], [FOREIGN_LINE])
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
