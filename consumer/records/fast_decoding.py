"""Decodes events of the common form fast, and leaves all others to `parse_event`. Pure.

It accepts only values that `parse_event` accepts, with the same result; a property test compares the two. All
other values, unusual spellings as well as faults, go to `parse_event`, which decides and gives the reason.
This module knows no reasons and refuses nothing.
"""

import re
import sys
from collections.abc import Callable, Sequence
from datetime import MINYEAR, UTC, datetime
from functools import lru_cache
from operator import attrgetter, methodcaller
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson
from asyncpg.pgproto.pgproto import UUID

from pattern_metrics.consumer.records.unwrapping import SPECVERSION
from pattern_metrics.schemas.pattern_scored import (
    EVENT_TYPE,
    METADATA_DEPTH_MAX,
    VERSION_CHARACTERS_MAX,
    VERSION_DEFAULT,
    Ordered,
)

_Proportion = Annotated[float, msgspec.Meta(ge=0, le=1)]

_UUID_CHARACTERS: Final = 36
_HYPHENS: Final = (8, 13, 18, 23)
_UUIDText = Annotated[str, msgspec.Meta(min_length=_UUID_CHARACTERS, max_length=_UUID_CHARACTERS)]

# msgspec accepts more times than RFC 3339 does: also without a colon in the offset. It rounds more than six
# digits.
_ZULU_BYTES_MAX: Final = len('"2026-01-01T00:00:00.123456Z"')
_OFFSET_BYTES_MAX: Final = len('"2026-01-01T00:00:00.123456+00:00"')

_VALUE_BYTES_MAX: Final = 4096
"""For longer values, fetching and storing take most of the time anyway."""

# pydantic reads no deeper than 200 levels, also in ignored fields. A value this short, or with this few
# brackets, cannot be nested 200 levels deep once the five required fields are in it.
_PASSED_OVER_BYTES_MAX: Final = 512
_BRACKETS_MAX: Final = 190

# Searching for one byte by its number takes a sixth of the time of searching for a string of length one.
_BACKSLASH: Final = ord("\\")
_OPENING: Final = ord("{")
_ZULU: Final = ord("Z")
_COLON: Final = ord(":")

# A double keeps 15 digits exactly. A number with fewer than 8 digits on each side of its point has no more.
_ALIKE: Final = bytes.maketrans(b"123456789E[", b"000000000e{")
_IN_NO_NUMBER: Final = b"abcdfghijklmnopqrstuvwxyzABCDFGHIJKLMNOPQRSTUVWXYZ" + b'"'
_EXPONENT: Final = b"0e"
_MANY_DIGITS: Final = b"0" * 8
_PARTING: Final = b"\0"

_NULL: Final = b"null"
_NO_METADATA: Final = b"{}"
_INNER: Final = "inner"

_ATTRIBUTES: Final[list[Any]] = [("type", Literal[EVENT_TYPE] | None, None), ("data_base64", None, None)]
"""CloudEvent attributes that decide whether its data holds our event."""

_count_openings: Final = methodcaller("count", _OPENING)

# pydantic keeps an integer of this many digits exactly, orjson does not.
_LONG_NUMBER: Final = re.compile(rb"\d{19}")


class FastEvent(Ordered, msgspec.Struct, frozen=True, gc=False):
    """An event with the fields that the table needs.

    Its UUIDs are of the driver's class: equal to Python's, but hashed and compared in C.
    """

    pattern_id: UUID
    event_id: UUID
    quality_score: float
    confidence: float
    measurement_timestamp: datetime
    version: str
    metadata_json: bytes


class _Fields(msgspec.Struct, gc=False, tag_field=SPECVERSION, tag=""):  # another value means a CloudEvent
    event_id: _UUIDText
    pattern_id: _UUIDText
    quality_score: _Proportion
    confidence: _Proportion
    measurement_timestamp: msgspec.Raw
    version: Annotated[str, msgspec.Meta(max_length=VERSION_CHARACTERS_MAX)] | None = VERSION_DEFAULT
    metadata: msgspec.Raw = msgspec.Raw(_NO_METADATA)


@lru_cache
def _reader(
    envelope: tuple[str, ...],
    is_structured: bool,
) -> tuple[Callable[[bytes], list[tuple[Any]]], Callable[[Any], Any] | None]:
    """Return a decoder of values, and a function that gets the event from its result.

    The function is None if the result is the event itself.

    Args:
        envelope: see `decode_fast`.
        is_structured: see `decode_fast`.

    Raises:
        ValueError: msgspec accepts no field of such a name.
    """
    part: type = _Fields
    for name in reversed(envelope):
        part = msgspec.defstruct(
            "_Envelope", [(_INNER, part)], rename={_INNER: name}, gc=False, tag_field=SPECVERSION, tag=""
        )
    if is_structured:
        fields = [(_INNER, part), *_ATTRIBUTES]
        part = msgspec.defstruct("_CloudEvent", fields, rename={_INNER: "data"}, gc=False)
    steps = [_INNER] * (len(envelope) + is_structured)
    reader: Any = msgspec.json.Decoder(tuple[part])  # type: ignore[valid-type]  # made at run time
    return reader.decode_lines, attrgetter(".".join(steps)) if steps else None


_read_times = msgspec.json.Decoder(list[Annotated[datetime, msgspec.Meta(tz=True)]]).decode


