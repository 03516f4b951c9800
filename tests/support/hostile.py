"""Records that must become dead letters, each for exactly one reason, at any time of day."""

import json
from collections.abc import Mapping
from typing import NamedTuple

from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.event_limits import VERSION_CHARACTERS_MAX
from pattern_metrics.schemas.pattern_scored import (
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
)
from tests.support.events import (
    DIGITS_MAX,
    PATTERN_ID,
    REQUIRED,
    fields,
    nested,
    value,
    value_with_raw,
    value_without,
)

Headers = tuple[tuple[str, bytes | None], ...]

STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)


class Hostile(NamedTuple):
    """A record to refuse."""

    name: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: RejectReason


def _hostile(
    name: str, content: bytes | None, reason: RejectReason, key: bytes | None = None, headers: Headers = ()
) -> Hostile:
    return Hostile(name, str(PATTERN_ID).encode() if key is None else key, content, headers, reason)


def _enclosed(**attributes: object) -> bytes:
    return json.dumps(attributes).encode()


def _envelope(data: object) -> bytes:
    return _enclosed(specversion="1.0", type="pattern.scored.v1", data=data)


def _event_of_type(text: str, content: Mapping[str, object]) -> bytes:
    return _enclosed(specversion="1.0", type=json.loads(text), **content)


def _base64_envelope(data: object) -> bytes:
    return _enclosed(specversion="1.0", data_base64=data)


def _deep(opening: str, closing: str, levels: int) -> str:
    return opening * levels + "1" + closing * levels


R = RejectReason

_NOT_READABLE = [
    _hostile("tombstone", None, R.TOMBSTONE),
    _hostile("tombstone with the structured header", None, R.TOMBSTONE, headers=STRUCTURED),
    _hostile("empty value", b"", R.INVALID_JSON),
    _hostile("blank value", b" \n", R.INVALID_JSON),
    _hostile("not utf-8", b"\xff\xfe", R.INVALID_UTF8),
    _hostile("latin-1 in a string", value_with_raw("metadata", b'{"a": "\xfc"}'), R.INVALID_UTF8),
    _hostile("latin-1 in a key", value_with_raw("metadata", b'{"\xfc": 1}'), R.INVALID_UTF8),
    _hostile("latin-1 in an unknown field", value_with_raw("x", b'"\xfc"'), R.INVALID_UTF8),
    _hostile("utf-8 of a surrogate", value_with_raw("version", b'"\xed\xa0\x80"'), R.INVALID_UTF8),
    _hostile("overlong utf-8", value_with_raw("version", b'"\xc0\x80"'), R.INVALID_UTF8),
    _hostile("utf-16", value().decode().encode("utf-16"), R.INVALID_UTF8),
    _hostile("byte order mark", b"\xef\xbb\xbf" + value(), R.INVALID_JSON),
    _hostile("text", b"hello", R.INVALID_JSON),
    _hostile("python's repr", repr(fields()).encode(), R.INVALID_JSON),
    _hostile("cut off", value()[:-1], R.INVALID_JSON),
    _hostile("two values", value() + value(), R.INVALID_JSON),
    _hostile("two values with a comma", value() + b"," + value(), R.INVALID_JSON),
    _hostile("control character", value_with_raw("version", b'"\x01"'), R.INVALID_JSON),
    _hostile("bare zero byte in a string", value_with_raw("version", b'"\0"'), R.INVALID_JSON),
    _hostile("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", R.INVALID_UTF8),
    _hostile("zero byte", b"\0", R.INVALID_JSON),
    _hostile("registry prefix cut off", b"\0\0\0\1", R.INVALID_JSON),
    _hostile("registry prefix alone", b"\0\0\0\0\1", R.INVALID_JSON),
    _hostile("registry prefix before avro", b"\0\0\0\0\1\x02\x80", R.INVALID_UTF8),
    _hostile("registry prefix twice", b"\0\0\0\0\1" * 2 + value(), R.INVALID_JSON),
    _hostile("registry prefix of another magic byte", b"\1\0\0\0\1" + value(), R.INVALID_JSON),
    _hostile("null", b"null", R.NOT_AN_OBJECT),
    _hostile("true", b"true", R.NOT_AN_OBJECT),
    _hostile("number", b"0.5", R.NOT_AN_OBJECT),
    _hostile("string", b'"event"', R.NOT_AN_OBJECT),
    _hostile("list of events", b"[" + value() + b"]", R.NOT_AN_OBJECT),
    _hostile("event in a string", json.dumps(value().decode()).encode(), R.NOT_AN_OBJECT),
]

