"""Bytes → event or dead letter. Pure: no I/O, no clock."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pattern_metrics.consumer.records.fast_decoding import decode_fast
from pattern_metrics.consumer.records.record import Accepted, Fate, Record, Rejected
from pattern_metrics.consumer.records.text import storable_text
from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.pattern_scored import STRUCTURED_CONTENT_TYPE, parse_event, parse_measurement

FILE_TOPIC_PREFIX: Final = "file:"
"""Begins the topic of what is a line of a file; no Kafka topic can have such a name."""

_STRUCTURED: Final = STRUCTURED_CONTENT_TYPE.encode()

_TOGETHER_MAX: Final = 32
"""So many share the cost of a call; the more, the more are looked at again for one that is not common."""

_REGISTRY_MAGIC: Final = b"\0"
_REGISTRY_PREFIX_BYTES: Final = 5
"""Schema registry wire format: a zero byte and four bytes of schema id before the JSON."""


def decode_all(records: Sequence[Record], *, accepted_until: datetime) -> list[Fate]:
    """Decode records in their order.

    Args:
        records: as for `decode`.
        accepted_until: the latest acceptable measurement time.
    """
    fates, done, at_once = list[Fate](), 0, _TOGETHER_MAX
    while done < len(records):
        some = records[done : done + at_once]
        common = _decode_common(some, accepted_until)
        if common is None and len(some) > 1:
            at_once = max(1, len(some) // 4)  # around one that is not common, fewer and fewer
            continue
        if common is not None:
            at_once = min(2 * at_once, _TOGETHER_MAX)
            fates += common
        else:
            fates.append(decode(some[0], accepted_until=accepted_until))
        done += len(some)
    return fates


def decode(record: Record, *, accepted_until: datetime) -> Fate:
    """Decide any record's fate as far as it can be decided without the database.

    Args:
        record: what Kafka delivered, whose key and CloudEvents attributes are not needed; or a line of a
            file, which may lack its `event_id`.
        accepted_until: the latest acceptable measurement time.
    """
    if record.value is None:
        return Rejected(record, RejectReason.TOMBSTONE, "the record has no value")
    value = _json_of(record, record.value)
    try:
        if _is_line(record):
            return Accepted(record, parse_measurement(value, accepted_until=accepted_until))
        structured = is_structured(record)
        return Accepted(record, parse_event(value, accepted_until=accepted_until, structured=structured))
    except InvalidEventError as error:
        return Rejected(record, error.reason, storable_text(error.detail))


def _decode_common(records: Sequence[Record], accepted_until: datetime) -> list[Accepted] | None:
    """All of them, or nothing where one does not hold an event as agents publish it."""
    values = [value for record in records if (value := record.value) is not None]
    content_types = {record.content_type for record in records}
    if len(values) < len(records) or any(map(_names_an_envelope, content_types)):
        return None
    if values[0].startswith(_REGISTRY_MAGIC):
        values = list(map(_json_of, records, values))
    events = decode_fast(values, accepted_until=accepted_until)
    return None if events is None else list(map(Accepted, records, events))


def _json_of(record: Record, value: bytes) -> bytes:
    return value if _is_line(record) else without_registry_prefix(value)


def _is_line(record: Record) -> bool:
    return record.topic.startswith(FILE_TOPIC_PREFIX)


def without_registry_prefix(value: bytes) -> bytes:
    """The value without the schema registry's prefix, which is no part of the event."""
    if len(value) >= _REGISTRY_PREFIX_BYTES and value.startswith(_REGISTRY_MAGIC):
        return value[_REGISTRY_PREFIX_BYTES:]
    return value


def is_structured(record: Record) -> bool:
    """Whether the event lies under `data` of a CloudEvents envelope, by the record's headers."""
    return _names_an_envelope(record.content_type)


def _names_an_envelope(content_type: bytes | None) -> bool:
    return content_type is not None and content_type.lower().startswith(_STRUCTURED)
