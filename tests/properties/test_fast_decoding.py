"""Accept fast, refuse slowly: the model accepts every event that is accepted fast, with the same values."""

import itertools
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.records.fast_decoding import FastEvent, decode_fast
from pattern_metrics.consumer.records.unwrapping import event_json
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, parse_event
from tests.support.events import ACCEPTED_UNTIL, DIGITS_MAX, NOW, event, events, value, value_with_raw
from tests.support.events import fields as fields_of_an_event
from tests.support.hostile import HOSTILE

UUIDS = [
    '"7d444840-9dc0-41d1-b245-5ffdce74fad2"',
    '"7D444840-9DC0-41D1-B245-5FFDCE74FAD2"',
    '"7d4448409dc041d1b2455ffdce74fad2"',
    '"7d444840-9dc0-41d1-b245-5ffdce74fad"',
    '"7d44484-09dc0-41d1-b245-5ffdce74fad2"',
    '"7d4448409dc041d1b2455ffdce74fad2----"',
    '"7d444840-9dc0-41d1-b245-5ffdce74fad-"',
    '"7d444840-9dc0-41d1-b245-5ffdce74 ad2"',
    '"{7d444840-9dc0-41d1-b245-5ffdce74fad2}"',
    '"urn:uuid:7d444840-9dc0-41d1-b245-5ffdce74fad2"',
    '"\u0667d444840-9dc0-41d1-b245-5ffdce74fad2"',
    "7",
    "null",
]
SCORES = [
    *("0", "1", "-0", "-0.0", "0.0", "1.0", "1e0", "1E0", "10e-1", "0.1e1", "5e-324", "1e-400", "-1e-400"),
    *("1.0000000000000000000001", "1.0000000000000002", "0.99999999999999999999", "0.30000000000000004"),
    *("-1e-9", "1.1", "2", "01", "1.", ".5", "+1", "NaN", "Infinity", "1e400", "true", "null", '"0.5"', "[]"),
    *("0." + "1" * 800, "9" * DIGITS_MAX, "1" + "0" * 400 + "e-400"),
]
TIMES = [
    f'"{text}"'
    for text in (
        *("2025-06-01T12:00:00Z", "2025-06-01T12:00:00.5Z", "2025-06-01T12:00:00.123456Z"),
        *("2025-06-01T12:00:00.1234567Z", "2025-06-01T12:00:00.9999999Z", "2025-06-01T12:00:00,5Z"),
        *("2025-06-01T14:00:00+02:00", "2025-06-01T12:00:00-00:00", "2025-06-01T12:00:00.25+23:59"),
        *(
            "2025-06-01T14:00:00.123456+02:00",
            "2025-06-01T14:00:00.1234567+02:00",
            "2025-06-01T12:00:00.12345678z",
        ),
        *("2025-06-01T12:00:00+24:00", "2025-06-01T12:00:00+0200", "2025-06-01T12:00:00+02"),
        *("2025-06-01 12:00:00Z", "2025-06-01t12:00:00z", "2025-06-01T12:00Z", "2025-06-01T12:00:00"),
        *("2025-06-01T24:00:00Z", "2025-06-01T12:00:60Z", "2025-02-29T12:00:00Z", "2024-02-29T12:00:00Z"),
        *("20250601T120000.000000Z", "2025-W22-7T12:00:00.000000Z", "2025-06-01T12:00:00 Z", "1748779200"),
        *(
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "0001-01-02T00:00:00Z",
            "0000-01-01T00:00:00Z",
        ),
        *("9999-12-31T23:59:59Z", "2026-01-01T00:05:00Z", "2026-01-01T00:05:00.000001Z", ""),
        *("\u0662025-06-01T12:00:00Z", "2025-06-01T12:00:00Z\\n", "2025-06-01T12:00:00.000000+00:00:30"),
    )
] + ["1748779200", "null"]
VERSIONS = [
    '"1.0.0"',
    '""',
    f'"{"v" * 64}"',
    f'"{"v" * 65}"',
    f'"{"é" * 64}"',
    f'"{"😀" * 64}"',
    '"\\n"',
    "1",
    "null",
]
METADATA = [
    *(
        "{}",
        '{"a": 1}',
        '{"a":1}',
        '{"a":1.10}',
        '{"a":1e3}',
        '{"a":1E3}',
        '{"a":-0}',
        '{"a":-0.0}',
        "[]",
        "null",
    ),
    *(
        '{"a":0.10000000000000001}',
        '{"a":1234567.89012345678}',
        '{"a":[1.50,100,0.0100]}',
        '{"a":123456789.123456}',
        '{"a":1234567.1234567}',
        '{"a":99999999.00000002}',
    ),
    *('{"a":0.1234567890123456789}', '{"a":0.30000000000000004}', '{"a":123456789012345678901}'),
    *('{"a":18446744073709551615}', '{"a":18446744073709551616}', '{"a":-9223372036854775809}'),
    *(
        '{"a":100000000000000000000}',
        '{"a":1e16}',
        '{"a":1e15}',
        '{"a":1e999}',
        '{"a":-1E999}',
        '{"a":1e-999}',
    ),
    *(
        '{"a":01}',
        '{"a":NaN}',
        '{"a":1.}',
        '{"a":"\\u0000"}',
        '{"a":"\\ud800"}',
        '{"\\u0000":1}',
        '{"a":"\\\\u0000"}',
    ),
    *(
        '{"a":"\0"}',
        '{"a":"\x7f"}',
        '{"a":1,"a":2}',
        '{"a":{"b":1,"b":[]},"a":{}}',
        '{"a":true,"b":null}',
        '{"":""}',
    ),
    *(
        '{"a":"é"}',
        '{"😀":"\\n\\t\\"/"}',
        '{"a":"\\/"}',
        '{"a":1,}',
        '{"a":nope}',
        '{"a":"x"',
        '{"a":"\\x"}',
        '"{}"',
    ),
    *('{"a":' + "[" * depth + "]" * depth + "}" for depth in (98, 99, 100, 101, 300, 1500)),
    *(
        '{"a":"\\u00e9"}',
        '{"\\u0061":1,"a":2}',
        '{"a":"\\\\ud800"}',
        '{"a":"\\ud83d\\ude00"}',
        '{"a":"\\udc00"}',
    ),
    *(
        '{"a":"\\uD83D\\uDE00"}',
        '{"a":"\\ud83d"}',
        '{"a":"\\uDC00"}',
        '{"a":"\\u00"}',
        '{"\\u00e9":"\\u0001"}',
    ),
    '{"a":"' + "x" * 5000 + '"}',
]

