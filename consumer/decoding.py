"""Bytes → event or dead letter. Pure: no I/O, no clock."""

from datetime import datetime
from typing import Final

from consumer.records import Accepted, Record, Rejected, storable_text
from schemas.dead_letter import InvalidEventError, RejectReason
from schemas.pattern_scored import STRUCTURED_CONTENT_TYPE, parse_event

_REGISTRY_PREFIX_BYTES: Final = 5
"""Schema registry wire format: a zero byte and four bytes of schema id before the JSON."""


def decode(record: Record, *, accepted_until: datetime) -> Accepted | Rejected:
    """Decide a record's fate as far as it can be decided without the database.

    Args:
        record: what Kafka delivered; its key and CloudEvents attributes are not needed.
        accepted_until: the latest acceptable measurement time.
    """
    if record.value is None:
        return Rejected(record, RejectReason.TOMBSTONE, "the record has no value")
    value = record.value
    if value[:1] == b"\0" and len(value) >= _REGISTRY_PREFIX_BYTES:
        value = value[_REGISTRY_PREFIX_BYTES:]
    try:
        event = parse_event(value, accepted_until=accepted_until, structured=_is_structured(record))
    except InvalidEventError as error:
        return Rejected(record, error.reason, storable_text(error.detail))
    return Accepted(record, event)


def _is_structured(record: Record) -> bool:
    for name, value in record.headers:
        if value is not None and name.lower() == "content-type":
            return value.lower().startswith(STRUCTURED_CONTENT_TYPE.encode())
    return False
