"""A record and its fate: the vocabulary of everything between the topic and the table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import msgspec

from pattern_metrics.schemas.dead_letter import RejectReason

_CONTENT_TYPE: Final = "content-type"


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
    def content_type(self) -> bytes | None:
        """That of the headers, see `content_type_of`."""


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


def content_type_of(headers: Iterable[tuple[str, bytes | None]]) -> bytes | None:
    """The media type of the value, by which CloudEvents' Kafka protocol binding tells the content mode.

    Headers' names are compared whatever their case: they are those of HTTP, and some clients write them so.
    """
    for name, value in headers:
        if value is not None and (name == _CONTENT_TYPE or name.lower() == _CONTENT_TYPE):
            return value
    return None


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
    def content_type(self) -> bytes | None:
        """That of the headers, see `content_type_of`."""
        return content_type_of(self.headers)