GROWING = '{"a":[' + ",".join(["1e15"] * 150) + "]}"
"""Longer when its numbers are written as doubles."""

NESTED_TOO_DEEP = b"[" * 201 + b"]" * 201

SPELLINGS = {
    "event_id": UUIDS,
    "quality_score": SCORES,
    "measurement_timestamp": TIMES,
    "version": VERSIONS,
    "metadata": METADATA,
}

fields = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from(UUIDS),
        "pattern_id": st.sampled_from(UUIDS),
        "quality_score": st.sampled_from(SCORES) | st.floats(0, 1).map(repr),
        "confidence": st.sampled_from(SCORES),
        "measurement_timestamp": st.sampled_from(TIMES),
    },
    optional={"version": st.sampled_from(VERSIONS), "metadata": st.sampled_from(METADATA)},
)
PASSED_OVER = [
    *(
        "1",
        "-0",
        "1e999",
        "01",
        "1.",
        "+1",
        "1e",
        "NaN",
        "nope",
        "null",
        '"x',
        '"\\x"',
        '"\\/"',
        '"\t"',
        "{1:2}",
        "[1,]",
    ),
    *('"\\ud800"', '"\\u00e9"', '"\\u0000"', '{"a":1,"a":2}', "{}", '"' + "x" * 600 + '"', "9" * 1000),
    *("[" * depth + "]" * depth for depth in (150, 198, 199, 200, 201, 202, 300, 1200)),
    *('{"":' * depth + "0" + "}" * depth for depth in (150, 199, 200, 201, 300)),
]
additions = st.lists(
    st.sampled_from(
        [
            '"quality_score":0.5',
            '"quality\\u005fscore":0.5',
            '"event_\\u0069d":"7d444840-9dc0-41d1-b245-5ffdce74fad2"',
            '"metadata":{"b":2}',
            '"metadata":{"b":1e999}',
            '"version":"2"',
            '"version":null',
            '"metadata":null',
            '"specversion":"1.0"',
            '"spec\\u0076ersion":"1.0"',
            '"specversion":null',
            '"specversion":""',
            '"type":"other"',
            '"data":{}',
            '"data_base64":"e30="',
            '"\\ud800":1',
            "x:1",
        ]
    )
    | st.builds(
        '"{}":{}'.format, st.sampled_from(["x", "é", "metadata", "version"]), st.sampled_from(PASSED_OVER)
    ),
    max_size=2,
)


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """An event whose fields have unusual spellings, but mostly the usual one."""
    usual = {name: json.dumps(content) for name, content in json.loads(value()).items()}
    unusual = draw(fields)
    names = draw(st.sets(st.sampled_from(sorted(unusual)), max_size=2))
    members = [f'"{name}":{text}' for name, text in (usual | {name: unusual[name] for name in names}).items()]
    members = draw(st.permutations(members + draw(additions)))
    space = draw(st.sampled_from(["", " ", "\n", "\u00a0"]))
    return f"{space}{{{f',{space}'.join(members)}}}{space}".encode(errors="surrogatepass")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An event with some of its bytes replaced."""
    whole = draw(spelled() | events.map(lambda one: one.to_json()))
    start, length = draw(st.integers(0, len(whole))), draw(st.integers(0, 4))
    return whole[:start] + draw(st.binary(max_size=4)) + whole[start + length :]


def same(fast: Any, slow: Any) -> bool:
    """Return whether two values are equal, with equal types all the way down: to Python, 1 equals True."""
    if isinstance(fast, dict):
        return (
            type(slow) is dict
            and fast.keys() == slow.keys()
            and all(same(fast[key], slow[key]) for key in fast)
        )
    if isinstance(fast, list):
        return type(slow) is list and len(fast) == len(slow) and all(map(same, fast, slow))
    return type(fast) is type(slow) and repr(fast) == repr(slow)


def as_jsonb(text: bytes) -> Any:
    """Return JSON as PostgreSQL compares it: numbers are exact, and trailing zeros make no difference."""
    return json.loads(text, parse_float=Decimal)


def accepted_fast(
    sent: bytes, envelope: tuple[str, ...] = (), *, is_structured: bool = False
) -> FastEvent | None:
    events = decode_fast(
        [sent], accepted_until=ACCEPTED_UNTIL, envelope=envelope, is_structured=is_structured
    )
    return events[0] if events else None


def assert_the_model_agrees(
    sent: bytes, envelope: tuple[str, ...] = (), *, is_structured: bool = False
) -> FastEvent | None:
    fast = accepted_fast(sent, envelope, is_structured=is_structured)
    if fast is not None:
        content = event_json(sent, is_structured=is_structured, envelope=envelope)
        slow = parse_event(content, accepted_until=ACCEPTED_UNTIL)
        assert fast.order == slow.order
        assert fast.pattern_id == slow.pattern_id
        assert same(fast.quality_score, slow.quality_score)
        assert same(fast.confidence, slow.confidence)
        assert fast.measurement_timestamp.utcoffset() == timedelta(0)
        assert fast.version == slow.version
        assert fast.metadata_json == slow.metadata_json
        assert same(json.loads(slow.metadata_json), slow.metadata)
    return fast


@settings(max_examples=1500, deadline=None)
@given(spelled() | mutated())
@example(value_with_raw("metadata", '{"a":1e15}'))
@example(value(measurement_timestamp="2025-06-01T12:00:00.1234567Z"))
@example(b'{"x":' + NESTED_TOO_DEEP + b"," + value_with_raw("metadata", GROWING)[1:])
def test_the_model_accepts_every_fast_decoded_event_with_the_same_values(sent: bytes) -> None:
    assert_the_model_agrees(sent)


PATHS: list[tuple[str, ...]] = [
    ("payload",),
    ("payload", "é x"),
    ("data",),
    ("a", "a", "a"),
    ("specversion",),
    ("event_id",),
    tuple("0123456789"),
]


def enclosed(draw: st.DrawFn, name: str, content: bytes) -> bytes:
    """JSON in a field of an object that may have other fields, or the field twice."""
    members = [*draw(additions), f"{json.dumps(name)}:%b", *draw(additions)]
    parts = ",".join(members).encode(errors="surrogatepass").split(b"%b")
    return b"{" + content.join(parts) + b"}"


@st.composite
def enveloped(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> tuple[tuple[str, ...], bool, bytes]:
    """A path, whether it begins in a CloudEvent, and usually an event at its end."""
    path, is_structured = draw(st.just(()) | st.sampled_from(PATHS)), draw(st.booleans())
    content = draw(inner)
    for name in reversed(draw(st.just(path) | st.sampled_from(PATHS))):
        content = enclosed(draw, name, content)
    return path, is_structured, enclosed(draw, "data", content) if is_structured else content


@settings(max_examples=1000, deadline=None)
@given(enveloped(spelled() | mutated() | events.map(lambda one: one.to_json())))
@example((("payload",), False, b'{"specversion":"1.0","type":"x","payload":%b}' % value()))
@example((("payload",), False, b'{"spec\\u0076ersion":"1.0","type":"x","payload":%b}' % value()))
@example((("payload",), False, b'{"payload":1,"payload":%b}' % value()))
@example((("payload",), False, b'{"payload":%b,"payload":null}' % value()))
@example(
    (("payload",), False, b'{"payload":%b,"x":%b}' % (value_with_raw("metadata", GROWING), NESTED_TOO_DEEP))
)
@example(((), True, b'{"type":"x","data":%b}' % value()))
@example(((), True, b'{"type":"pattern.scored.v1","data_base64":"e30=","data":%b}' % value()))
@example((("payload",), True, b'{"data":{"specversion":"1.0","type":"x","payload":%b}}' % value()))
def test_in_an_envelope_what_is_accepted_fast_the_model_accepts(
    sent: tuple[tuple[str, ...], bool, bytes],
) -> None:
    path, is_structured, content = sent
    assert_the_model_agrees(content, path, is_structured=is_structured)


@pytest.mark.parametrize("attributes", [{}, {"type": None}, {"type": EVENT_TYPE}, {"data_base64": None}])
def test_a_structured_event_is_accepted_fast(attributes: dict[str, Any]) -> None:
    sent = json.dumps({"specversion": "1.0", "id": "1", **attributes, "data": fields_of_an_event()}).encode()
    deep = json.dumps({**attributes, "data": {"payload": fields_of_an_event()}}).encode()

    assert assert_the_model_agrees(sent, is_structured=True) is not None
    assert assert_the_model_agrees(deep, ("payload",), is_structured=True) is not None
    assert accepted_fast(sent) is None
    assert accepted_fast(value(), is_structured=True) is None


@pytest.mark.parametrize("path", [path for path in PATHS if "specversion" not in path], ids=".".join)
def test_an_event_in_an_envelope_is_accepted_fast(path: tuple[str, ...]) -> None:
    content: Any = fields_of_an_event(version=None, metadata={"name": "a"})
    for name in reversed(path):
        content = {"event_type": "scored", name: content, "correlation_id": None}

    assert assert_the_model_agrees(json.dumps(content).encode(), path) is not None
    assert accepted_fast(json.dumps(content).encode(), (*path, "more")) is None
    assert accepted_fast(json.dumps(content).encode(), ("other",)) is None
    assert accepted_fast(json.dumps(content).encode()) is None


@pytest.mark.parametrize(
    "absent", [{"version": None}, {"metadata": None}, {"version": None, "metadata": None}]
)
def test_null_is_accepted_fast_as_absent(absent: dict[str, None]) -> None:
    assert accepted_fast(value(**absent)) == accepted_fast(value()) is not None


@pytest.mark.parametrize("name", ["x", "metadata", "version"])
@pytest.mark.parametrize("passed_over", PASSED_OVER)
def test_ignored_fields_are_accepted_as_the_model_accepts_them(name: str, passed_over: str) -> None:
    """An unknown field, or a field that is repeated after the event's."""
    for beginning, room in itertools.product([b"{", b'{"y":"%b",' % (b"y" * 500)], [2, 2000]):
        members = f'"{name}":{passed_over},"metadata":{{"a":"{"a" * room}"}},"version":"1",'.encode()
        assert_the_model_agrees(beginning + members + value()[1:])


