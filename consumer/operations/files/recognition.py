"""Recognises a file by its first bytes, before anything is read, and never by its name."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from itertools import chain
from typing import Final

from pattern_metrics.consumer.operations.files.json_text import ObjectSplitter, json_lines, json_objects
from pattern_metrics.consumer.operations.files.source import (
    CHUNK_BYTES,
    RECORD_BYTES_MAX,
    BrokenSourceError,
    ByteSource,
    InvalidSourceError,
    Line,
    unpacked,
)
from pattern_metrics.consumer.operations.files.tables import csv_rows, delimiter_of, parquet_rows

_MAGIC_BYTES: Final = 16
_BLANK: Final = b" \t\r\n"
_OBJECT_LINE: Final = re.compile(rb"^[ \t]*\{", flags=re.MULTILINE)

_PARQUET: Final = b"PAR1"

_AS_CSV: Final = "save it as CSV UTF-8"
_AS_UTF8: Final = "convert it: iconv -f UTF-16 -t UTF-8; of Excel, save it as CSV UTF-8"
_UNPACK: Final = "unpack it first"
_REFUSED: Final = {
    codecs.BOM_UTF16_LE: f"is UTF-16: {_AS_UTF8}",
    codecs.BOM_UTF16_BE: f"is UTF-16: {_AS_UTF8}",
    b"PK\x03\x04": f"is an Excel workbook or a ZIP archive: {_AS_CSV}, or {_UNPACK}",
    b"\xd0\xcf\x11\xe0": f"is an old Excel workbook: {_AS_CSV}",
    b"BZh": f"is packed by bzip2: {_UNPACK}",
    b"\xfd7zXZ\x00": f"is packed by xz: {_UNPACK}",
    b"\x04\x22\x4d\x18": f"is packed by lz4: {_UNPACK}",
    b"\x1f\x8b": f"is packed twice: {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"is packed twice: {_UNPACK}",
    b"Obj\x01": "is Avro: convert it to JSON Lines",
    b"ORC": "is ORC: convert it to Parquet or JSON Lines",
    b"PGCOPY\n": "is PostgreSQL's binary COPY: export it by COPY … WITH (FORMAT csv, HEADER)",
    b"PGDMP": "is a dump of pg_dump: restore it by pg_restore",
    b"SQLite format 3": "is an SQLite database: export a table as CSV",
}
_UNKNOWN: Final = (
    "is neither JSON with an object a line or an array of objects, nor Parquet, nor CSV whose header names "
    "pattern_id, quality_score, confidence and measurement_timestamp"
)


Readable = BufferedReader | BytesIO


@dataclass(frozen=True, slots=True)
class Part:
    """The measurements that one read of the file brought.

    Attributes:
        lines: number and JSON of each measurement.
        size: the number of bytes of the file that the measurements took; approximate.
    """

    lines: list[Line]
    size: int


@dataclass(frozen=True, slots=True)
class Measurements:
    """The measurements of a file.

    Attributes:
        unit: the unit of the measurements' numbers: line, row or object.
        parts: all measurements, as they arrive.
    """

    unit: str
    parts: Iterator[Part]


def read_measurements(file: Readable) -> Measurements:
    """Recognise a file, and read it: JSON Lines, JSON arrays, CSV, Parquet; also packed by gzip or zstd.

    Returns:
        The measurements as a stream, which raises BrokenSourceError at a place that cannot be read.

    Raises:
        InvalidSourceError: nothing of the file can be read; the message says why.
    """
    raw = ByteSource(file.read1)
    try:
        content = unpacked(raw)
        unit, lines = _recognise(content or raw, None if content else file)
        first = next(lines, [])
    except BrokenSourceError as error:
        raise InvalidSourceError(str(error)) from None
    return Measurements(unit, _counted(chain([first], lines), raw, unit))


def _counted(parts: Iterator[list[Line]], raw: ByteSource, unit: str) -> Iterator[Part]:
    last = 0
    try:
        for lines in parts:
            yield Part(lines, raw.take_count())
            last = lines[-1][0] if lines else last
    except BrokenSourceError as error:
        raise BrokenSourceError(f"{error}; read up to {unit} {last:,}") from None


def _recognise(source: ByteSource, file: Readable | None) -> tuple[str, Iterator[list[Line]]]:
    """Return the unit of the line numbers, and the lines.

    Args:
        source: the content.
        file: the file itself, if the content is not packed; otherwise None.

    Raises:
        InvalidSourceError: the file has a known form that is not supported, or none.
    """
    head = source.peek(_MAGIC_BYTES)
    for magic, why in _REFUSED.items():
        if head.startswith(magic):
            raise InvalidSourceError(why)
    if head.startswith(_PARQUET):
        return "row", parquet_rows(source, file)
    if head.startswith(codecs.BOM_UTF8):
        source.read(len(codecs.BOM_UTF8))
    return _recognise_text(source)


def _recognise_text(source: ByteSource) -> tuple[str, Iterator[list[Line]]]:
    start = _first_of(source)
    if b"\0" in source.peek(2)[:2]:
        raise InvalidSourceError(f"is binary, or UTF-16 without a byte order mark: {_AS_UTF8}")
    is_array = start == b"[" and _first_of(source, passing=b"[") in {b"{", b"]"}
    if is_array or (start == b"{" and _goes_over_lines(source)):
        return "object", json_objects(source)
    if start in {b"{", b""}:
        return "line", json_lines(source)
    delimiter = delimiter_of(source.peek_line().decode(errors="replace"))
    if delimiter is not None:
        return "line", csv_rows(source, delimiter)
    if _has_objects(source):
        return "line", json_lines(source)  # the first line is not an object
    raise InvalidSourceError(_UNKNOWN)


def _first_of(source: ByteSource, passing: bytes = b"") -> bytes:
    """Return the first byte that is neither blank nor in `passing`; empty if there is none."""
    return next((rest[:1] for head in source.heads() if (rest := head.lstrip(_BLANK + passing))), b"")


def _goes_over_lines(source: ByteSource) -> bool:
    """Return whether the first line begins an object that continues in the next, as in pretty-printed JSON.

    A truncated line does not count if the next line begins its own object.
    """
    size = 0
    for head in source.heads():
        size = len(head)
        line, *rest = head.lstrip(_BLANK).split(b"\n", maxsplit=1)
        if rest:
            splitter = ObjectSplitter()
            if splitter.feed(line) or not splitter.is_inside_object:
                return False
            if following := rest[0].lstrip(_BLANK):
                return not following.startswith(b"{")
    return size >= RECORD_BYTES_MAX


def _has_objects(source: ByteSource) -> bool:
    """Return whether one of the first lines begins an object."""
    return any(_OBJECT_LINE.search(head) for head in source.heads(CHUNK_BYTES))
