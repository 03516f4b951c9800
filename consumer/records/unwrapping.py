"""Finds the event in a record's value. Pure.

A value is unwrapped in this order: the framing of a schema registry, CloudEvents structured mode, the
envelope that KAFKA_ENVELOPE_FIELD names, and CloudEvents structured mode inside that envelope.
"""

import base64
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from pydantic import JsonValue
from pydantic_core import to_json

from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.pattern_retired import RETIRED_TYPE, is_retirement
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, STRUCTURED_CONTENT_TYPE, read_json


class _Framing(NamedTuple):
    """The bytes that a schema registry puts before the JSON: magic bytes, then the id of the schema."""

    magic: bytes
    length: int
    registry: str


_FRAMINGS: Final = (
    _Framing(b"\0", 5, "a schema registry (Confluent or Apicurio)"),
    _Framing(b"\0", 9, "a schema registry (Confluent or Apicurio)"),
    _Framing(b"\1", 17, "Confluent's schema registry (an identity of 16 bytes)"),
    _Framing(b"\3\0", 18, "AWS Glue Schema Registry"),
    _Framing(b"\3\5", 18, "AWS Glue Schema Registry, with compression"),
)

ABOVE_MAGIC: Final = b"\4"
"""A value that compares equal or greater has no magic byte. Every JSON text compares greater."""

