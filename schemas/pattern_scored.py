"""The event `PatternScored` v1: its fields, its rules, its order."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from math import isinf, isnan
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Protocol, Self, TypeVar
from uuid import UUID

import msgspec
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails, PydanticCustomError, from_json, to_json

from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.event_limits import VERSION_CHARACTERS_MAX, VERSION_DEFAULT
from pattern_metrics.schemas.measurement_id import derived_id

EVENT_TYPE: Final = "pattern.scored.v1"
"""The CloudEvents `type` of the event; also the stem of the default topic's name."""

STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json"
"""CloudEvents Kafka binding, structured mode: the event travels under `data` or `data_base64`."""

METADATA_BYTES_MAX: Final = 64 * 1024
"""Largest metadata, as JSON in UTF-8, as it was sent."""

METADATA_DEPTH_MAX: Final = 100
"""Deepest nesting inside metadata; well below what the JSON parser and `jsonb` can take."""

DECIMALS_MAX: Final = 16383
"""Most digits after the decimal point of a number that PostgreSQL's `numeric`, and so `jsonb`, can hold."""

DIMENSIONS: Final = ("completeness", "documentation", "compliance", "metadata_richness", "complexity")
"""The scorer's own dimensions, each a column of the view `pattern_quality_current`."""

JSON_DEPTH_MAX: Final = 200
"""Deepest nesting of a whole value, ignored fields included.

It is the JSON parser's own limit, which does not count an innermost empty list or object.
"""

# RFC 3339, section 5.6: the offset is not optional, and a number is not a time.
_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", flags=re.ASCII
)


_ZERO_TIME: Final = datetime.min.replace(tzinfo=UTC)
"""Go's zero time, which means that nobody set a time. asyncpg would store it as minus infinity."""


def _require_rfc3339(value: Any) -> Any:  # noqa: ANN401 - whatever the JSON held
    text_is_wrong = isinstance(value, str) and not _RFC3339.fullmatch(value)
    if text_is_wrong or not isinstance(value, (str, datetime)):
        raise PydanticCustomError(
            RejectReason.INVALID_FIELD, "is not an RFC 3339 date and time with an offset"
        )
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        in_utc = value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError(
            RejectReason.OUT_OF_RANGE, "lies outside the years 0001 to 9999 in UTC"
        ) from None
    if in_utc == _ZERO_TIME:
        raise PydanticCustomError(RejectReason.OUT_OF_RANGE, "is the zero time, which nobody measured at")
    return in_utc


def require_storable_text(value: str) -> str:
    """Return a text that PostgreSQL can store; else the field at fault is refused."""
    if "\0" in value:
        raise PydanticCustomError(RejectReason.UNSTORABLE_TEXT, "holds U+0000")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PydanticCustomError(RejectReason.UNSTORABLE_TEXT, "holds a lone surrogate") from None
    return value


def _require_storable(value: JsonValue, depth: int = 0) -> None:
    """Refuse values that `jsonb` cannot hold: U+0000, lone surrogates, non-finite numbers, deep nesting."""
    if isinstance(value, str):
        require_storable_text(value)
    elif isinstance(value, float):
        if isnan(value) or isinf(value):
            raise PydanticCustomError(RejectReason.OUT_OF_RANGE, "holds a number that is not finite")
    elif isinstance(value, (dict, list)):
        if depth == METADATA_DEPTH_MAX:
            raise PydanticCustomError(
                RejectReason.TOO_DEEP, "is nested deeper than {limit} levels", {"limit": METADATA_DEPTH_MAX}
            )
        children = [*value, *value.values()] if isinstance(value, dict) else value
        for child in children:
            _require_storable(child, depth + 1)


def _require_storable_metadata(value: dict[str, JsonValue], info: ValidationInfo) -> dict[str, JsonValue]:
    _require_storable(value)
    if info.mode == "python":  # `parse_event` checks the text of JSON
        _require_small(to_json(value))
    return value


def _require_small(text: bytes) -> None:
    if len(text) > METADATA_BYTES_MAX:
        raise PydanticCustomError(
            RejectReason.TOO_LARGE, "is larger than {limit} bytes as JSON", {"limit": METADATA_BYTES_MAX}
        )


_EXPONENT_END: Final = 2**30 - 1
"""PostgreSQL reads no exponent as great as this, not even of zero."""

