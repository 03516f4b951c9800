"""One event in the outbox, with the checksum that finds a damaged byte."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zlib import crc32

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

SOURCE: Final = "ce_source"
"""The name of the agent among the headers."""

TYPE: Final = "ce_type"
"""The type of the event among the headers; a measurement's is left out."""

SOURCE_DEFAULT: Final = "/pattern-metrics"

_ROW_BYTES: Final = 96
"""Bytes of the other columns and of the index, about."""


class OutboxRow(NamedTuple):
    """An event as it is stored.

    Attributes:
        event_id: 16 bytes.
        pattern_id: 16 bytes, the record's key.
        measured: the measurement's time, in microseconds since 1970.
        stored: the time of storing, in seconds since 1970, by this machine's clock.
        headers: JSON object of the record's headers that do not follow from the event.
        value: the record's value.
        checksum: the checksum of all other columns.
        seq: the place in the file; 0 before it is stored.
        reason: why the event is kept apart; None while it waits for delivery.
    """

    event_id: bytes
    pattern_id: bytes
    measured: int
    stored: int
    headers: str
    value: bytes
    checksum: int
    seq: int = 0
    reason: str | None = None

    @property
    def measured_at(self) -> datetime:
        """The measurement's time."""
        return _UNIX_EPOCH + self.measured * _MICROSECOND

    @property
    def size(self) -> int:
        """The bytes that count for OUTBOX_MAX_BYTES."""
        return len(self.value) + len(self.headers) + _ROW_BYTES

    @property
    def is_sound(self) -> bool:
        """True if the row is as it was stored. A damaged row may hold values of any type."""
        try:
            return self.checksum == checksum(*self[:6])
        except (AttributeError, TypeError):
            return False


def microseconds(time: datetime) -> int:
    """Return a time as a row has it, in microseconds since 1970."""
    return (time - _UNIX_EPOCH) // _MICROSECOND


def checksum(
    event_id: bytes, pattern_id: bytes, measured: int, stored: int, headers: str, value: bytes
) -> int:
    """Return the checksum of a row."""
    return crc32(value, crc32(b"%b%b%d,%d,%b" % (event_id, pattern_id, measured, stored, headers.encode())))


def new_row(
    event_id: bytes, pattern_id: bytes, measured: int, stored: int, headers: str, value: bytes
) -> OutboxRow:
    """Return a row to store."""
    found = checksum(event_id, pattern_id, measured, stored, headers, value)
    return OutboxRow(event_id, pattern_id, measured, stored, headers, value, found)


def headers_text(source: str, headers: Iterable[tuple[str, bytes]] = ()) -> str:
    """Return the headers of a row.

    Args:
        source: the CloudEvents `source`.
        headers: further headers of the record.
    """
    return json.dumps({SOURCE: source, **{name: value.decode() for name, value in headers}})
