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
"""Of the table and of its stage, in the order in which they are sent."""

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)

# The number of fields; then, for each, its length in bytes and itself; of the texts, the lengths alone.
_UP_TO_VERSION: Final = struct.Struct(">h i16s i16s id id iq i")
_UP_TO_METADATA: Final = struct.Struct(">iB")
_JSONB_VERSION: Final = 1

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_CHUNK_BYTES: Final = 256 * 1024


async def copy_data(events: Iterable[Event]) -> AsyncIterator[bytes]:
    """What to send for these rows, in chunks, so that memory does not depend on the size of the metadata."""
    chunk = bytearray(_SIGNATURE)
    for event in events:
        version = event.version.encode()
        metadata = event.metadata_json
        chunk += _UP_TO_VERSION.pack(
            len(COLUMNS),
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
