"""Encodes events in PostgreSQL's binary COPY format. Pure: no I/O.

It follows PostgreSQL's documentation of COPY ("Binary Format") and of each type's binary representation. The
driver's own encoder looks up the codec of each field and takes several times as long.
"""

import struct
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from pattern_metrics.consumer.records.record import Measured
from pattern_metrics.schemas.pattern_retired import PatternRetired
from pattern_metrics.schemas.uuid7 import uuid7

COLUMNS: Final = (
    "pattern_id",
    "event_id",
    "quality_score",
    "confidence",
    "measurement_timestamp",
    "version",
    "metadata",
)
"""Columns of an event, in the order in which they are sent."""

COLUMNS_OF_STAGE: Final = ("place", *COLUMNS)
COLUMNS_OF_RETIREMENT: Final = (
    "place",
    "pattern_id",
    "event_id",
    "measurement_timestamp",
    "metadata",
    "reason",
)
COLUMNS_OF_TABLE: Final = ("id", *COLUMNS)
"""Columns of a new row, with its surrogate key; see `first_id`."""

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)

# A row is the number of its fields and then, for each field, its length in bytes and its value. For texts,
# these formats hold only the length.
_UP_TO_PLACE: Final = struct.Struct(">h ii")
_UP_TO_ID: Final = struct.Struct(">h i16s")
_UP_TO_VERSION: Final = struct.Struct(">i16s i16s id id iq i")
_UP_TO_METADATA: Final = struct.Struct(">iB")
_JSONB_VERSION: Final = 1

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_CHUNK_BYTES: Final = 256 * 1024


def first_id(unix_milliseconds: int, randomness: int) -> int:
    """Return the first of consecutive surrogate keys: a UUID of version 7 (RFC 9562).

    Keys that grow with time are added at the right edge of their index, and not at random places.

    Args:
        unix_milliseconds: the present time.
        randomness: 73 bits.
    """
    high, low = divmod(randomness, 1 << 61)
    return uuid7(unix_milliseconds, high, low)


def staged(events: Iterable[Measured], first_place: int) -> AsyncIterator[bytes]:
    """Return the COPY data of rows for the stage, which numbers its rows."""
    count = len(COLUMNS_OF_STAGE)
    places = enumerate(events, first_place)
    return _copy_data((_UP_TO_PLACE.pack(count, 4, place), event) for place, event in places)


async def staged_retirements(retirements: Iterable[PatternRetired], first_place: int) -> AsyncIterator[bytes]:
    """Yield the COPY data of retirements for the stage."""
    yield _SIGNATURE
    for place, event in enumerate(retirements, first_place):
        reason = None if event.reason is None else event.reason.encode()
        fields = (
            struct.pack(">i", place),
            event.pattern_id.bytes,
            event.event_id.bytes,
            struct.pack(">q", (event.retired_at - _EPOCH) // _MICROSECOND),
            bytes([_JSONB_VERSION]) + event.metadata_json,
            reason,
        )
        row = [struct.pack(">h", len(fields))]
        for field in fields:
            row += [struct.pack(">i", -1)] if field is None else [struct.pack(">i", len(field)), field]
        yield b"".join(row)
    yield _TRAILER


def new_rows(events: Iterable[Measured], first_id: int) -> AsyncIterator[bytes]:
    """Return the COPY data of new rows for the table."""
    count = len(COLUMNS_OF_TABLE)
    keys = enumerate(events, first_id)
    return _copy_data((_UP_TO_ID.pack(count, 16, key.to_bytes(16)), event) for key, event in keys)


async def _copy_data(rows: Iterable[tuple[bytes, Measured]]) -> AsyncIterator[bytes]:
    """Yield the data in chunks, so that memory does not depend on the size of the metadata."""
    chunk = bytearray(_SIGNATURE)
    for beginning, event in rows:
        version = event.version.encode()
        metadata = event.metadata_json
        chunk += beginning
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
