"""The records of events, and the outcome of each after an attempt to publish it. It needs no Kafka client."""

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from pattern_metrics.schemas.pattern_retired import RETIRED_TYPE, PatternEvent
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, Ordered

Headers: TypeAlias = list[tuple[str, bytes]]


_HEADERS_OF_ALL: Final[dict[str, Headers]] = {
    event_type: [
        ("content-type", b"application/json"),
        ("ce_type", event_type.encode()),  # these two first: a reader needs no other header
        ("ce_specversion", b"1.0"),
    ]
    for event_type in (EVENT_TYPE, RETIRED_TYPE)
}


class EncodedRecord(NamedTuple):
    """A record as Kafka stores it.

    Attributes:
        key: its key.
        value: its value.
        headers: its headers.
        size: its bytes without compression, at most.
    """

    key: bytes
    value: bytes
    headers: Headers
    size: int


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


def encode(event: PatternEvent, source: str, headers: Headers) -> EncodedRecord:
    """Return the record of an event.

    Args:
        event: the event.
        source: the CloudEvents `source`, a URI reference that names the agent.
        headers: further headers.
    """
    return record_of(event, event.to_json(), source, headers, event.EVENT_TYPE)


def record_of(
    event: Ordered, value: bytes, source: str, headers: Headers, event_type: str = EVENT_TYPE
) -> EncodedRecord:
    """Return the record of an event whose value is encoded already."""
    key = str(event.pattern_id).encode()
    headers = [*cloud_event_headers(event, source, event_type), *headers]
    size = len(key) + len(value) + 40 + sum([len(name) + len(text) + 4 for name, text in headers])
    return EncodedRecord(key, value, headers, size)


def cloud_event_headers(event: Ordered, source: str, event_type: str = EVENT_TYPE) -> Headers:
    """Return the event's attributes as headers: CloudEvents 1.0, Kafka protocol binding, binary mode."""
    return [
        *_HEADERS_OF_ALL[event_type],
        ("ce_id", str(event.event_id).encode()),
        ("ce_source", source.encode()),
        ("ce_time", event.measurement_timestamp.isoformat().encode()),
    ]
