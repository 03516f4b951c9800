"""Files of measurements for tests: pipes that deliver pieces, packed files, and readers to the end."""

import gzip
import io
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from typing_extensions import override

from pattern_metrics.consumer.operations.files.recognition import read_measurements
from pattern_metrics.schemas.json_lines import read_events
from pattern_metrics.schemas.pattern_scored import PatternScored

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FAR = datetime.max.replace(tzinfo=UTC)

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "two gzip members": lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:]),
    "two zstd frames": lambda content: zstd.compress(content[:9]) + zstd.compress(content[9:]),
}


class Pipe(io.BytesIO):
    """Delivers its content in pieces of these sizes, and then as much as is asked for."""

    def __init__(self, content: bytes, sizes: list[int] | None = None) -> None:
        super().__init__(content)
        self._sizes = iter(sizes or [])

    @override
    def read1(self, size: int | None = -1, /) -> bytes:
        wanted = -1 if size is None else size
        piece = next(self._sizes, wanted)
        return super().read1(piece if wanted < 0 else min(piece, wanted))

    @override
    def seekable(self) -> bool:
        return False


def lines_of(file: io.BytesIO) -> Iterator[tuple[int, bytes]]:
    """Yield number and JSON of all measurements of a file."""
    for part in read_measurements(file).parts:
        yield from part.lines


def events_of(file: io.BytesIO) -> list[PatternScored]:
    """Return the events of a file. Each must be valid."""
    events = []
    for number, event in read_events(lines_of(file), accepted_until=FAR):
        assert isinstance(event, PatternScored), (number, event)
        events.append(event)
    return events
