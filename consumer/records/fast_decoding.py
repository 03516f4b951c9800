"""Common events, decoded fast: accept fast, refuse slowly. Pure.

What is accepted here is what `parse_event` accepts, with the same values; a property test holds the two
together. Whatever is not accepted here (an unusual spelling as much as a fault) is left to `parse_event`,
whose verdict and reason stand: this module knows no reasons, and refuses nothing.
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

# Of what msgspec takes for a time, RFC 3339 has a colon in the offset; more than six digits it rounds off.
_ZULU_BYTES_MAX: Final = len('"2026-01-01T00:00:00.123456Z"')
_OFFSET_BYTES_MAX: Final = len('"2026-01-01T00:00:00.123456+00:00"')

_VALUE_BYTES_MAX: Final = 4096
"""Of what is longer, fetching and storing take most of the time."""

# pydantic reads no deeper than 200 levels, also of what is passed over, such as unknown fields. So deep lies
# nothing that is so short with the five fields that every event has, nor what has so few brackets.
_PASSED_OVER_BYTES_MAX: Final = 512
_BRACKETS_MAX: Final = 190

# To look for one byte by its number takes a sixth of what it takes by a string of length one.
_BACKSLASH: Final = ord("\\")
_OPENING: Final = ord("{")
_ZULU: Final = ord("Z")
_COLON: Final = ord(":")

# A double keeps up to 15 digits, whatever they are: those of a number with fewer than 8 on each side of its
# point.
_ALIKE: Final = bytes.maketrans(b"123456789E[", b"000000000e{")
_IN_NO_NUMBER: Final = b"abcdfghijklmnopqrstuvwxyzABCDFGHIJKLMNOPQRSTUVWXYZ" + b'"'
_EXPONENT: Final = b"0e"
_MANY_DIGITS: Final = b"0" * 8
_PARTING: Final = b"\0"

_NULL: Final = b"null"
_NO_METADATA: Final = b"{}"
_INNER: Final = "inner"

_ATTRIBUTES: Final[list[Any]] = [("type", Literal[EVENT_TYPE] | None, None), ("data_base64", None, None)]
"""Attributes of a CloudEvent on which it depends whether its data holds our event."""

_count_openings: Final = methodcaller("count", _OPENING)

# An integer of so many digits is kept exactly by pydantic, and not by orjson.
_LONG_NUMBER: Final = re.compile(rb"\d{19}")


class FastEvent(Ordered, msgspec.Struct, frozen=True, gc=False):
    """An event with the fields that the table needs.

    Its UUIDs are the driver's own: equal to any other's, but hashed and compared in C.
    """

    pattern_id: UUID
    event_id: UUID
    quality_score: float
    confidence: float
    measurement_timestamp: datetime
    version: str
    metadata_json: bytes


class _Fields(msgspec.Struct, gc=False, tag_field=SPECVERSION, tag=""):  # another value marks a CloudEvent
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
    """Return a decoder of values, and what reaches the event in what it returns, if that is not the event.

    Args:
        envelope: as for `decode_fast`.
        is_structured: likewise.

    Raises:
        ValueError: msgspec knows no field of such a name.
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
    """Decode events from their JSON, or leave all of them to `parse_event` where one is not common.

    Each call of a decoder costs more than what it does for one event: hence several at a time.

    Args:
        values: one or more events in UTF-8.
        accepted_until: the latest acceptable measurement time.
        envelope: the names on the way to each event in its value.
        is_structured: whether that way begins in the data of a CloudEvents envelope.
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
    """The values as one text, whose parts cannot change places with each other.

    Each is in an array of its own. Between two of them stands what can be inside no JSON, a line break
    between brackets: not in a string, and not outside of one, where a comma would be missing. Hence where the
    whole is well-formed, each value is; and where it is as many arrays as values, each value is one.

    That a number which is passed over has too many digits for pydantic needs more room than a value may have
    here.

    Raises:
        ValueError: one of them is long, not UTF-8, or may have the escape of U+0000, which PostgreSQL cannot
            hold; msgspec sees that no other stands for half a character.
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
    """Each of 36 characters has its four hyphens; that the others are hexadecimal `UUID` sees."""
    together, hyphens = "".join(texts), "-" * len(texts)
    if any(together[place::_UUID_CHARACTERS] != hyphens for place in _HYPHENS):
        raise ValueError


def _common_times(raw: Sequence[msgspec.Raw]) -> list[datetime]:
    """The times in UTC; a comma in one of them would make it no time."""
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
    """The versions, of which there are a few for many events; null is as absent."""
    try:
        return list(map(sys.intern, versions))  # type: ignore[arg-type]  # None is caught
    except TypeError:
        return [sys.intern(VERSION_DEFAULT if one is None else one) for one in versions]


def _require_shallow(values: Sequence[bytes], metadata: Sequence[bytes]) -> None:
    """What lies beside the metadata, or is metadata that is given again, is not too deep for pydantic."""
    if max(map(len, values)) - min(map(len, metadata)) <= _PASSED_OVER_BYTES_MAX:
        return
    for value, known in zip(values, metadata, strict=True):
        if len(value) - len(known) > _PASSED_OVER_BYTES_MAX and (
            value.count(b"[") + value.count(b"{") > _BRACKETS_MAX
        ):
            raise ValueError


def _common_metadata(raw: list[bytes]) -> list[bytes]:
    """Metadata as JSON with the values that it has for pydantic.

    Args:
        raw: any JSON; msgspec has seen that it is well-formed, and so without the byte that parts it here.
    """
    alike = _PARTING.join(raw).translate(_ALIKE, _IN_NO_NUMBER)
    if any(one[0] != _OPENING for one in raw):
        raw = [_NO_METADATA if one == _NULL else one for one in raw]
    if any(one[0] != _OPENING for one in raw) or (
        alike.count(_OPENING) > METADATA_DEPTH_MAX
        and max(map(_count_openings, alike.split(_PARTING))) > METADATA_DEPTH_MAX
    ):
        raise ValueError
    return raw if _is_plain(alike) else list(map(_plain, raw))


def _is_plain(alike: bytes) -> bool:
    return alike.find(_EXPONENT) < 0 and alike.find(_MANY_DIGITS) < 0


def _plain(raw: bytes) -> bytes:
    """Metadata as it is or, where a number in it may be no double, as compact JSON with the shortest numbers.

    Raises:
        ValueError: it may have one that pydantic keeps exactly.
    """
    if _is_plain(raw.translate(_ALIKE)):
        return raw
    canonical = orjson.dumps(orjson.loads(raw))
    if canonical == raw:
        return raw  # and not the other, of which orjson keeps a kilobyte
    if _LONG_NUMBER.search(raw):
        raise ValueError
    return canonical
