"""Decodes events of the common form fast, and leaves all others to `parse_event`. Pure.

`decode_fast` accepts only what `parse_event` accepts, with the same values: a property test compares the two.
The rest, whether an unusual spelling or a fault, is left to `parse_event`, which also finds the reason. Each
short cut replaces a rule of the model (`schemas.pattern_scored`):

| short cut here | rule of the model | test in `tests/properties/test_fast_decoding.py` |
|---|---|---|
| `_Fields` for msgspec: types, 0 to 1, lengths | fields of `PatternScored` | `…each_unusual_spelling…` |
| 36 characters, four hyphens, `UUID` | UUID fields in JSON | `…each_unusual_spelling…` |
| `_common_times`: fraction cut to six digits | RFC 3339, `Timestamp` | `…times…` |
| `_together`: no U+0000, UTF-8 | `_require_storable` | `…nothing_hostile…` |
| `_require_shallow`, `_depth_is_fine` | JSON_DEPTH_MAX, METADATA_DEPTH_MAX | `…passed_over…`, `…metadata…` |
| `_numbers_are_fine` | finite doubles, DECIMALS_MAX | `…metadata…` |
| metadata is the sent text | `metadata_json` | `…with_the_same_values` |
"""

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import MINYEAR, UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec
from asyncpg.pgproto.pgproto import UUID

from pattern_metrics.consumer.records.unwrapping import SPECVERSION
from pattern_metrics.schemas.event_limits import VERSION_CHARACTERS_MAX, VERSION_DEFAULT
from pattern_metrics.schemas.pattern_scored import (
    EVENT_TYPE,
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    Ordered,
)

_Proportion = Annotated[float, msgspec.Meta(ge=0, le=1)]

_UUID_CHARACTERS: Final = 36
_HYPHENS: Final = (8, 13, 18, 23)
_UUIDText = Annotated[str, msgspec.Meta(min_length=_UUID_CHARACTERS, max_length=_UUID_CHARACTERS)]

# RFC 3339 has a colon in the offset. msgspec accepts an offset without it, and rounds more than six digits.
_ZULU_BYTES_MAX: Final = len('"2026-01-01T00:00:00.123456Z"')
_COLONS: Final = len("::")
_FRACTION: Final = len('"2026-01-01T00:00:00.')
_CUT: Final = len('"2026-01-01T00:00:00.123456')
_DECIMAL_DIGITS: Final = b"0123456789"
_OFFSET: Final = slice(-len('+02:00"'), None)
_SIGNS: Final = b"+-"
_ZULU: Final = b'Z"'

# pydantic reads at most 200 levels, also in fields that it ignores. A part this short, or with this few
# brackets, cannot be nested so deep.
_PASSED_OVER_BYTES_MAX: Final = 512
_BRACKETS_MAX: Final = 190

_LONG_INTEGER: Final = b"0" * 4301
"""pydantic refuses an integer of so many digits, also in a field that it ignores."""

# Searching for a byte by its number takes a sixth of the time of searching for a bytes object of length one.
_BACKSLASH: Final = ord("\\")
_OPENING: Final = ord("{")

# Translates metadata: each digit becomes 0, each bracket {, each E e, and the other letters are removed. In
# the result, a short search finds every number that may not be a finite double.
_ALIKE: Final = bytes.maketrans(b"123456789E[", b"000000000e{")
_IN_NO_NUMBER: Final = b"abcdfghijklmnopqrstuvwxyzABCDFGHIJKLMNOPQRSTUVWXYZ" + b'"'
_LARGE_EXPONENT: Final = re.compile(rb"0e[+-]?000")
_MANY_DIGITS: Final = b"0" * 200
_EXTREME_EXPONENT: Final = re.compile(rb"[eE][+-]?[0-9]{5}")
_PARTING: Final = b"\0"

_ESCAPED_CHARACTER: Final = re.compile(rb"\\.")
_STRING: Final = re.compile(rb'"[^"]*"')
_BRACKETS_AS_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_NEITHER_BRACKET_NOR_QUOTE: Final = bytes(set(range(256)) - set(b'[]{}"'))