_MISSING = [
    _hostile("empty object", b"{}", R.MISSING_FIELD),
    *(_hostile(f"no {field}", value_without(field), R.MISSING_FIELD) for field in REQUIRED),
    _hostile("field name in capitals", value().replace(b"pattern_id", b"PATTERN_ID"), R.MISSING_FIELD),
    _hostile("structured without data", b'{"specversion": "1.0"}', R.MISSING_FIELD, headers=STRUCTURED),
    _hostile("structured header on a bare event", value(), R.MISSING_FIELD, headers=STRUCTURED),
    _hostile("envelope without its header and specversion", _enclosed(data=fields()), R.MISSING_FIELD),
    _hostile("envelope of a company", _enclosed(event_type="scored", payload=fields()), R.MISSING_FIELD),
    _hostile("structured data null", _envelope(None), R.NOT_AN_OBJECT, headers=STRUCTURED),
    _hostile("structured data is a list", _envelope([fields()]), R.NOT_AN_OBJECT, headers=STRUCTURED),
    _hostile("structured data in a string twice", _envelope(json.dumps(value().decode())), R.NOT_AN_OBJECT),
    _hostile("structured data in a string that is not json", _envelope("<score/>"), R.INVALID_JSON),
    _hostile("structured data in a string that is too deep", _envelope("[" * 5_000), R.TOO_DEEP),
    _hostile("structured data in a string without a field", _envelope("{}"), R.MISSING_FIELD),
    _hostile("data_base64 that is not base64", _base64_envelope("{}"), R.INVALID_FIELD),
    _hostile("data_base64 that is not text", _base64_envelope([1]), R.INVALID_FIELD),
    _hostile("data_base64 of what is not utf-8", _base64_envelope("//4="), R.INVALID_UTF8),
    _hostile("data_base64 of what is not json", _base64_envelope("e2E="), R.INVALID_JSON),
    _hostile("a batch of structured events", b"[" + _envelope(fields()) + b"]", R.NOT_AN_OBJECT),
    _hostile(
        "structured event with a wrong field",
        _envelope(fields(confidence="high")),
        R.INVALID_FIELD,
        headers=STRUCTURED,
    ),
]

_WRONG_TYPES: dict[str, tuple[object, ...]] = {
    "event_id": (None, 7, True, "", "1234", f" {PATTERN_ID}", f"{PATTERN_ID}\0", [str(PATTERN_ID)], {}),
    "pattern_id": (None, 7, 0.5, "", "pattern", "g" * 36, str(PATTERN_ID)[:-1], f"{PATTERN_ID}0", []),
    "quality_score": (None, True, False, "0.8", "", [], {}, [0.5]),
    "confidence": (None, True, False, "0.8", "NaN", [], {"value": 1}),
    "measurement_timestamp": (
        *(None, True, 1_767_225_600, 1_767_225_600.5, "1767225600", "", "now", [], {}),
        *("2025-06-01", "2025-06-01T12:00:00", "2025-06-01T12:00Z", "2025-06-01T12:00:00+0100"),
        *("2025-06-31T12:00:00Z", "2025-13-01T12:00:00Z", "2025-06-01T24:00:00Z", "2016-12-31T23:59:60Z"),
        *("2025-06-01T12:00:00+24:00", "2025-06-01T12:00:00+01:60", "2025-06-01T12:00:00Z\n"),
        *("20250601T120000Z", "2025-W22-7T12:00:00Z", "٢٠٢٥-06-01T12:00:00Z", "12025-06-01T12:00:00Z"),
    ),
    "version": (1, 1.5, True, [], {}, "a" * (VERSION_CHARACTERS_MAX + 1)),
    "metadata": ([], "{}", 1, True),
}

_WRONG = [
    _hostile(f"{field} is {json.dumps(wrong)[:40]}", value(**{field: wrong}), R.INVALID_FIELD)
    for field, wrongs in _WRONG_TYPES.items()
    for wrong in wrongs
]

_OUT_OF_RANGE = [
    *(
        _hostile(f"{field} is {text}", value_with_raw(field, text), R.OUT_OF_RANGE)
        for field in ("quality_score", "confidence")
        for text in (
            *("-1", "2", "1.0000000000000003", "-5e-324", "1e308", "1e400", "-1e400"),
            *("NaN", "Infinity", "-Infinity"),
        )
    ),
    *(
        _hostile(f"metadata holds {text}", value_with_raw("metadata", f'{{"a": [{text}]}}'), R.OUT_OF_RANGE)
        for text in ("1e400", "-1e400", "NaN", "Infinity", "-Infinity")
    ),
    *(
        _hostile(f"{field} of 100,000 digits", value_with_raw(field, text), R.OUT_OF_RANGE)
        for field, text in (
            ("quality_score", "1" * 100_000),
            ("confidence", "-" + "1" * 100_000),
            ("metadata", '{"a": %s}' % ("9" * 100_000)),
        )
    ),
    _hostile(
        "metadata with one digit too many",
        value_with_raw("metadata", '{"a": %s}' % ("9" * (DIGITS_MAX + 1))),
        R.OUT_OF_RANGE,
    ),
    _hostile("before the year 1", value(measurement_timestamp="0001-01-01T00:00:00+14:00"), R.OUT_OF_RANGE),
    _hostile("after the year 9999", value(measurement_timestamp="9999-12-31T23:59:59-00:01"), R.OUT_OF_RANGE),
]

