"""UUIDs of version 7 (RFC 9562, section 5.7), which grow with time. Pure: no clock, no randomness."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

_UUID_VERSION: Final = 7
_TIME_BIT: Final = 80
"""The lowest bit of the time."""


def uuid7(unix_milliseconds: int, high: int, low: int) -> int:
    """Return a UUID of version 7 as an integer.

    Args:
        unix_milliseconds: the time.
        high: the field `rand_a`, 12 bits.
        low: the field `rand_b`, 62 bits.
    """
    return unix_milliseconds << _TIME_BIT | _UUID_VERSION << 76 | high << 64 | 2 << 62 | low


def time_of(identifier: UUID) -> datetime | None:
    """Return the time that a UUID holds, in UTC; None if its version is not 7."""
    if identifier.version != _UUID_VERSION:
        return None
    return datetime.fromtimestamp((identifier.int >> _TIME_BIT) / 1000, UTC)
