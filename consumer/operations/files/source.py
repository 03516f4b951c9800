"""The bytes of a file or a pipe, unpacked, and the errors of reading them."""

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
"""The longest line, row or object that is read: a larger one cannot be held, whatever the file."""

Line = tuple[int, bytes]
"""The number of a line, a row or an object of a file, and its measurement as JSON."""

Read = Callable[[int], bytes]
"""Reads at most so many bytes, as soon as there are some; none at the end."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_LINE_BREAK: Final = re.compile(rb"[\r\n]")

_HEADER_BYTES_MAX: Final = 64
"""A library that reads so few bytes reads a header, and takes fewer for its end."""


class InvalidSourceError(Exception):
    """The file is refused, and nothing of it was taken; the message is one line."""


class BrokenSourceError(Exception):
    """The file cannot be read any further; the message is one line, which says up to where it was read."""


class ByteSource:
    """Bytes as they arrive, whose beginning can be looked at before it is read.

    Args:
        read: reads the file or pipe.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._head = b""
        self._taken = 0

    def peek(self, size: int) -> bytes:
        """The next bytes, at least so many; fewer at the end alone.

        Raises:
            BrokenSourceError: the file cannot be read.
        """
        while len(self._head) < size and (chunk := self._fetch(CHUNK_BYTES)):
            self._head += chunk
        return self._head

    def heads(self, limit: int = RECORD_BYTES_MAX) -> Iterator[bytes]:
        """All that is there, again each time that more arrives, up to the end or the limit.

        Raises:
            BrokenSourceError: the file cannot be read.
        """
        known = 0
        while known < limit and len(head := self.peek(known + 1)) > known:
            yield head
            known = len(head)

    def peek_line(self) -> bytes:
        """The first line that is not blank, without its break; of a very long one, its beginning.

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
        """The next bytes as soon as there are some, at most so many; none at the end.

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
        """How many bytes of the file were read since the last call."""
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
    """The content of a gzip or zstd archive; None where the bytes are none.

    Raises:
        BrokenSourceError: the file cannot be read; also when its content is read.
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
