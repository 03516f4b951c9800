"""Events → PostgreSQL's binary COPY format. Pure: no I/O.

By PostgreSQL's documentation of COPY, "Binary Format", and of each type's binary representation: the driver's
own encoder, which looks up each field's codec, takes several times as long.
"""

import struct
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from consumer.records import Event

COLUMNS: Final = (
    "pattern_id",
    "event_id",
    "quality_score",
    "confidence",
    "measurement_timestamp",
    "version",
    "metadata",
)
"""Of the stage, in the order in which they are sent."""

COLUMNS_OF_NEW_ROWS: Final = ("id", *COLUMNS)
"""Of the table: with the surrogate key, see `first_id`."""

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)

# The number of fields; then, for each, its length in bytes and itself; of the texts, the lengths alone.
_COUNT: Final = struct.Struct(">h")
_COUNT_AND_ID: Final = struct.Struct(">h i16s")
_UP_TO_VERSION: Final = struct.Struct(">i16s i16s id id iq i")
_UP_TO_METADATA: Final = struct.Struct(">iB")
_JSONB_VERSION: Final = 1

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_CHUNK_BYTES: Final = 256 * 1024


def first_id(unix_milliseconds: int, randomness: int) -> int:
    """The first of a series of surrogate keys, each one more than the one before: UUID version 7 (RFC 9562).

    Keys that grow with time are added at the right edge of their index, and not all over it.

    Args:
        unix_milliseconds: now.
        randomness: 73 bits.
    """
    high, low = divmod(randomness, 1 << 61)
    return unix_milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low


async def copy_data(events: Iterable[Event], *, first_id: int | None = None) -> AsyncIterator[bytes]:
    """What to send for these rows, in chunks, so that memory does not depend on the size of the metadata.

    Args:
        events: the rows.
        first_id: the first row's surrogate key, where the rows have one.
    """
    chunk = bytearray(_SIGNATURE)
    for place, event in enumerate(events):
        version = event.version.encode()
        metadata = event.metadata_json
        if first_id is None:
            chunk += _COUNT.pack(len(COLUMNS))
        else:
            chunk += _COUNT_AND_ID.pack(len(COLUMNS_OF_NEW_ROWS), 16, (first_id + place).to_bytes(16))
        chunk += _UP_TO_VERSION.pack(
            16,
            event.pattern_id.bytes,
            16,
            event.event_id.bytes,
            8,
            event.quality_score,
            8,
            event.confidence,
            8,
            (event.measurement_timestamp - _EPOCH) // _MICROSECOND,
            len(version),
        )
        chunk += version
        chunk += _UP_TO_METADATA.pack(len(metadata) + 1, _JSONB_VERSION)
        chunk += metadata
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk + _TRAILER)