_NULL: Final = b"null"
_NO_METADATA: Final = b"{}"
_INNER: Final = "inner"

_ATTRIBUTES: Final[list[Any]] = [("type", Literal[EVENT_TYPE] | None, None), ("data_base64", None, None)]
"""CloudEvent attributes that decide whether its data holds our event."""


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
_read_any = msgspec.json.Decoder().decode

_PLACE: Final = re.compile(r"`\$\[(\d+)\]|\(byte (\d+)\)")
"""Finds the number of the value, or a place in the text, in a message of msgspec."""


class _UncommonError(ValueError):
    """A value is not common.

    Args:
        place: the index of the value, or of a value after it.
    """

    def __init__(self, place: int) -> None:
        self.place = place


def decode_fast(
    values: Sequence[bytes],
    *,
    accepted_until: datetime,
    envelope: tuple[str, ...] = (),
    is_structured: bool = False,
) -> list[FastEvent]:
    """Decode common events from their JSON, up to a value that is not common.

    Each call of a decoder costs more than its work for one event. Therefore pass several values at a time.

    Args:
        values: one or more events in UTF-8.
        accepted_until: the latest acceptable measurement time.
        envelope: the names on the way to each event in its value.
        is_structured: whether that way begins in the data of a CloudEvents envelope.

    Returns:
        The events of the first values. Decode the next value, if there is one, by `parse_event`.
    """
    while values:
        try:
            return _decode(values, accepted_until, *_reader(envelope, is_structured))
        except _UncommonError as error:
            place = error.place
        except msgspec.MsgspecError as error:
            place = _place_of(str(error), values)
        except (ValueError, OverflowError, RecursionError):
            place = len(values) // 2
        values = values[: min(place, len(values) - 1)]
    return []


def _place_of(message: str, values: Sequence[bytes]) -> int:
    """Return the index of the value at which msgspec stopped; half of the values if it does not say."""
    found = _PLACE.search(message)
    if found is None:
        return len(values) // 2
    if found[1]:
        return int(found[1])
    rest, place = int(found[2]), -1
    while rest >= 0 and place + 1 < len(values):
        place += 1
        rest -= len(values[place]) + len("[]\n")
    return place


def _decode(
    values: Sequence[bytes],
    accepted_until: datetime,
    read: Callable[[bytes], list[tuple[Any]]],
    reach: Callable[[Any], Any] | None,
) -> list[FastEvent]:
    parts = read(_together(values))
    if reach is not None:
        parts = [(reach(part),) for (part,) in parts]
    fields = [msgspec.structs.astuple(part) for (part,) in parts]
    if len(fields) != len(values):
        raise ValueError
    event_ids, pattern_ids, scores, confidences, raw_times, versions, raw_metadata = zip(*fields, strict=True)
    _require_canonical_uuids(event_ids + pattern_ids)
    times = _common_times(raw_times)
    if max(times) > accepted_until:
        raise _UncommonError(next(place for place, time in enumerate(times) if time > accepted_until))
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


def _together(values: Sequence[bytes]) -> bytes:
    """Join the values to one text, in which no part of a value can become part of another value.

    Each value stands in an array of its own. Between two arrays is a line break between brackets, which no
    JSON holds: in a string a line break is an error, and outside of a string a comma would be missing.
    Therefore, if the whole is well-formed, so is each value. If the whole has as many arrays as there are
    values, each value is one JSON value.

    Raises:
        ValueError: a value is not UTF-8, or may hold the escape of U+0000, which PostgreSQL cannot hold.
            msgspec refuses the escapes of lone surrogates.
    """
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
    """Return the times in UTC. The texts are joined by commas, which no time contains."""
    together = b",".join(raw)
    texts = together.split(b",")
    if max(map(len, texts)) > _ZULU_BYTES_MAX:
        together = b",".join(
            [
                one[:_CUT] + one[_CUT:].lstrip(_DECIMAL_DIGITS) if one[_FRACTION:_CUT].isdigit() else one
                for one in texts
            ]
        )
    offset = texts[0][_OFFSET]
    if offset[0] in _SIGNS and together.count(offset) == len(raw):
        # Most agents write one offset. It is subtracted in less time than `astimezone` takes.
        ahead = _read_times(b"[%b]" % texts[0])[0].utcoffset() or timedelta()
        together = together.replace(offset, _ZULU)
        times = [time - ahead for time in _read_times(b"[%b]" % together)]
    else:
        times = [
            time if time.tzinfo is UTC else time.astimezone(UTC) for time in _read_times(b"[%b]" % together)
        ]
    zulus = together.count(_ZULU) + together.count(b'z"')
    if together.count(b":") != _COLONS * len(raw) + (len(raw) - zulus):
        raise ValueError
    if min(times).year == MINYEAR:
        raise ValueError
    return times


