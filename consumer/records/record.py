"""A record and its fate: the vocabulary of everything between the topic and the table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, Protocol, TypeAlias
from uuid import UUID

import msgspec

from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, STRUCTURED_CONTENT_TYPE

Mode: TypeAlias = Literal["plain", "structured", "foreign", "line"]
"""How to read a value: as it is, as a CloudEvents envelope, not at all (a header names another type), or as a
line of a file.
"""

FILE_TOPIC_PREFIX: Final = "file:"
"""Begins the topic of what is a line of a file; no Kafka topic can have such a name."""

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
        """The record's place in its partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch; -1 where the record has none."""

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
        """How the value is to be read, see `mode_of`."""


class Event(Protocol):
    """What the table needs of a valid event (`PatternScored` is one)."""

    @property
    def pattern_id(self) -> UUID:
        """The pattern that was scored."""

    @property
    def event_id(self) -> UUID:
        """Names the measurement."""

    @property
    def quality_score(self) -> float:
        """From 0 to 1."""

    @property
    def confidence(self) -> float:
        """From 0 to 1."""

    @property
    def measurement_timestamp(self) -> datetime:
        """When the pattern was measured, in UTC."""

    @property
    def version(self) -> str:
        """The scorer's."""

    @property
    def metadata_json(self) -> bytes:
        """The metadata as compact JSON in UTF-8."""

    @property
    def order(self) -> tuple[datetime, UUID]:
        """What decides between two events of one pattern (see `schemas.pattern_scored.Ordered`)."""

    def supersedes(self, other: Any) -> bool:  # noqa: ANN401 - an event of any class
        """Whether its order is the greater one."""


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A record that holds a valid event."""

    record: Record
    event: Event


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that becomes a dead letter; `detail` is for a person and always storable as text."""

    record: Record
    reason: RejectReason
    detail: str


Fate: TypeAlias = Accepted | Rejected
"""What becomes of a record, as far as it can be told without the database."""


def mode_of(headers: Iterable[tuple[str, bytes | None]]) -> Mode:
    """Tell what the headers say of the value, by CloudEvents' Kafka protocol binding.

    The first content-type and the first ce_type that are not empty count. Headers' names are compared
    whatever their case: they are those of HTTP, and some clients write them so.
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


@lru_cache(maxsize=256)  # a few, of many records
def _mode(content_type: bytes, event_type: bytes) -> Mode:
    if event_type.strip(_QUOTES_AND_SPACE) not in (b"", EVENT_TYPE.encode()):
        return "foreign"
    is_structured = content_type.lstrip(_QUOTES_AND_SPACE).lower().startswith(_STRUCTURED)
    return "structured" if is_structured else "plain"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record that does not come from a consumer: a line of a file, a dead letter."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()

    @property
    def mode(self) -> Mode:
        """How the value is to be read."""
        return "line" if self.topic.startswith(FILE_TOPIC_PREFIX) else mode_of(self.headers)
