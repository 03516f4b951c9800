"""Events and records for tests: builders, and strategies for hypothesis."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from pydantic_core import to_json

from pattern_metrics.consumer.records.record import FILE_TOPIC_PREFIX, Accepted, Measured, Mode, mode_of
from pattern_metrics.schemas.pattern_retired import PatternRetired
from pattern_metrics.schemas.pattern_scored import METADATA_BYTES_MAX, METADATA_DEPTH_MAX, PatternScored

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCEPTED_UNTIL = NOW + timedelta(seconds=300)

PATTERN_ID = UUID("7d444840-9dc0-41d1-b245-5ffdce74fad2")
EVENT_ID = UUID("0197a6d2-5c1f-7b3a-8a53-1c9de07d5b11")

REQUIRED = ("event_id", "pattern_id", "quality_score", "confidence", "measurement_timestamp")

DIGITS_MAX = 4300
"""Python's own limit on the digits of an integer in text, which is the parser's too."""


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """A record in the form that the consumer gets."""

    value: bytes | None = None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    offset: int = 0
    partition: int = 0
    topic: str = "pattern-scored.v1"
    timestamp: int = 1_767_225_600_000

    @property
    def mode(self) -> Mode:
        return "line" if self.topic.startswith(FILE_TOPIC_PREFIX) else mode_of(self.headers)


def fields(**changes: Any) -> dict[str, Any]:
    """Return the fields of a valid event, as JSON has them."""
    return {
        "event_id": str(EVENT_ID),
        "pattern_id": str(PATTERN_ID),
        "quality_score": 0.75,
        "confidence": 0.5,
        "measurement_timestamp": "2025-06-01T12:00:00Z",
        **changes,
    }


def value(**changes: Any) -> bytes:
    """Return the JSON of a valid event, with changed or additional fields."""
    return json.dumps(fields(**changes)).encode()


def value_without(*names: str) -> bytes:
    """Return the JSON of a valid event that lacks these fields."""
    return json.dumps({name: content for name, content in fields().items() if name not in names}).encode()


def value_with_raw(field: str, text: str | bytes) -> bytes:
    """Return an event's JSON in which a field has exactly this text, which `json.dumps` may not write."""
    placeholder = "to be replaced"
    raw = text.encode() if isinstance(text, str) else text
    return value(**{field: placeholder}).replace(json.dumps(placeholder).encode(), raw)


def nested(levels: int) -> dict[str, Any]:
    """Return metadata with this many levels, alternating objects and lists."""
    inner: Any = {} if levels % 2 else []
    for level in range(levels - 1, 0, -1):
        inner = {"a": inner} if level % 2 else [inner]
    assert isinstance(inner, dict)
    return inner


def event(**changes: Any) -> PatternScored:
    """Return a valid event."""
    return PatternScored.model_validate_json(value(**changes))


def as_scored(decoded: Measured | PatternRetired) -> PatternScored:
    """Return a decoded measurement as the model, whichever decoder made it."""
    assert not isinstance(decoded, PatternRetired)
    return PatternScored(
        event_id=decoded.event_id,
        pattern_id=decoded.pattern_id,
        quality_score=decoded.quality_score,
        confidence=decoded.confidence,
        measurement_timestamp=decoded.measurement_timestamp,
        version=decoded.version,
        metadata=json.loads(decoded.metadata_json),
    )


def accepted(scored: PatternScored, offset: int = 0) -> Accepted:
    """Return an event in its record."""
    return Accepted(TopicRecord(scored.to_json(), offset=offset), scored)


# Strategies for anything that an accepted event may hold

storable_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))

_largest = 10**DIGITS_MAX - 1

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([_largest, -_largest, 2**63, 2**64, 5e-324, 1.7976931348623157e308, 1e23, -0.0])
    | st.floats(allow_nan=False, allow_infinity=False)
    | storable_text
)


def _wrap(levels: int, scalar: Any) -> Any:
    for level in range(levels):
        scalar = [scalar] if level % 2 else {"": scalar}
    return scalar


_deep = st.builds(_wrap, st.integers(1, METADATA_DEPTH_MAX - 1), _scalars)

_json_values = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(storable_text, inner), max_leaves=20
)

metadata = st.dictionaries(storable_text, _json_values | _deep, max_size=6).filter(
    lambda content: len(to_json(content)) <= METADATA_BYTES_MAX
)

_offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))

# Year 1 is left out, so that an offset cannot leave the range.
timestamps = st.datetimes(datetime(2, 1, 1), datetime(2025, 12, 30), timezones=_offsets)  # noqa: DTZ001

proportions = st.floats(0, 1)

events = st.builds(
    PatternScored,
    event_id=st.uuids(),
    pattern_id=st.uuids(),
    quality_score=proportions,
    confidence=proportions,
    measurement_timestamp=timestamps,
    version=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=64),
    metadata=metadata,
)

# Few identities, so that patterns, times and ids collide

FEW_PATTERNS = tuple(UUID(int=number) for number in (1, 2, 3))
FEW_TIMES = tuple(NOW - timedelta(microseconds=number) for number in (2, 1, 0))
FEW_IDS = tuple(UUID(int=number) for number in (0, 1, 2**127, 2**128 - 1))
"""The smallest id (of a row from before events had ids), and one on either side of the sign bit."""


def measurement(pattern: UUID, time: datetime, event_id: UUID, version: str = "1.0.0") -> PatternScored:
    """Return the event of this identity. Its content follows from it, as an id names one measurement."""
    identity = FEW_TIMES.index(time) * len(FEW_IDS) + FEW_IDS.index(event_id)
    return PatternScored(
        event_id=event_id,
        pattern_id=pattern,
        quality_score=identity / (len(FEW_TIMES) * len(FEW_IDS)),
        confidence=0.5,
        measurement_timestamp=time,
        version=version,
        metadata={"identity": identity},
    )


colliding_events = st.builds(
    measurement, st.sampled_from(FEW_PATTERNS), st.sampled_from(FEW_TIMES), st.sampled_from(FEW_IDS)
)
