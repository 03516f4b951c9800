"""Reads the bytes of a file or a pipe, unpacked, and translates errors of reading."""

import gzip
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final, cast

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError, ZstdFile
else:
    from backports.zstd import ZstdError, ZstdFile

CHUNK_BYTES: Final = 1024 * 1024

RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
"""The longest line, row or object that is read, because it has to fit into memory."""

Line = tuple[int, bytes]
"""The number of a line, row or object of a file, and its measurement as JSON."""

Read = Callable[[int], bytes]
"""Reads at most this many bytes, as soon as there are some; returns no bytes at the end."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_LINE_BREAK: Final = re.compile(rb"[\r\n]")

_HEADER_BYTES_MAX: Final = 64
"""A library that requests at most this many bytes reads a header, and takes fewer bytes for the end."""


class InvalidSourceError(Exception):
    """The file is refused, and nothing of it was taken. The message is one line."""


class BrokenSourceError(Exception):
    """The file cannot be read any further. The message is one line and says how far it was read."""


class ByteSource:
    """Bytes as they arrive. The beginning can be examined before it is read.

    Args:
        read: reads the file or pipe.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._head = b""
        self._taken = 0

    def peek(self, size: int) -> bytes:
        """Return at least `size` of the next bytes without consuming them; fewer only at the end.

        Raises:
            BrokenSourceError: the file cannot be read.
        """
        while len(self._head) < size and (chunk := self._fetch(CHUNK_BYTES)):
            self._head += chunk
        return self._head

    def heads(self, limit: int = RECORD_BYTES_MAX) -> Iterator[bytes]:
        """Yield all bytes so far, again each time that more arrive, up to the end or the limit.

        Raises:
            BrokenSourceError: the file cannot be read.
        """
        known = 0
        while known < limit and len(head := self.peek(known + 1)) > known:
            yield head
            known = len(head)

    def peek_line(self) -> bytes:
        """Return the first line that is not blank, without its line break; a very long line is cut.

        Raises:
            BrokenSourceError: the file cannot be read.
        """
        line = b""
        for head in self.heads(CHUNK_BYTES):
            line, *rest = _LINE_BREAK.split(head.lstrip(), maxsplit=1)
            if rest:
                break
        return line

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Return at most `size` of the next bytes, as soon as there are some; no bytes at the end.

        Raises:
            BrokenSourceError: the file cannot be read.
        """
        if size <= _HEADER_BYTES_MAX:
            self.peek(size)
        elif not self._head:
            return self._fetch(size)
        chunk, self._head = self._head[:size], self._head[size:]
        return chunk

    def take_count(self) -> int:
        """Return the number of bytes of the file that were read since the last call."""
        count, self._taken = self._taken, 0
        return count

    def _fetch(self, size: int) -> bytes:
        try:
            chunk = self._read(size)
        except OSError as error:
            raise BrokenSourceError(f"cannot be read: {error.strerror or error}") from None
        self._taken += len(chunk)
        return chunk


def unpacked(packed: ByteSource) -> ByteSource | None:
    """Return the content of a gzip or zstd archive; None if the bytes are no such archive.

    Raises:
        BrokenSourceError: the file cannot be read. Reading the content raises it too.
    """
    head = packed.peek(len(_ZSTD))
    if head.startswith(_GZIP):
        return ByteSource(_reading("gzip", gzip.GzipFile(fileobj=cast("IO[bytes]", packed))))
    if head.startswith(_ZSTD):
        return ByteSource(_reading("zstd", ZstdFile(cast("IO[bytes]", packed))))
    return None


def _reading(kind: str, archive: gzip.GzipFile | ZstdFile) -> Read:
    def read(size: int) -> bytes:
        try:
            return archive.read1(size)
        except EOFError:
            raise BrokenSourceError(f"the {kind} archive ends too early") from None
        except (OSError, zlib.error, ZstdError) as error:
            raise BrokenSourceError(f"the {kind} archive is corrupt: {error}") from None

    return read
