"""Bytes → event or dead letter. Pure: no I/O, no clock."""

from datetime import datetime
from typing import Final

from consumer.fast_decoding import decode_fast
from consumer.records import Accepted, Record, Rejected, storable_text
from schemas.dead_letter import InvalidEventError, RejectReason
from schemas.pattern_scored import STRUCTURED_CONTENT_TYPE, parse_event, parse_measurement

FILE_TOPIC_PREFIX: Final = "file:"
"""Begins the topic of what is a line of a file; no Kafka topic can have such a name."""

_CONTENT_TYPE: Final = "content-type"
_CONTENT_TYPE_CHARACTERS: Final = len(_CONTENT_TYPE)
_STRUCTURED: Final = STRUCTURED_CONTENT_TYPE.encode()

_REGISTRY_PREFIX_BYTES: Final = 5
"""Schema registry wire format: a zero byte and four bytes of schema id before the JSON."""


def decode(record: Record, *, accepted_until: datetime) -> Accepted | Rejected:
    """Decide a record's fate as far as it can be decided without the database.

    Args:
        record: what Kafka delivered, whose key and CloudEvents attributes are not needed; or a line of a
            file, which may lack its `event_id`.
        accepted_until: the latest acceptable measurement time.
    """
    if record.value is None:
        return Rejected(record, RejectReason.TOMBSTONE, "the record has no value")
    is_line = record.topic.startswith(FILE_TOPIC_PREFIX)
    value = record.value if is_line else without_registry_prefix(record.value)
    structured = is_structured(record)
    event = None if structured else decode_fast(value, accepted_until=accepted_until)
    if event is not None:
        return Accepted(record, event)
    try:
        if is_line:
            return Accepted(record, parse_measurement(value, accepted_until=accepted_until))
        return Accepted(record, parse_event(value, accepted_until=accepted_until, structured=structured))
    except InvalidEventError as error:
        return Rejected(record, error.reason, storable_text(error.detail))


def without_registry_prefix(value: bytes) -> bytes:
    """The value without the schema registry's prefix, which is no part of the event."""
    if len(value) >= _REGISTRY_PREFIX_BYTES and value[0] == 0:
        return value[_REGISTRY_PREFIX_BYTES:]
    return value


def is_structured(record: Record) -> bool:
    """Whether the event lies under `data` of a CloudEvents envelope, by the record's headers."""
    for name, value in record.headers:
        if value is not None and len(name) == _CONTENT_TYPE_CHARACTERS and name.lower() == _CONTENT_TYPE:
            return len(value) >= len(_STRUCTURED) and value.lower().startswith(_STRUCTURED)
    return False
