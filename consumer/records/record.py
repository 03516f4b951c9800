"""A record and its fate: the types that all code between the topic and the table shares."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, Protocol, TypeAlias
from uuid import UUID

import msgspec

from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_retired import RETIRED_TYPE, PatternRetired
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, STRUCTURED_CONTENT_TYPE

Mode: TypeAlias = Literal["plain", "structured", "retirement", "foreign", "line"]
"""The way to read a value, by the record's headers and its topic.

plain: the value is the event. structured: it is a CloudEvents envelope. retirement: a header says that the
event is a retirement. foreign: the value is not read, because a header names another type of event. line: it
is a line of a file.
"""

FILE_TOPIC_PREFIX: Final = "file:"
"""Prefix of the topic of a record that is a line of a file. No Kafka topic can have such a name."""

CONTENT_TYPE: Final = "content-type"
_EVENT_TYPE: Final = "ce_type"

_QUOTES_AND_SPACE: Final = b"\"' \t"
_STRUCTURED: Final = STRUCTURED_CONTENT_TYPE.encode()


class Record(Protocol):
    """A record as Kafka holds it."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def partition(self) -> int:
        """The partition's number."""

    @property
    def offset(self) -> int:
        """The record's offset in its partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch; -1 if the record has none."""

    @property
    def key(self) -> bytes | None:
        """The exact bytes of the key."""

    @property
    def value(self) -> bytes | None:
        """The exact bytes of the value; None for a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Names and values, in order; a name may occur more than once."""

    @property
    def mode(self) -> Mode:
        """The way to read the value, see `mode_of`."""


class Event(Protocol):
    """The parts that each valid event has, a measurement or a retirement."""

    @property
    def pattern_id(self) -> UUID:
        """The pattern that was scored or retired."""

    @property
    def event_id(self) -> UUID:
        """The id of the event."""

    @property
    def measurement_timestamp(self) -> datetime:
        """The time of the measurement or of the retirement, in UTC."""

    @property
    def metadata_json(self) -> bytes:
        """The metadata as compact JSON in UTF-8."""

    @property
    def order(self) -> tuple[datetime, UUID]:
        """The sort key that decides between events of one pattern (see `schemas.pattern_scored.Ordered`)."""

    def supersedes(self, other: Any) -> bool:  # noqa: ANN401 - an event of any class
        """Return whether this event's order is the greater one."""


class Measured(Event, Protocol):
    """The parts of a measurement that the table needs (`PatternScored` is one)."""

    @property
    def quality_score(self) -> float:
        """The score, from 0 to 1."""

    @property
    def confidence(self) -> float:
        """The scorer's confidence, from 0 to 1."""

    @property
    def version(self) -> str:
        """The scorer's version."""


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A record that holds a valid measurement."""

    record: Record
    event: Measured


@dataclass(frozen=True, slots=True)
class Retired:
    """A record that holds a valid retirement."""

    record: Record
    event: PatternRetired


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that becomes a dead letter. `detail` is for a person, and PostgreSQL can store it as text."""

    record: Record
    reason: RejectReason
    detail: str


Fate: TypeAlias = Accepted | Retired | Rejected
"""The outcome of a record, as far as it is known without the database."""


def mode_of(headers: Iterable[tuple[str, bytes | None]]) -> Mode:
    """Return how the headers say to read the value, by CloudEvents' Kafka protocol binding.

    The first content-type and the first ce_type that are not empty count. The case of the headers' names is
    ignored, because some clients write them as HTTP does.
    """
    content_type = event_type = b""
    for name, value in headers:
        if not value:
            continue
        if not content_type and len(name) == len(CONTENT_TYPE) and name.lower() == CONTENT_TYPE:
            content_type = value
        elif not event_type and len(name) == len(_EVENT_TYPE) and name.lower() == _EVENT_TYPE:
            event_type = value
        else:
            continue
        if content_type and event_type:
            break
    return _mode(content_type, event_type)


def declared_type(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """Return the type that the header ce_type names, by the rules of `mode_of`; None if it names none."""
    types = (value for name, value in headers if value and name.lower() == _EVENT_TYPE)
    return next(types, b"").strip(_QUOTES_AND_SPACE).decode(errors="replace") or None


@lru_cache(maxsize=256)  # few combinations, many records
def _mode(content_type: bytes, event_type: bytes) -> Mode:
    if (name := event_type.strip(_QUOTES_AND_SPACE)) not in (b"", EVENT_TYPE.encode()):
        return "retirement" if name == RETIRED_TYPE.encode() else "foreign"
    is_structured = content_type.lstrip(_QUOTES_AND_SPACE).lower().startswith(_STRUCTURED)
    return "structured" if is_structured else "plain"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record that does not come from a consumer: a line of a file, or a dead letter."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()

    @property
    def mode(self) -> Mode:
        """The way to read the value."""
        return "line" if self.topic.startswith(FILE_TOPIC_PREFIX) else mode_of(self.headers)
