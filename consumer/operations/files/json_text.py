"""JSON in files: one object a line, or objects over several lines and in arrays."""

import json
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from pattern_metrics.consumer.operations.files.source import (
    RECORD_BYTES_MAX,
    BrokenSourceError,
    ByteSource,
    Line,
)
from pattern_metrics.schemas.pattern_scored import JSON_DEPTH_MAX, json_depth

_BETWEEN_OBJECTS: Final = re.compile(rb"[ \t\r\n,\[\]]*")
_STRUCTURE: Final = re.compile(rb'(?P<open>"(?:[^"\\]++|\\.)*+)(?P<end>")?|[{}\[\]]', flags=re.DOTALL)
"""A string, perhaps one whose end has not arrived yet, or a bracket."""


def require_short(size: int) -> None:
    """Check the length of one line, row or object, which has to fit into memory.

    Raises:
        BrokenSourceError: it is longer than RECORD_BYTES_MAX.
    """
    if size > RECORD_BYTES_MAX:
        raise BrokenSourceError(f"the next record is longer than {RECORD_BYTES_MAX // 1024**2} MiB")


def is_well_formed(text: bytes) -> bool:
    """Return whether a text is JSON. Text that is nested too deeply counts: decoding it names the reason."""
    # Check the depth before parsing: the parsers are limited only by the interpreter.
    if text.count(b"[") + text.count(b"{") > JSON_DEPTH_MAX and (
        json_depth(text.decode(errors="replace")) > JSON_DEPTH_MAX
    ):
        return True
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return _is_lenient_json(text)
    return True


def _is_lenient_json(text: bytes) -> bool:
    """Return whether Python's own parser accepts a text, for example half of a surrogate pair."""
    try:
        json.loads(text.decode())
    except ValueError:
        return False
    return True


def json_lines(source: ByteSource) -> Iterator[list[Line]]:
    """Yield the lines of a JSON Lines file as they arrive, so that a slow pipe loses no time.

    Raises:
        BrokenSourceError: the file cannot be read, or a line is too long.
    """
    pending: list[bytes] = []  # the bytes since the last line break
    number, size = 0, 0
    while chunk := source.read():
        head, line_break, tail = chunk.rpartition(b"\n")
        if line_break:
            lines = b"".join([*pending, head]).split(b"\n")
            yield list(enumerate(lines, start=number + 1))
            number += len(lines)
            pending, size = [], 0
        pending.append(tail)
        size += len(tail)
        require_short(size)
    if rest := b"".join(pending):
        yield [(number + 1, rest)]


def json_objects(source: ByteSource) -> Iterator[list[Line]]:
    """Yield objects as they arrive: in JSON arrays or one after the other, over any number of lines.

    Raises:
        BrokenSourceError: the file cannot be read or is not well-formed, or an object is too long.
    """
    splitter, number = ObjectSplitter(), 0
    while chunk := source.read():
        objects = splitter.feed(chunk)
        if objects:
            yield list(enumerate(objects, start=number + 1))
            number += len(objects)
        splitter.require_sound()
    splitter.require_end()


class ObjectSplitter:
    """Cuts JSON text into its outermost objects, and keeps the bytes of each.

    Attributes:
        is_inside_object: whether an object has begun and not ended, and no string in it is open.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()  # begins with the object that has not ended
        self._scanned = 0  # all structure before this position was seen
        self._depth = 0
        self._open_arrays = 0
        self._fault = ""

    @property
    def is_inside_object(self) -> bool:
        """True if an object has begun and not ended, outside of its strings."""
        return self._depth > 0 and self._scanned == len(self._buffer)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes. Return the objects that end in them."""
        self._buffer += chunk
        objects = list[bytes]()
        while not self._fault and (self._depth or self._begin_object()) and self._reach_end():
            text = bytes(self._buffer[: self._scanned])
            if not is_well_formed(text):
                self._fault = "the next record is not JSON"
                break
            objects.append(text)
            del self._buffer[: self._scanned]
            self._scanned = 0
        return objects

    def require_sound(self) -> None:
        """Check the text so far.

        Raises:
            BrokenSourceError: it is not JSON, holds something else than objects, or an object is too long.
        """
        if self._fault:
            raise BrokenSourceError(self._fault)
        require_short(len(self._buffer))

    def require_end(self) -> None:
        """Check that the text may end here.

        Raises:
            BrokenSourceError: an object or an array is not closed.
        """
        if self._depth or self._open_arrays:
            raise BrokenSourceError("the JSON ends too early")

    def _begin_object(self) -> bool:
        """Skip to the next object. Return whether one begins in the buffer."""
        between = _BETWEEN_OBJECTS.match(self._buffer)
        assert between is not None  # noqa: S101 - it matches the empty text as well
        self._open_arrays += between[0].count(b"[") - between[0].count(b"]")
        del self._buffer[: between.end()]
        if self._open_arrays not in {0, 1} or (self._buffer and not self._buffer.startswith(b"{")):
            self._fault = "the next record is not a JSON object"
        return bool(self._buffer) and not self._fault

    def _reach_end(self) -> bool:
        """Scan the current object. Return whether its end is in the buffer."""
        for token in _STRUCTURE.finditer(self._buffer, self._scanned):
            text = token[0]
            if token.lastgroup == "open":
                self._scanned = token.start()
                return False
            self._scanned = token.end()
            if text in {b"{", b"["}:
                self._depth += 1
            elif len(text) == 1:
                self._depth -= 1
                if self._depth == 0:
                    return True
        self._scanned = len(self._buffer)
        return False