_OBJECT: Final = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*["}]')
_SHORTEST: Final = _FRAMINGS[0]

SPECVERSION: Final = "specversion"
"""The attribute that marks a CloudEvent in JSON."""

_UNDECLARED: Final = (None, "")
_ESCAPED_LETTERS: Final = (b"\\u006", b"\\u007")


def unframed(value: bytes) -> bytes:
    """Return the value without a schema registry's framing, which is recognised by the JSON object after it.

    If no object follows, a value that begins with a zero byte is returned without Confluent's five bytes, and
    any other value unchanged.
    """
    if value >= ABOVE_MAGIC:
        return value
    for framing in _FRAMINGS:
        if value.startswith(framing.magic) and _OBJECT.match(value, framing.length):
            return value[framing.length :]
    is_framed = value.startswith(_SHORTEST.magic) and len(value) >= _SHORTEST.length
    return value[_SHORTEST.length :] if is_framed else value


def framing_without_json(value: bytes) -> str | None:
    """Return the name of the framing with which a value begins, if no JSON object follows it; else None."""
    if _OBJECT.match(unframed(value)):
        return None
    registries = (framing.registry for framing in _FRAMINGS if value.startswith(framing.magic))
    return next(registries, None)


def _may_be_cloud_event(text: bytes) -> bool:
    """Return False only if this JSON has no SPECVERSION, not even with one of its letters as an escape."""
    return SPECVERSION.encode() in text or any(letter in text for letter in _ESCAPED_LETTERS)


def require_type(declared: JsonValue, place: str, *, retires: bool) -> None:
    """Check that the CloudEvents type that is declared for an event is the event's own.

    Args:
        declared: one of our types; None or an empty text if none is declared.
        place: where it is declared, for a person.
        retires: whether the event is a retirement.

    Raises:
        InvalidEventError: the type is the other one.
    """
    if declared not in (*_UNDECLARED, RETIRED_TYPE if retires else EVENT_TYPE):
        fields = "retirement" if retires else "measurement"
        detail = f"{place} is {declared}, and the fields are those of a {fields}"
        raise InvalidEventError(RejectReason.OTHER_TYPE, detail, "type")


def event_json(value: bytes, *, is_structured: bool, envelope: Sequence[str] = ()) -> bytes:
    """Return the JSON of the event in a value without framing.

    Args:
        value: JSON in UTF-8.
        is_structured: whether the record's header says that the value is a CloudEvents envelope.
        envelope: the path of KAFKA_ENVELOPE_FIELD, one name a level.

    Returns:
        The JSON at the event's place. Only `parse_event` checks whether it is an event.

    Raises:
        InvalidEventError: the value, or JSON in one of its strings, cannot be read; a field of the path is
            missing; or the type of a CloudEvent is not that of the event in it.
    """
    if not (is_structured or envelope or _may_be_cloud_event(value)):
        return value
    part = _Part(read_json(value), value)
    if not isinstance(part.content, dict):
        return value
    declared = list[JsonValue]()
    part = _data_of(part, declared, is_declared=is_structured)
    if envelope:
        part = _data_of(_field_of(part, envelope), declared, is_declared=False)
    for one in declared:
        retires = isinstance(part.content, dict) and is_retirement(part.content)
        require_type(one, "the envelope's type", retires=retires)
    return part.text


class _Part(NamedTuple):
    """A part of a value: its content, and its text as it was sent."""

    content: JsonValue
    text: bytes


_read_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _member(part: _Part, name: str, content: JsonValue) -> _Part:
    """Return a member of an object.

    `read_json` accepts NaN, which is not JSON. If the object holds NaN, the text is made from the content.
    """
    try:
        return _Part(content, bytes(_read_members(part.text)[name]))
    except (msgspec.MsgspecError, RecursionError):
        return _Part(content, to_json(content, inf_nan_mode="constants"))


def _data_of(part: _Part, declared: list[JsonValue], *, is_declared: bool) -> _Part:
    """Return the data of a CloudEvent in JSON; a part that is not a CloudEvent is returned unchanged.

    Args:
        part: JSON.
        declared: gets the CloudEvent's type.
        is_declared: whether a header says that the part is a CloudEvent. `specversion` says so, too.
    """
    content = part.content
    if not isinstance(content, dict) or not (is_declared or content.get(SPECVERSION) not in _UNDECLARED):
        return part
    if content.get("type") not in (*_UNDECLARED, EVENT_TYPE, RETIRED_TYPE):
        detail = f"the envelope's type is neither {EVENT_TYPE} nor {RETIRED_TYPE}"
        raise InvalidEventError(RejectReason.OTHER_TYPE, detail, "type")
    declared.append(content.get("type"))
    if (encoded := content.get("data_base64")) is not None:
        return _json_in("data_base64", _Part(_decoded(encoded), b""))
    data = content.get("data")
    if data is not None:
        return _json_in("data", _member(part, "data", data))
    if is_declared and "data" not in content:
        raise InvalidEventError(
            RejectReason.MISSING_FIELD,
            "the header content-type says that the value is a CloudEvents envelope "
            f"({STRUCTURED_CONTENT_TYPE}), which has neither data nor data_base64",
            "data",
        )
    return _Part(None, b"null") if is_declared else part


def _decoded(encoded: JsonValue) -> str:
    try:
        return base64.b64decode(str(encoded), validate=True).decode()
    except UnicodeDecodeError as error:
        reason, detail = RejectReason.INVALID_UTF8, f"{error.reason} at byte {error.start}"
    except ValueError:
        reason, detail = RejectReason.INVALID_FIELD, "is not base64"
    raise InvalidEventError(reason, f"data_base64: {detail}", "data_base64")


def _field_of(part: _Part, path: Sequence[str]) -> _Part:
    for place, name in enumerate(path, start=1):
        inner = part.content.get(name) if isinstance(part.content, dict) else None
        at = ".".join(path[:place])
        if inner is None:
            raise InvalidEventError(
                RejectReason.MISSING_FIELD,
                f"{at}: is missing, and KAFKA_ENVELOPE_FIELD is {'.'.join(path)}",
                path[0],
            )
        part = _json_in(at, _member(part, name, inner))
    return part


def _json_in(place: str, part: _Part) -> _Part:
    """Read JSON that is in a string; a part with other content is returned unchanged."""
    if not isinstance(part.content, str):
        return part
    text = part.content.encode()
    try:
        return _Part(read_json(text), text)
    except InvalidEventError as error:
        raise InvalidEventError(error.reason, f"{place}: {error.detail}", place) from None