_EXTREME_NUMBER: Final = re.compile(rb"[0-9]{%d}|[eE][+-]?[0-9]{5}" % (DECIMALS_MAX - 9999))
"""Matches in each finite number that `numeric` cannot hold, and in some other texts."""


def _require_storable_numbers(text: bytes) -> None:
    if _EXTREME_NUMBER.search(text):
        json.loads(text, parse_float=_require_numeric)


def _require_numeric(number: str) -> None:
    try:
        decimals = -int(Decimal(number).as_tuple().exponent)
    except ArithmeticError:  # the exponent is far beyond the limit
        decimals = DECIMALS_MAX + 1
    if decimals > DECIMALS_MAX or int(number.lower().partition("e")[2] or 0) >= _EXPONENT_END:
        raise PydanticCustomError(
            RejectReason.OUT_OF_RANGE,
            "holds a number that PostgreSQL cannot hold: at most {limit} digits after the decimal point",
            {"limit": DECIMALS_MAX},
        )


Proportion = Annotated[float, Field(ge=0, le=1)]

Timestamp = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_require_rfc3339), AfterValidator(_to_utc)
]


def _version(value: Any) -> Any:  # noqa: ANN401 - whatever the JSON held
    return VERSION_DEFAULT if value is None else value


def _metadata(value: Any) -> Any:  # noqa: ANN401 - whatever the JSON held
    return {} if value is None else value


Metadata = Annotated[
    dict[str, JsonValue], AfterValidator(_require_storable_metadata), BeforeValidator(_metadata)
]


class _HasOrder(Protocol):
    @property
    def event_id(self) -> UUID: ...

    @property
    def measurement_timestamp(self) -> datetime: ...


class Ordered:
    """The order of events and rows. It decides which of two events of a pattern is kept.

    `measurement_timestamp` is the time of a measurement, and of a retirement its `retired_at`.

    SQL statements use the same order as the function `pattern_metrics_supersedes` (revision 020).
    """

    __slots__ = ()

    if TYPE_CHECKING:  # else pydantic would take them for fields
        pattern_id: UUID
        event_id: UUID
        measurement_timestamp: datetime

    @property
    def order(self) -> tuple[datetime, UUID]:
        """The sort key: of two events of one pattern, the event with the greater key supersedes the other.

        PostgreSQL compares `uuid` by its bytes, as Python does, so the order is the same on both sides.
        """
        return self.measurement_timestamp, self.event_id

    def supersedes(self, other: "_HasOrder") -> bool:
        """Return whether this event's order is greater. It runs once per record, so it builds no tuples."""
        measured, before = self.measurement_timestamp, other.measurement_timestamp
        return measured > before if measured != before else self.event_id > other.event_id


class Measurement(BaseModel):
    """A measurement that an agent made, before it has an `event_id`.

    A reader is tolerant: unknown top-level fields are ignored.
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True
    )

    pattern_id: UUID = Field(
        description="The pattern that was scored, as a UUID of 36 characters. The record's key is its "
        "canonical lower-case form."
    )
    quality_score: Proportion = Field(description="How good the pattern is, from 0 (worst) to 1 (best).")
    confidence: Proportion = Field(description="How far the scorer trusts its own score, from 0 to 1.")
    measurement_timestamp: Timestamp = Field(
        description="When the pattern was measured: RFC 3339 with an offset of hours, colon and minutes, in "
        "the years 0001 to 9999 of UTC, without a leap second. Fractions beyond microseconds are cut off. Of "
        "two events of one pattern the one with the greater (measurement_timestamp, event_id) supersedes the "
        "other. A time further in the future than the consumer's MAX_CLOCK_SKEW_SECONDS (300) is refused, as "
        "is 0001-01-01T00:00:00Z, the zero time of Go."
    )
    version: Annotated[
        str,
        Field(max_length=VERSION_CHARACTERS_MAX),
        AfterValidator(require_storable_text),
        BeforeValidator(_version),
    ] = Field(
        default=VERSION_DEFAULT,
        description="The scorer's version. null counts as absent.",
    )
    metadata: Metadata = Field(
        default={},
        description=f"Anything: at most {METADATA_BYTES_MAX} bytes of JSON as it is sent, at most "
        f"{METADATA_DEPTH_MAX} levels deep, no U+0000, no lone surrogate, no number beyond a double. It is "
        "kept as it is sent, numbers with all their digits. null counts as absent. The page, the view "
        "pattern_quality_current and the export read these members, if they are there: name (a string for "
        "people, such as module:function) and dimensions, an object with the numbers from 0 to "
        f"1 {', '.join(DIMENSIONS)}.",
    )


class EventModel(Ordered):
    """The parts of an event that do not depend on its kind. Each kind is a pydantic model."""

    __slots__ = ()

    EVENT_TYPE: ClassVar[str]
    """The CloudEvents `type` of the kind."""

    TIME_FIELD: ClassVar[str]
    """The field with the event's time."""

    if TYPE_CHECKING:  # as above
        metadata: dict[str, JsonValue]

    @property
    def metadata_json(self) -> bytes:
        """The metadata as JSON in UTF-8: as it was sent if `parse_event` read the event, else compact."""
        metadata, text = self.__dict__.get(_AS_SENT, (None, b""))
        return text if metadata is self.metadata else to_json(self.metadata)

    def to_json(self) -> bytes:
        """Return the record's value: the event as one JSON object in UTF-8."""
        others = self.__pydantic_serializer__.to_json(self, exclude=_METADATA)  # type: ignore[attr-defined]
        return b'%b,"metadata":%b}' % (others[:-1], self.metadata_json)


