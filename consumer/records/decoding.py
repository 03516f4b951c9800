"""Decodes bytes to an event or a dead letter. Pure: no I/O, no clock."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pattern_metrics.consumer.records.fast_decoding import FastEvent, decode_fast
from pattern_metrics.consumer.records.record import (
    CONTENT_TYPE,
    Accepted,
    Fate,
    Mode,
    Record,
    Rejected,
    Retired,
    declared_type,
)
from pattern_metrics.consumer.records.text import storable_text
from pattern_metrics.consumer.records.unwrapping import (
    ABOVE_MAGIC,
    event_json,
    framing_without_json,
    require_type,
    unframed,
)
from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.pattern_retired import RETIRED_TYPE, PatternRetired, parse_either
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE

_TOGETHER_MAX: Final = 32
"""This many records share the cost of a call. If one is not common, those before it are decoded twice."""

_TOGETHER_BYTES_MAX: Final = 32 * 1024
"""No more bytes are decoded twice, unless a single record has more."""

_CLOUD_EVENTS: Final = b"cloudevents"


def decode_all(
    records: Sequence[Record], *, accepted_until: datetime, envelope: Sequence[str] = ()
) -> list[Fate]:
    """Decode records in their order.

    Args:
        records: see `decode`.
        accepted_until: the latest acceptable measurement time.
        envelope: the path of KAFKA_ENVELOPE_FIELD, one name a level.
    """
    fates = list[Fate]()
    while len(fates) < len(records):
        some = records[len(fates) : len(fates) + _TOGETHER_MAX]
        values = _values_of_one_mode(some)
        events = _decode_common(values, some[0].mode, accepted_until, envelope) if values else []
        fates += map(Accepted, some, events)
        if not values or len(events) < len(values):
            uncommon = records[len(fates)]
            fates.append(decode(uncommon, accepted_until=accepted_until, envelope=envelope))
    return fates


def decode(record: Record, *, accepted_until: datetime, envelope: Sequence[str] = ()) -> Fate:
    """Decide a record's fate as far as possible without the database.

    Args:
        record: a record of Kafka, where the key and the CloudEvents attributes are optional; or a line of a
            file, where `event_id` is optional.
        accepted_until: the latest acceptable measurement time.
        envelope: the path of KAFKA_ENVELOPE_FIELD; a line of a file has no envelope.
    """
    if record.value is None:
        return Rejected(record, RejectReason.TOMBSTONE, "the record has no value")
    is_line = record.mode == "line"
    try:
        value = record.value if is_line else event_of(record, envelope)
        event = parse_either(value, accepted_until=accepted_until, is_line=is_line)
        if not is_line:  # a line has no headers that count
            retires = isinstance(event, PatternRetired)
            require_type(declared_type(record.headers), "the header ce_type", retires=retires)
    except InvalidEventError as error:
        detail = "; ".join([error.detail, *_notes(record, error)])
        return Rejected(record, error.reason, storable_text(detail))
    return Retired(record, event) if isinstance(event, PatternRetired) else Accepted(record, event)


def event_of(record: Record, envelope: Sequence[str]) -> bytes:
    """Return the JSON of the event in a record of a topic, see `event_json`.

    Raises:
        InvalidEventError: see `event_json`; or the headers name another type of event.
    """
    mode = record.mode
    if mode == "foreign":
        detail = f"the header ce_type is neither {EVENT_TYPE} nor {RETIRED_TYPE}"
        raise InvalidEventError(RejectReason.OTHER_TYPE, detail)
    value = unframed(record.value or b"")
    return event_json(value, is_structured=mode == "structured", envelope=envelope)


_UNPARSED: Final = {
    RejectReason.INVALID_UTF8,
    RejectReason.INVALID_JSON,
    RejectReason.NOT_AN_OBJECT,
    RejectReason.MISSING_FIELD,
}


_BEGINNINGS: Final = {
    b"\x1f\x8b": "the value is packed by gzip: let the producer's client compress instead",
    b"\x28\xb5\x2f\xfd": "the value is packed by zstd: let the producer's client compress instead",
    b"\xff\xfe": "the value is UTF-16, and JSON is UTF-8",
    b"\xfe\xff": "the value is UTF-16, and JSON is UTF-8",
    b'"{': "the value is a JSON string with JSON in it: encode the event once",
}


def _notes(record: Record, error: InvalidEventError) -> list[str]:
    """Return hints for a person about a value that could not be read: its beginning and its content type."""
    if record.mode == "line" or error.reason not in _UNPARSED:
        return []
    notes = list[str]()
    if registry := framing_without_json(record.value or b""):
        notes.append(f"the value begins as those of {registry} do, and no JSON object follows")
    value = unframed(record.value or b"").lstrip()
    notes += [note for beginning, note in _BEGINNINGS.items() if value.startswith(beginning)]
    names = [value for name, value in record.headers if name.lower() == CONTENT_TYPE and value is not None]
    if record.mode == "plain" and any(_CLOUD_EVENTS in value.lower() for value in names):
        notes.append("the header content-type names a form of CloudEvents that is not read here")
    return notes


def _values_of_one_mode(records: Sequence[Record]) -> list[bytes]:
    """Return the values that one call decodes: the first ones, of one mode, with not too many bytes."""
    mode, values, size = records[0].mode, list[bytes](), 0
    for record in records if mode in ("plain", "structured", "line") else ():
        value = record.value
        if value is None or record.mode != mode or (size and size + len(value) > _TOGETHER_BYTES_MAX):
            break
        size += len(value)
        values.append(value)
    return values


def _decode_common(
    values: list[bytes], mode: Mode, accepted_until: datetime, envelope: Sequence[str]
) -> list[FastEvent]:
    """Decode the first values that hold an event as agents publish it; all are to be read in one way."""
    if mode == "line":
        envelope = ()
    elif values[0] < ABOVE_MAGIC:
        values = list(map(unframed, values))
    return decode_fast(
        values, accepted_until=accepted_until, envelope=tuple(envelope), is_structured=mode == "structured"
    )
