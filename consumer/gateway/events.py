"""Decides about each event as the worker would, by the worker's own decoder. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from pattern_metrics.consumer.records.decoding import decode_all, event_of
from pattern_metrics.consumer.records.fast_decoding import FastEvent
from pattern_metrics.consumer.records.record import (
    FILE_TOPIC_PREFIX,
    Event,
    Fate,
    Rejected,
    Retired,
    StoredRecord,
    declared_type,
)
from pattern_metrics.consumer.records.unwrapping import require_type
from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.pattern_retired import PatternRetired
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, Ordered, PatternScored

EVENT_BYTES_MAX: Final = 96 * 1024
"""Largest event, as it is sent."""

_UNNAMED: Final = f"{FILE_TOPIC_PREFIX}gateway"
"""A topic of lines, where `event_id` is optional: without it, the id is derived from the content."""


class Outgoing(Ordered, msgspec.Struct, frozen=True, gc=False):
    """An event to publish: all that is left of it after decoding, so that many take little memory.

    Attributes:
        pattern_id: its pattern.
        event_id: its id.
        measurement_timestamp: its time.
        value: the record's value, from which the worker decodes the same event.
        event_type: its CloudEvents `type`.
    """

    pattern_id: UUID
    event_id: UUID
    measurement_timestamp: datetime
    value: bytes
    event_type: str = EVENT_TYPE


@dataclass(frozen=True, slots=True)
class RefusedItem:
    """A part of a body that is no valid event, with the reason that the worker would give."""

    reason: RejectReason
    detail: str


_TOO_LARGE: Final = RefusedItem(
    RejectReason.TOO_LARGE, f"an event has at most {EVENT_BYTES_MAX} bytes as it is sent"
)


def decide(
    items: Sequence[bytes], headers: Sequence[tuple[str, bytes]], *, accepted_until: datetime
) -> list[Outgoing | RefusedItem]:
    """Return the event in each item, or why there is none.

    Args:
        items: the JSON of each event.
        headers: the headers of the record that each item would be in a topic.
        accepted_until: the latest acceptable measurement time.
    """
    decided: list[Outgoing | RefusedItem | None] = [None] * len(items)
    lines = list[StoredRecord]()
    for index, item in enumerate(items):
        if len(item) > EVENT_BYTES_MAX:
            decided[index] = _TOO_LARGE
            continue
        try:
            value = event_of(StoredRecord("", 0, index, -1, item, headers=headers), ())
        except InvalidEventError as error:
            decided[index] = RefusedItem(error.reason, error.detail)
        else:
            lines.append(StoredRecord(_UNNAMED, 0, index, -1, value))
    declared = declared_type(headers)
    for fate in decode_all(lines, accepted_until=accepted_until):
        decided[fate.record.offset] = _outcome(fate, declared)
    return [one for one in decided if one is not None]


def _outcome(fate: Fate, declared: str | None) -> Outgoing | RefusedItem:
    if isinstance(fate, Rejected):
        return RefusedItem(fate.reason, fate.detail)
    try:
        require_type(declared, "the header ce-type", retires=isinstance(fate, Retired))
    except InvalidEventError as error:
        return RefusedItem(error.reason, error.detail)
    if isinstance(fate.event, FastEvent):  # the worker decodes the same bytes, in the same way
        value, event_type = fate.record.value or b"", EVENT_TYPE
    else:
        assert isinstance(fate.event, PatternScored | PatternRetired)  # noqa: S101 - the decoder has no other
        value, event_type = fate.event.to_json(), fate.event.EVENT_TYPE
    event: Event = fate.event
    return Outgoing(event.pattern_id, event.event_id, event.measurement_timestamp, value, event_type)