class PatternScored(EventModel, Measurement):
    """One measurement of one pattern's quality."""

    EVENT_TYPE: ClassVar[str] = EVENT_TYPE
    TIME_FIELD: ClassVar[str] = "measurement_timestamp"

    event_id: UUID = Field(
        description="Names the measurement, as a UUID of 36 characters. A retry of one publish repeats it."
    )

    @classmethod
    def from_measurement(cls, measurement: Measurement) -> Self:
        """Derive the event's id from the measurement's content, so that publishing it twice is a retry."""
        return cls(event_id=id_from(measurement), **dict(measurement))


_METADATA: Final = {"metadata"}

_AS_SENT: Final = "_metadata_as_sent"
"""The key of the text of an event's metadata. It is not a field, because pydantic compares fields."""


class _Sent(msgspec.Struct, gc=False):
    metadata: msgspec.Raw = msgspec.Raw(b"null")


_read_sent: Final = msgspec.json.Decoder(_Sent).decode


def _metadata_as_sent(value: bytes, metadata: Mapping[str, JsonValue]) -> bytes:
    """Return the text of the metadata in an event that the model has accepted.

    The model accepts NaN in a field that it ignores, although NaN is not JSON. The text of such an event is
    made from the model's `metadata`.

    Raises:
        InvalidEventError: the text is too large, or holds a number that PostgreSQL cannot hold.
    """
    text = b"null"
    with suppress(msgspec.MsgspecError, RecursionError):
        text = bytes(_read_sent(value).metadata)
    if text == b"null":
        text = to_json(metadata)
    try:
        _require_small(text)
        _require_storable_numbers(text)
    except PydanticCustomError as error:
        reason = RejectReason(error.type)
        raise InvalidEventError(reason, f"metadata: {error.message()}", "metadata") from None
    return text


EventT = TypeVar("EventT", bound=EventModel)


class _Unnamed(BaseModel):
    """An event without an id. `event_id` may be null, as in the export of a table."""

    event_id: None = None


def parse_event(value: bytes, *, accepted_until: datetime) -> PatternScored:
    """Read one measurement from its JSON.

    Raises:
        InvalidEventError: see `parse_as`.
    """
    return parse_as(PatternScored, value, accepted_until=accepted_until)


def parse_as(kind: type[EventT], value: bytes, *, accepted_until: datetime) -> EventT:
    """Read one event of a kind from its JSON.

    Args:
        kind: the model.
        value: the event in UTF-8.
        accepted_until: the latest acceptable time; a later one would pin its row for good.

    Raises:
        InvalidEventError: carries the reason and the fields at fault, and none of their values.
    """
    try:
        event = kind.model_validate_json(value)  # type: ignore[attr-defined]
    except ValidationError as error:
        raise _refusal(value, error) from None
    return _accepted(event, value, accepted_until)  # type: ignore[no-any-return]


def _accepted(event: EventT, value: bytes, accepted_until: datetime) -> EventT:
    """Return a valid event with the text of its metadata, if neither its time nor this text forbids it."""
    require_past(event, accepted_until=accepted_until)
    event.__dict__[_AS_SENT] = event.metadata, _metadata_as_sent(value, event.metadata)
    return event


