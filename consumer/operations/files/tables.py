"""Tables of measurements: CSV in its common dialects, and Parquet."""

import csv
import json
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

from typing_extensions import override

from pattern_metrics.consumer.operations.files.cells import (
    KNOWN_COLUMNS,
    columns_of,
    measurement_of,
    text_of,
    texts_of,
)
from pattern_metrics.consumer.operations.files.json_text import require_short
from pattern_metrics.consumer.operations.files.source import (
    BrokenSourceError,
    ByteSource,
    InvalidSourceError,
    Line,
)

if TYPE_CHECKING:
    from pyarrow import Array

csv.field_size_limit(2**31 - 1)  # Python has one limit per process; `require_short` limits the lines

_DELIMITERS: Final = (",", ";", "\t", "|")

_PARQUET_ROWS: Final = 1000
_PARQUET_BUFFER_BYTES: Final = 1024 * 1024


class _TextLines(Iterator[str]):
    """Lines with any kind of line break. A byte that is not UTF-8 becomes a lone surrogate.

    Attributes:
        at_hand: whether the next line has arrived.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._lines = deque[bytes]()
        self._pending = b""
        self._row_bytes = 0

    @property
    def at_hand(self) -> bool:
        return bool(self._lines)

    @override
    def __next__(self) -> str:
        while not self._lines:
            self._fetch()
        line = self._lines.popleft()
        self._row_bytes += len(line)
        require_short(self._row_bytes)
        return line.decode(errors="surrogateescape")

    def end_row(self) -> None:
        """Note that the lines so far are complete rows."""
        self._row_bytes = 0

    def _fetch(self) -> None:
        chunk = self._source.read()
        text = self._pending + chunk
        if not text:
            raise StopIteration
        self._lines.extend(text.splitlines(keepends=True))
        # The last line may continue, and a line feed may follow a carriage return.
        is_whole = not chunk or text.endswith(b"\n")
        self._pending = b"" if is_whole else self._lines.pop()
        require_short(len(self._pending))


def delimiter_of(header: str) -> str | None:
    """Return the delimiter of a header; None if the header names no column of a measurement."""

    def known(delimiter: str) -> int:
        return len(KNOWN_COLUMNS & {name.strip().lower() for name in _split(header, delimiter)})

    best = max(_DELIMITERS, key=known)
    return best if known(best) else None


def _split(header: str, delimiter: str) -> list[str]:
    return next(csv.reader([header], delimiter=delimiter), [])


def csv_rows(source: ByteSource, delimiter: str) -> Iterator[list[Line]]:
    """Yield the rows of a CSV file with a header as JSON, as they arrive. Empty rows are skipped.

    Raises:
        InvalidSourceError: see `columns_of`.
        BrokenSourceError: the file cannot be read, or a row is too long.
    """
    lines = _TextLines(source)
    rows = csv.reader(lines, delimiter=delimiter)
    columns = columns_of(next(filter(_is_filled, rows), []))
    part = list[Line]()
    for row in rows:
        lines.end_row()
        if _is_filled(row):
            part.append((rows.line_num, _row_as_json(columns, row)))
        if part and not lines.at_hand:
            yield part
            part = []
    if part:
        yield part


def _is_filled(row: Sequence[str]) -> bool:
    return any(cell.strip() for cell in row)


def _row_as_json(columns: Sequence[str], row: Sequence[str]) -> bytes:
    texts, surplus = texts_of(columns, row), row[len(columns) :]
    if any(surplus):
        return json.dumps({"cells": texts, "cells_without_a_column": surplus}).encode()
    return measurement_of(texts)


def parquet_rows(source: ByteSource, file: IO[bytes] | None) -> Iterator[list[Line]]:
    """Yield the rows of a Parquet file as JSON.

    Args:
        source: the content.
        file: the file itself, if the content is not packed; otherwise None.

    Raises:
        InvalidSourceError: see `columns_of`; or the extra `parquet` is not installed.
        BrokenSourceError: the file cannot be read.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InvalidSourceError(
            "is Parquet, which needs the extra parquet: pip install 'pattern-metrics[parquet]'"
        ) from None
    with _seekable(source, file) as whole:
        try:
            table = ParquetFile(whole, buffer_size=_PARQUET_BUFFER_BYTES)
            columns, number = columns_of(table.schema_arrow.names), 1
            for batch in table.iter_batches(_PARQUET_ROWS):
                rows = zip(*map(_values_of, batch.columns), strict=True)
                yield [(at, _values_as_json(columns, row)) for at, row in enumerate(rows, start=number)]
                number += batch.num_rows
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            why = " ".join(str(error).split())
            raise BrokenSourceError(f"the Parquet file cannot be read: {why}") from None


@contextmanager
def _seekable(source: ByteSource, file: IO[bytes] | None) -> Iterator[IO[bytes]]:
    """Open the file itself, or a temporary file with the content of a pipe or an archive."""
    if file is not None and file.seekable():
        file.seek(0)
        yield file
        return
    with tempfile.TemporaryFile() as spool:
        while chunk := source.read():
            spool.write(chunk)
        yield spool


def _values_of(column: "Array") -> list[Any]:
    """Return the values of a column, and the text of each time that Python cannot hold."""
    values = list[Any]()
    try:
        values += column.to_pylist()
    except (ValueError, OverflowError):
        for value in column:
            try:
                values.append(value.as_py())
            except (ValueError, OverflowError):
                values.append(f"{value.value} as {value.type}")
    return values


def _values_as_json(columns: Sequence[str], row: Sequence[Any]) -> bytes:
    return measurement_of(
        {name: text_of(name, value) for name, value in zip(columns, row, strict=True) if value is not None}
    )
