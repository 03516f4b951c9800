"""The records of events, and the outcome of each after an attempt to publish it. It needs no Kafka client."""

from dataclasses import dataclass
from typing import TypeAlias

from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, Ordered, PatternScored

Headers: TypeAlias = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """A record as Kafka stores it."""

    key: bytes
    value: bytes
    headers: Headers

    @property
    def size(self) -> int:
        """Its bytes without compression, at most."""
        headers = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.key) + len(self.value) + headers + 40


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """All in-sync replicas have the record, at this place."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker will never accept this record."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """The record may have arrived. The reason does not lie in the record, so a later attempt may succeed."""

    error: Exception


Outcome: TypeAlias = Acknowledged | Refused | Unacknowledged


def encode(event: PatternScored, source: str, headers: Headers) -> EncodedRecord:
    """Return the record of an event.

    Args:
        event: the event.
        source: the CloudEvents `source`, a URI reference that names the agent.
        headers: further headers.
    """
    key = str(event.pattern_id).encode()
    return EncodedRecord(key, event.to_json(), [*cloud_event_headers(event, source), *headers])


def cloud_event_headers(event: Ordered, source: str) -> Headers:
    """Return the event's attributes as headers: CloudEvents 1.0, Kafka protocol binding, binary mode."""
    return [
        ("content-type", b"application/json"),
        ("ce_type", EVENT_TYPE.encode()),  # these two first: a reader needs no other header
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event.event_id).encode()),
        ("ce_source", source.encode()),
        ("ce_time", event.measurement_timestamp.isoformat().encode()),
    ]
