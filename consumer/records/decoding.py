"""Decodes bytes to an event or a dead letter. Pure: no I/O, no clock."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pattern_metrics.consumer.records.fast_decoding import decode_fast
from pattern_metrics.consumer.records.record import CONTENT_TYPE, Accepted, Fate, Record, Rejected
from pattern_metrics.consumer.records.text import storable_text
from pattern_metrics.consumer.records.unwrapping import (
    ABOVE_MAGIC,
    event_json,
    framing_without_json,
    unframed,
)
from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, parse_event, parse_measurement

_TOGETHER_MAX: Final = 32
"""Records that share the cost of one call. If one is not common, all of them are decoded again."""

_CLOUD_EVENTS: Final = b"cloudevents"

_LINE: Final = {"line"}
_STRUCTURED: Final = {"structured"}


def decode_all(
    records: Sequence[Record], *, accepted_until: datetime, envelope: Sequence[str] = ()
) -> list[Fate]:
    """Decode records in their order.

    Args:
        records: as for `decode`.
        accepted_until: the latest acceptable measurement time.
        envelope: the path of KAFKA_ENVELOPE_FIELD, one name a level.
    """
    fates, done, at_once = list[Fate](), 0, _TOGETHER_MAX
    while done < len(records):
        some = records[done : done + at_once]
        common = _decode_common(some, accepted_until, envelope)
        if common is None and len(some) > 1:
            at_once = max(1, len(some) // 4)  # around a record that is not common, smaller and smaller groups
            continue
        if common is not None:
            at_once = min(2 * at_once, _TOGETHER_MAX)
            fates += common
        else:
            fates.append(decode(some[0], accepted_until=accepted_until, envelope=envelope))
        done += len(some)
    return fates


def decode(record: Record, *, accepted_until: datetime, envelope: Sequence[str] = ()) -> Fate:
    """Decide a record's fate as far as possible without the database.

    Args:
        record: from Kafka, where the key and the CloudEvents attributes are optional; or a line of a file,
            where `event_id` is optional.
        accepted_until: the latest acceptable measurement time.
        envelope: the path of KAFKA_ENVELOPE_FIELD; a line of a file has no envelope.
    """
    if record.value is None:
        return Rejected(record, RejectReason.TOMBSTONE, "the record has no value")
    try:
        if record.mode == "line":
            return Accepted(record, parse_measurement(record.value, accepted_until=accepted_until))
        return Accepted(record, parse_event(event_of(record, envelope), accepted_until=accepted_until))
    except InvalidEventError as error:
        detail = "; ".join([error.detail, *_notes(record, error)])
        return Rejected(record, error.reason, storable_text(detail))


def event_of(record: Record, envelope: Sequence[str]) -> bytes:
    """Return the JSON of the event in a record of a topic, see `event_json`.

    Raises:
        InvalidEventError: see `event_json`; or the headers name another type of event.
    """
    mode = record.mode
    if mode == "foreign":
        raise InvalidEventError(RejectReason.OTHER_TYPE, f"the header ce_type is not {EVENT_TYPE}")
    value = unframed(record.value or b"")
    return event_json(value, is_structured=mode == "structured", envelope=envelope)


_UNREAD: Final = {
    RejectReason.INVALID_UTF8,
    RejectReason.INVALID_JSON,
    RejectReason.NOT_AN_OBJECT,
    RejectReason.MISSING_FIELD,
}


def _notes(record: Record, error: InvalidEventError) -> list[str]:
    """Return hints for a person about a value that could not be read: its framing and its content type."""
    if record.mode == "line" or error.reason not in _UNREAD:
        return []
    notes = list[str]()
    if registry := framing_without_json(record.value or b""):
        notes.append(f"the value begins as those of {registry} do, and no JSON object follows")
    names = [value for name, value in record.headers if name.lower() == CONTENT_TYPE and value is not None]
    if record.mode == "plain" and any(_CLOUD_EVENTS in value.lower() for value in names):
        notes.append("the header content-type names a form of CloudEvents that is not read here")
    return notes


def _decode_common(
    records: Sequence[Record], accepted_until: datetime, envelope: Sequence[str]
) -> list[Accepted] | None:
    """Decode records whose events have the common form; None if any record has another form."""
    values = [value for record in records if (value := record.value) is not None]
    modes = {record.mode for record in records}
    if len(values) < len(records) or len(modes) > 1 or "foreign" in modes:
        return None
    if modes == _LINE:
        envelope = ()
    elif values[0] < ABOVE_MAGIC:
        values = list(map(unframed, values))
    events = decode_fast(
        values,
        accepted_until=accepted_until,
        envelope=tuple(envelope),
        is_structured=modes == _STRUCTURED,
    )
    return None if events is None else list(map(Accepted, records, events))