def decode_fast(
    values: Sequence[bytes],
    *,
    accepted_until: datetime,
    envelope: tuple[str, ...] = (),
    is_structured: bool = False,
) -> list[FastEvent] | None:
    """Decode events from their JSON. If any value is not of the common form, return None for all of them.

    It takes several at a time, because a call of a decoder costs more than decoding one event.

    Args:
        values: one or more events in UTF-8.
        accepted_until: the latest acceptable measurement time.
        envelope: the names of the fields that lead to the event, outermost first.
        is_structured: whether the values are CloudEvents envelopes, in whose data that path begins.

    Returns:
        The events in the order of the values, or None: decode each value by `parse_event`.
    """
    try:
        together = _together(values)
        read, reach = _reader(envelope, is_structured)
        parts = read(together)
        if reach is not None:
            parts = [(reach(part),) for (part,) in parts]
        fields = [msgspec.structs.astuple(part) for (part,) in parts]
        if len(fields) != len(values):
            return None
        event_ids, pattern_ids, scores, confidences, raw_times, versions, raw_metadata = zip(
            *fields, strict=True
        )
        _require_canonical_uuids(event_ids + pattern_ids)
        times = _common_times(raw_times)
        if max(times) > accepted_until:
            return None
        metadata = list(map(bytes, raw_metadata))
        _require_shallow(values, metadata)
        return list(
            map(
                FastEvent,
                map(UUID, pattern_ids),
                map(UUID, event_ids),
                scores,
                confidences,
                times,
                _interned(versions),
                _common_metadata(metadata),
            )
        )
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None


def _together(values: Sequence[bytes]) -> bytes:
    """Join the values into one text, in such a way that none can change its neighbours.

    Each value is in an array of its own. The separator is a line break between brackets, which no JSON
    contains: in a string a line break is not allowed, and outside of a string a comma would be missing. So if
    the text is well-formed, each value is well-formed; and if it holds as many arrays as values, each value
    is one JSON value.

    pydantic refuses a number with too many digits even in an ignored field. Such a number is longer than a
    value may be here.

    Raises:
        ValueError: a value is too long, is not UTF-8, or may contain the escape of U+0000, which PostgreSQL
            cannot store. msgspec itself refuses the escapes of lone surrogates.
    """
    if max(map(len, values)) > _VALUE_BYTES_MAX:
        raise ValueError
    together = b"[%b]" % b"]\n[".join(values)
    if _BACKSLASH in together and b"\\u0000" in together:
        raise ValueError
    if not together.isascii():
        together.decode()
    return together


def _require_canonical_uuids(texts: Sequence[str]) -> None:
    """Check the four hyphens of each text of 36 characters. `UUID` checks that the rest is hexadecimal."""
    together, hyphens = "".join(texts), "-" * len(texts)
    if any(together[place::_UUID_CHARACTERS] != hyphens for place in _HYPHENS):
        raise ValueError


def _common_times(raw: Sequence[msgspec.Raw]) -> list[datetime]:
    """Return the times in UTC. A comma cannot join two of them, because a time with a comma is invalid."""
    together = b",".join(raw)
    times: list[datetime] = _read_times(b"[%b]" % together)
    if not all(map(_is_exact, together.split(b","))):
        raise ValueError
    in_utc = [time if time.tzinfo is UTC else time.astimezone(UTC) for time in times]
    if min(in_utc).year == MINYEAR:
        raise ValueError
    return in_utc


def _is_exact(raw: bytes) -> bool:
    if raw[-2] == _ZULU:
        return len(raw) <= _ZULU_BYTES_MAX
    return len(raw) <= _OFFSET_BYTES_MAX and raw[-4] == _COLON


def _interned(versions: Sequence[str | None]) -> list[str]:
    """Return the versions, interned, because many events share few of them; null counts as absent."""
    try:
        return list(map(sys.intern, versions))  # type: ignore[arg-type]  # None is caught
    except TypeError:
        return [sys.intern(VERSION_DEFAULT if version is None else version) for version in versions]


def _require_shallow(values: Sequence[bytes], metadata: Sequence[bytes]) -> None:
    """Check that ignored fields, and metadata that is given twice, are not too deep for pydantic."""
    if max(map(len, values)) - min(map(len, metadata)) <= _PASSED_OVER_BYTES_MAX:
        return
    for value, known in zip(values, metadata, strict=True):
        if len(value) - len(known) > _PASSED_OVER_BYTES_MAX and (
            value.count(b"[") + value.count(b"{") > _BRACKETS_MAX
        ):
            raise ValueError


def _common_metadata(raw: list[bytes]) -> list[bytes]:
    """Return metadata as JSON with the values that pydantic would give.

    Args:
        raw: any JSON. msgspec has checked that it is well-formed, so it cannot contain the separator used
            here.
    """
    alike = _PARTING.join(raw).translate(_ALIKE, _IN_NO_NUMBER)
    if any(each[0] != _OPENING for each in raw):
        raw = [_NO_METADATA if each == _NULL else each for each in raw]
    if any(each[0] != _OPENING for each in raw) or (
        alike.count(_OPENING) > METADATA_DEPTH_MAX
        and max(map(_count_openings, alike.split(_PARTING))) > METADATA_DEPTH_MAX
    ):
        raise ValueError
    return raw if _is_plain(alike) else list(map(_plain, raw))


def _is_plain(alike: bytes) -> bool:
    return alike.find(_EXPONENT) < 0 and alike.find(_MANY_DIGITS) < 0


def _plain(raw: bytes) -> bytes:
    """Return metadata unchanged, or as compact JSON with shortest numbers if a number may be no double.

    Raises:
        ValueError: it may contain a number that pydantic keeps exactly.
    """
    if _is_plain(raw.translate(_ALIKE)):
        return raw
    canonical = orjson.dumps(orjson.loads(raw))
    if canonical == raw:
        return raw  # not `canonical`, for which orjson has allocated a kilobyte
    if _LONG_NUMBER.search(raw):
        raise ValueError
    return canonical