def _interned(versions: Sequence[str | None]) -> list[str]:
    """Return the versions, interned because many events share a few. null counts as absent."""
    try:
        return list(map(sys.intern, versions))  # type: ignore[arg-type]  # None is caught
    except TypeError:
        return [sys.intern(VERSION_DEFAULT if version is None else version) for version in versions]


def _require_shallow(values: Sequence[bytes], metadata: Sequence[bytes]) -> None:
    """Check everything beside the metadata, including metadata that a later member of the name replaces."""
    if max(map(len, values)) - min(map(len, metadata)) <= _PASSED_OVER_BYTES_MAX:
        return
    for place, (value, known) in enumerate(zip(values, metadata, strict=True)):
        if len(value) - len(known) > _PASSED_OVER_BYTES_MAX and (
            _brackets(value) - _brackets(known) > _BRACKETS_MAX
            or (len(value) > len(_LONG_INTEGER) and _LONG_INTEGER in value.translate(_ALIKE))
        ):
            raise _UncommonError(place)


def _brackets(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _common_metadata(raw: list[bytes]) -> list[bytes]:
    """Return the texts of the metadata, if each is an object or null that PostgreSQL can hold.

    Args:
        raw: well-formed JSON of any type. It cannot contain the byte that separates the texts here.
    """
    alike = _PARTING.join(raw).translate(_ALIKE, _IN_NO_NUMBER)
    if any(one[0] != _OPENING for one in raw):
        raw = [_NO_METADATA if one == _NULL else one for one in raw]
        _require_each(raw, lambda one: one[0] == _OPENING)
    if max(map(len, raw)) > METADATA_BYTES_MAX:
        _require_each(raw, lambda one: len(one) <= METADATA_BYTES_MAX)
    if alike.count(_OPENING) > METADATA_DEPTH_MAX:
        _require_each(raw, _depth_is_fine)
    if _MANY_DIGITS in alike or _LARGE_EXPONENT.search(alike):
        _require_each(raw, _numbers_are_fine)
    return raw


def _require_each(raw: Sequence[bytes], is_fine: Callable[[bytes], bool]) -> None:
    for place, one in enumerate(raw):
        if not is_fine(one):
            raise _UncommonError(place)


def _depth_is_fine(raw: bytes) -> bool:
    """Return whether well-formed JSON is nested no deeper than METADATA_DEPTH_MAX."""
    if _brackets(raw) <= METADATA_DEPTH_MAX:
        return True
    if _BACKSLASH in raw:
        raw = _ESCAPED_CHARACTER.sub(b"", raw)
    # Two quotes side by side end a string and begin another, or enclose nothing that counts.
    braces = _STRING.sub(
        b"", raw.translate(_BRACKETS_AS_BRACES, _NEITHER_BRACKET_NOR_QUOTE).replace(b'""', b"")
    )
    depth = 0
    while braces and depth <= METADATA_DEPTH_MAX:
        braces = braces.replace(b"{}", b"")
        depth += 1
    return depth <= METADATA_DEPTH_MAX


def _numbers_are_fine(raw: bytes) -> bool:
    """Return whether all numbers are finite as doubles, and PostgreSQL's `numeric` can hold them."""
    alike = raw.translate(_ALIKE)
    if _LONG_INTEGER in alike or _EXTREME_EXPONENT.search(raw):
        return False
    if _MANY_DIGITS in alike or _LARGE_EXPONENT.search(alike):
        with suppress(msgspec.MsgspecError):  # msgspec refuses a number that is not finite
            _read_any(raw)
            return True
        return False
    return True