@pytest.mark.parametrize("field", SPELLINGS)
def test_each_unusual_spelling_of_one_field_agrees_with_the_model(field: str) -> None:
    spellings = SPELLINGS[field]

    accepted = [
        text for text in spellings if assert_the_model_agrees(value_with_raw(field, text)) is not None
    ]

    assert accepted, "nothing was compared"


@given(events)
def test_an_event_is_accepted_fast_or_left_alone(sent: Any) -> None:
    assert_the_model_agrees(sent.to_json())


usual = events.map(lambda one: one.to_json())


@st.composite
def shifted(draw: st.DrawFn) -> list[bytes]:
    """Values, as many as events, with boundaries that need not be those of the events."""
    sent = draw(st.lists(usual, min_size=2, max_size=4))
    between = draw(st.sampled_from([b"", b"\n", b",", b"]\n[", b"],["]))
    whole = between.join(sent)
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), min_size=len(sent) - 1, max_size=len(sent) - 1)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@settings(max_examples=500, deadline=None)
@given(st.lists(usual | spelled() | mutated(), min_size=1, max_size=6) | shifted())
@example([value(), value_with_raw("metadata", '{"a":[{}')[:-1], b"{}]}}", value() + value()])
@example([value(), b"", value() + value()])
@example([value(), value() + b"]\n[" + value()])
@example([value(), value(measurement_timestamp=(ACCEPTED_UNTIL + timedelta(seconds=1)).isoformat())])
@example([value_with_raw("metadata", '{"a":12345678}'), value_with_raw("metadata", "{}")])
def test_together_each_is_accepted_as_it_is_by_itself(sent: list[bytes]) -> None:
    together = decode_fast(sent, accepted_until=ACCEPTED_UNTIL)

    alone = [accepted_fast(one) for one in sent]
    assert together == alone[: len(together)]
    assert None in alone or len(together) == len(sent)


def test_events_of_the_publisher_are_accepted_fast() -> None:
    metadata = {"name": "json.loads", "completeness": 0.8166666666666667, "tags": ["é", "😀", None, True, 3]}
    published = event(metadata=metadata, measurement_timestamp=NOW.isoformat())

    assert accepted_fast(published.to_json()) is not None
    assert accepted_fast(value(metadata=metadata)) is not None, "json.dumps escapes é"
    assert accepted_fast(value(agent="reviewer", run=[1, 2])) is not None, "unknown fields are ignored"
    assert accepted_fast(value(metadata={"completeness": 0.25})) is not None


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda one: one.name)
def test_nothing_hostile_is_accepted_fast(hostile: Any) -> None:
    if hostile.value is not None and not hostile.headers:
        assert accepted_fast(hostile.value) is None
