"""Writes rows as JSON Lines, CSV or Parquet."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from typing_extensions import override

from pattern_metrics.consumer.operations.files.cells import escape
from pattern_metrics.consumer.operations.formats import Format

Write = Callable[[bytes], None]
"""Takes the next bytes of the output."""

WriteRows = Callable[[Sequence[Sequence[object]]], None]
"""Takes the next rows, each with one value a column."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the view.

    Attributes:
        name: its name.
        type: PostgreSQL's name of its type.
    """

    name: str
    type: str


OpenWriter = Callable[[Sequence[Column], Write], AbstractContextManager[WriteRows]]


@contextmanager
def _json_lines(columns: Sequence[Column], write: Write) -> Iterator[WriteRows]:
    """Write an object a line. `backfill` reads it and ignores the fields that it does not know."""
    names = [column.name for column in columns]
    documents = [column.name for column in columns if column.type == "jsonb"]

    def write_rows(rows: Sequence[Sequence[object]]) -> None:
        lines = bytearray()
        for row in rows:
            fields = dict(zip(names, row, strict=True))
            for name in documents:
                text = fields[name]
                if isinstance(text, str):
                    fields[name] = orjson.Fragment(text)
            lines += orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        write(bytes(lines))

    yield write_rows


@contextmanager
def _csv(columns: Sequence[Column], write: Write) -> Iterator[WriteRows]:
    """Write RFC 4180 with a header, metadata as JSON, no cell as a formula, missing values as empty cells."""
    names = [column.name for column in columns]

    def write_cells(rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        write(text.getvalue().encode())

    write_cells([names])
    yield lambda rows: write_cells([[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return escape(value) if isinstance(value, str) else value


class _Sink(io.RawIOBase):
    """The file for pyarrow, which asks for the position, even if the output is a pipe."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._position = 0

    @override
    def writable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._position

    @override
    def write(self, data: Any) -> int:
        self._write(bytes(data))
        self._position += len(data)
        return len(data)


@contextmanager
def _parquet(columns: Sequence[Column], write: Write) -> Iterator[WriteRows]:
    """Write ids, metadata and other text as strings, and times in microseconds, UTC.

    A time outside of the years 1 to 9999 becomes null.

    Raises:
        ImportError: the extra `parquet` is not installed.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types = {"float8": pyarrow.float64(), "timestamptz": pyarrow.timestamp("us", tz="UTC")}
    schema = pyarrow.schema([(column.name, types.get(column.type, pyarrow.string())) for column in columns])
    with ParquetWriter(_Sink(write), schema, compression="zstd") as writer:

        def write_rows(rows: Sequence[Sequence[object]]) -> None:
            cells = (
                map(_near_time, column) if field.type == types["timestamptz"] else column
                for column, field in zip(zip(*rows, strict=True), schema, strict=True)
            )
            arrays = [pyarrow.array(column, field.type) for column, field in zip(cells, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))

        yield write_rows


def _near_time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


WRITERS: Final[dict[Format, OpenWriter]] = {
    Format.JSONL: _json_lines,
    Format.CSV: _csv,
    Format.PARQUET: _parquet,
}