def read_json(value: bytes) -> JsonValue:
    """Read JSON by the rules of `parse_event`; the value may be of any JSON type.

    Returns:
        The JSON value. It may hold numbers that are not finite; `parse_event` refuses these.

    Raises:
        InvalidEventError: the value is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        content: JsonValue = from_json(value)
    except ValueError as error:
        raise _unreadable(value, f"Invalid JSON: {error}") from None
    return content


def require_past(event: EventModel, *, accepted_until: datetime) -> None:
    """Check that the time of an event is not after `accepted_until`.

    Raises:
        InvalidEventError: its time is later, so that nothing would supersede it.
    """
    if event.measurement_timestamp > accepted_until:
        field = event.TIME_FIELD
        detail = f"{field} lies after {accepted_until.isoformat()}"
        raise InvalidEventError(RejectReason.TIMESTAMP_IN_FUTURE, detail, field)


def parse_line_as(
    kind: type[EventT], content: type[BaseModel], value: bytes, *, accepted_until: datetime
) -> EventT:
    """Read one event of a kind. If `event_id` is missing or null, it is derived from the content.

    Args:
        kind: see `parse_as`.
        content: the model of the kind's fields without `event_id`.
        value: see `parse_as`.
        accepted_until: see `parse_as`.

    Raises:
        InvalidEventError: see `parse_as`.
    """
    try:
        _Unnamed.model_validate_json(value)
    except ValidationError:
        return parse_as(kind, value, accepted_until=accepted_until)
    try:
        unnamed = content.model_validate_json(value)
    except ValidationError as error:
        raise _refusal(value, error) from None
    event = kind.model_construct(event_id=id_from(unnamed), **dict(unnamed))  # type: ignore[attr-defined]
    return _accepted(event, value, accepted_until)  # type: ignore[no-any-return]


def id_from(content: BaseModel) -> UUID:
    """Return the `event_id` that is derived from the content of an event."""
    return derived_id(content.model_dump(mode="json"))


_TOO_DEEP_TO_READ: Final = "recursion limit exceeded"
"""The strict parser's message for more than JSON_DEPTH_MAX levels, at any place in the value."""

_STRING_OR_BRACKET: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{\]}]', flags=re.DOTALL)

_REASON_OF_ERROR_TYPE: Final = {
    "missing": RejectReason.MISSING_FIELD,
    "model_type": RejectReason.NOT_AN_OBJECT,
    "finite_number": RejectReason.OUT_OF_RANGE,
    "greater_than_equal": RejectReason.OUT_OF_RANGE,
    "less_than_equal": RejectReason.OUT_OF_RANGE,
    **{str(reason): reason for reason in RejectReason},
}


def _refusal(value: bytes, error: ValidationError) -> InvalidEventError:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    first = errors[0]
    if first["type"] == "json_invalid":
        return _unreadable(value, first["msg"])
    reason = _REASON_OF_ERROR_TYPE.get(first["type"], RejectReason.INVALID_FIELD)
    field = next(map(str, first["loc"]), None)
    return InvalidEventError(reason, "; ".join(_describe(error) for error in errors[:5]), field)


def _describe(error: ErrorDetails) -> str:
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else error["msg"]


def _unreadable(value: bytes, message: str) -> InvalidEventError:
    """Find out with a lenient parser why the strict parser could not read a value."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        return InvalidEventError(RejectReason.INVALID_UTF8, f"{error.reason} at byte {error.start}")
    if text.startswith("\ufeff"):
        return InvalidEventError(RejectReason.INVALID_JSON, "a byte order mark (BOM) goes before the JSON")
    # Check the depth before using the lenient parser, whose own limit is the interpreter's.
    if _TOO_DEEP_TO_READ in message or json_depth(text) > JSON_DEPTH_MAX:
        return InvalidEventError(RejectReason.TOO_DEEP, f"is nested deeper than {JSON_DEPTH_MAX} levels")
    try:
        _require_storable(json.loads(text, parse_int=float))
    except PydanticCustomError as error:
        return InvalidEventError(RejectReason(error.type), f"the value {error.message()}")
    except ValueError:
        return InvalidEventError(RejectReason.INVALID_JSON, message)
    return InvalidEventError(RejectReason.OUT_OF_RANGE, "a number has too many digits")


def json_depth(text: str) -> int:
    """Return how deeply brackets outside of strings are nested. The text need not be JSON."""
    depth = deepest = 0
    for found in _STRING_OR_BRACKET.findall(text):
        if found in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found in "]}":
            depth -= 1
    return deepest
