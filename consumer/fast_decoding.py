"""The common event, decoded fast: accept fast, refuse slowly. Pure.

What is accepted here is what `parse_event` accepts, with the same values; a property test holds the two
together. Whatever is not accepted here (an unusual spelling as much as a fault) is left to `parse_event`,
whose verdict and reason stand: this module knows no reasons, and refuses nothing.
"""

import re
from datetime import MINYEAR, UTC, datetime
from typing import Annotated, Final

import msgspec
import orjson
from asyncpg.pgproto.pgproto import UUID

from schemas.pattern_scored import METADATA_DEPTH_MAX, VERSION_CHARACTERS_MAX, Ordered

_Proportion = Annotated[float, msgspec.Meta(ge=0, le=1)]

_UUID_GROUPS_ENDS: Final = slice(8, 24, 5)
"""Where a canonical UUID has its four hyphens."""

# Of what msgspec takes for a time, RFC 3339 has a colon in the offset; more than six digits it rounds off.
_ZULU_BYTES_MAX: Final = len('"2026-01-01T00:00:00.123456Z"')
_OFFSET_BYTES_MAX: Final = len('"2026-01-01T00:00:00.123456+00:00"')

_VALUE_BYTES_MAX: Final = 4096
"""Of what is longer, fetching and storing take most of the time."""

# To look for one byte by its number takes a sixth of what it takes by a string of length one.
_BACKSLASH: Final = ord("\\")
_OPENING: Final = ord("{")
_ZULU: Final = ord("Z")
_COLON: Final = ord(":")

# A double keeps up to 15 digits, whatever they are: those of a number with fewer than 8 on each side of its
# point.
_ALIKE: Final = bytes.maketrans(b"123456789E[", b"000000000e{")
_EXPONENT: Final = b"0e"
_MANY_DIGITS: Final = b"0" * 8

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


class _Fields(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    event_id: str
    pattern_id: str
    quality_score: _Proportion
    confidence: _Proportion
    measurement_timestamp: msgspec.Raw
    version: Annotated[str, msgspec.Meta(max_length=VERSION_CHARACTERS_MAX)] = "1.0.0"
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


_read = msgspec.json.Decoder(_Fields).decode
_read_time = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)]).decode


def decode_fast(value: bytes, *, accepted_until: datetime) -> FastEvent | None:
    """Decode one event from its JSON, or leave it to `parse_event`.

    Args:
        value: the event in UTF-8.
        accepted_until: the latest acceptable measurement time.
    """
    if not _is_common(value):
        return None
    try:
        fields = _read(value)
        metadata_json = _metadata_json(bytes(fields.metadata))
        if metadata_json is None:
            return None
        measured_at = _common_time(bytes(fields.measurement_timestamp))
        if measured_at > accepted_until:
            return None
        return FastEvent(
            _common_uuid(fields.pattern_id),
            _common_uuid(fields.event_id),
            fields.quality_score,
            fields.confidence,
            measured_at,
            fields.version,
            metadata_json,
        )
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return None


def _is_common(value: bytes) -> bool:
    """Whether this is short, UTF-8, and without escapes that may stand for what PostgreSQL cannot hold.

    Of metadata that is given twice msgspec looks at the last; pydantic sees that a number in the other has
    too many digits, which needs more room than this.
    """
    if len(value) > _VALUE_BYTES_MAX or (_BACKSLASH in value and b"\\u" in value):
        return False
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _common_uuid(text: str) -> UUID:
    if text[_UUID_GROUPS_ENDS] != "----":
        raise ValueError
    return UUID(text)


def _common_time(raw: bytes) -> datetime:
    time: datetime = _read_time(raw)
    is_exact = (
        len(raw) <= _ZULU_BYTES_MAX
        if raw[-2] == _ZULU
        else len(raw) <= _OFFSET_BYTES_MAX and raw[-4] == _COLON
    )
    if not is_exact:
        raise ValueError
    in_utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    if in_utc.year == MINYEAR:
        raise ValueError
    return in_utc


def _metadata_json(raw: bytes) -> bytes | None:
    """Metadata as JSON with the values that it has for pydantic.

    Args:
        raw: any JSON; msgspec has seen that it is well-formed.
    """
    alike = raw.translate(_ALIKE)
    if raw[0] != _OPENING or alike.count(_OPENING) > METADATA_DEPTH_MAX:
        return None
    is_plain = alike.find(_EXPONENT) < 0 and alike.find(_MANY_DIGITS) < 0
    return raw if is_plain else _canonical(raw)


def _canonical(raw: bytes) -> bytes | None:
    """Metadata as compact JSON, whose numbers are the shortest for their values."""
    canonical = orjson.dumps(orjson.loads(raw))
    if canonical == raw:
        return raw  # and not the other, of which orjson keeps a kilobyte
    return None if _LONG_NUMBER.search(raw) else canonical