_UNSTORABLE = [
    _hostile(f"{what} in {where}", value_with_raw(field, template % escape), R.UNSTORABLE_TEXT)
    for what, escape in (
        ("u+0000", "\\u0000"),
        ("high surrogate", "\\ud800"),
        ("low surrogate", "\\udc00"),
        ("surrogates the wrong way round", "\\ude00\\ud83d"),
    )
    for where, field, template in (
        ("version", "version", '"1.%s"'),
        ("a value", "metadata", '{"a": "%s"}'),
        ("a key", "metadata", '{"%s": 1}'),
        ("a nested value", "metadata", '{"a": [{"b": "%s"}]}'),
        ("a nested key", "metadata", '{"a": [{"%s": 1}]}'),
    )
]

_TOO_MUCH = [
    _hostile("one level too deep", value(metadata=nested(METADATA_DEPTH_MAX + 1)), R.TOO_DEEP),
    *(
        _hostile(
            f"metadata of {levels} {kind}",
            value_with_raw("metadata", _deep(opening, closing, levels)),
            R.TOO_DEEP,
        )
        for levels in (250, 5_000)
        for kind, opening, closing in (("objects", '{"a":', "}"), ("mixed", '{"a":[', "]}"))
    ),
    _hostile("1,500 lists as metadata", value_with_raw("metadata", _deep("[", "]", 1_500)), R.TOO_DEEP),
    _hostile("1,500 lists in an unknown field", value_with_raw("x", _deep("[", "]", 1_500)), R.TOO_DEEP),
    _hostile(
        "201 lists in a field that is given again",
        value_with_raw("x", _deep("[", "]", 201) + ', "x": 1'),
        R.TOO_DEEP,
    ),
    _hostile("5,000 lists in a field", value_with_raw("quality_score", _deep("[", "]", 5_000)), R.TOO_DEEP),
    _hostile("5,000 lists", _deep("[", "]", 5_000).encode(), R.TOO_DEEP),
    _hostile("5,000 lists that never close", b"[" * 5_000, R.TOO_DEEP),
    _hostile("one byte too large", value(metadata={"a": "x" * (METADATA_BYTES_MAX - 7)}), R.TOO_LARGE),
    _hostile("oversize metadata", value(metadata={"a": "x" * 500_000}), R.TOO_LARGE),
    _hostile("oversize in bytes, not in characters", value(metadata={"a": "ü" * 40_000}), R.TOO_LARGE),
]

_OTHER_TYPES = [
    *(
        _hostile(f"{name} is {text!r}", value(), R.OTHER_TYPE, headers=((name, text),))
        for name in ("ce_type", "CE_Type")
        for text in (b"pattern.score.retracted.v1", b"pattern.scored.v2", b"Pattern.scored.v1", b"\xff")
    ),
    _hostile(
        "flat with an attribute that is written as an escape",
        _event_of_type('"x"', fields()).replace(b"specversion", b"spec\\u0076ersion"),
        R.OTHER_TYPE,
    ),
    _hostile("another type and no json", b"{", R.OTHER_TYPE, headers=(("ce_type", b"x"),)),
    *(
        _hostile(f"{name} of type {text}", _event_of_type(text, content), R.OTHER_TYPE, headers=headers)
        for name, content, headers in (
            ("structured", {"data": fields()}, STRUCTURED),
            ("structured without its header", {"data": fields()}, ()),
            ("structured in a string", {"data": value().decode()}, ()),
            ("flat", fields(), ()),
        )
        for text in ('"pattern.score.retracted.v1"', '"Pattern.scored.v1"', "0", "[]", "false")
    ),
]

_FRAMED = [
    *(
        _hostile(f"{name} framing before avro", prefix + b"\x02\x80", R.INVALID_UTF8)
        for name, prefix in (("8-byte", bytes(7) + b"\x80\x01"),)
    ),
    _hostile("glue framing before avro", b"\3\0" + b"a" * 16 + b"\x02", R.INVALID_JSON),
    _hostile("glue framing with compression", b"\3\5" + b"a" * 16 + b"x", R.INVALID_JSON),
]

_IN_FUTURE = [
    _hostile(f"measured at {time}", value(measurement_timestamp=time), R.TIMESTAMP_IN_FUTURE)
    for time in ("2999-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2999-01-01T00:00:00-14:00")
]

_KEYS_AND_HEADERS = [
    _hostile("a key that is not utf-8", b"{", R.INVALID_JSON, key=b"\xff\0"),
    _hostile("an empty key", b"{", R.INVALID_JSON, key=b""),
    _hostile(
        "hostile headers",
        b"{",
        R.INVALID_JSON,
        headers=(("", None), ("a\0", b"\0"), ("\U0001f4a9", b"\xff"), ("a\0", b"")),
    ),
    Hostile("no key", None, b"{", (), R.INVALID_JSON),
]

HOSTILE: tuple[Hostile, ...] = (
    *_NOT_READABLE,
    *_MISSING,
    *_WRONG,
    *_OUT_OF_RANGE,
    *_UNSTORABLE,
    *_TOO_MUCH,
    *_IN_FUTURE,
    *_OTHER_TYPES,
    *_FRAMED,
    *_KEYS_AND_HEADERS,
)
