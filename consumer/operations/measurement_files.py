"""Files of measurements: JSON Lines and CSV."""

import codecs
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from typing import IO, Final

from pattern_metrics.consumer.records.decoding import FILE_TOPIC_PREFIX
from pattern_metrics.consumer.records.record import StoredRecord
from pattern_metrics.schemas.pattern_scored import Measurement

_JSON_COLUMNS: Final = ("quality_score", "confidence", "metadata")
"""Columns of a CSV file whose cells are JSON; the others are text."""


_REQUIRED_COLUMNS: Final = tuple(
    name for name, field in Measurement.model_fields.items() if field.is_required()
)


@dataclass(frozen=True, slots=True)
class Source:
    """Lines of a file, as records: topic `file:NAME`, partition 0, the line's number as offset.

    Attributes:
        name: the file's name, without its directory.
        timestamp: when the file was written, in milliseconds since the epoch: one that was changed since has
            dead letters of its own.
        lines: number and JSON of each.
    """

    name: str
    timestamp: int
    lines: Iterable[tuple[int, bytes]]

    def records(self) -> Iterator[StoredRecord]:
        """The lines that are not blank."""
        return (
            StoredRecord(f"{FILE_TOPIC_PREFIX}{self.name}", 0, number, self.timestamp, line)
            for number, line in self.lines
            if line.strip()
        )


def json_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of a JSON Lines file."""
    return enumerate(file, start=1)


class InvalidSourceError(Exception):
    """The file is neither JSON Lines nor a CSV that we can read; the message is one line."""


def is_csv(name: str, head: bytes) -> bool:
    """Whether a file is CSV: by its name, or by a header that names the columns.

    Args:
        name: the file's; standard input has none that tells.
        head: how the file begins.
    """
    header = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")[0]
    return name.lower().endswith(".csv") or (header[:1] != b"{" and b"pattern_id" in header)


def csv_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The rows of a CSV file with a header, as JSON; an empty cell is an absent field.

    Raises:
        InvalidSourceError: the header lacks a column that every measurement has, or has one twice.
    """
    csv.field_size_limit(2**31 - 1)  # what is too large is refused as a measurement, not as a file
    # A byte that is not UTF-8 becomes a lone surrogate, for which the contract refuses its row alone.
    text = TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.DictReader(text, restkey="")
    _require_columns(rows.fieldnames or ())
    for row in rows:
        cells = {name: value for name, value in row.items() if name and isinstance(value, str) and value}
        fields = {name: _cell(value) if name in _JSON_COLUMNS else value for name, value in cells.items()}
        if any(row.get("") or ()):
            fields = {"cells": fields, "cells_without_a_column": row[""]}
        yield rows.line_num, json.dumps(fields).encode()


def _require_columns(header: Sequence[str]) -> None:
    lacking = [name for name in _REQUIRED_COLUMNS if name not in header]
    if lacking:
        raise InvalidSourceError(f"the header lacks {', '.join(lacking)} (columns are separated by commas)")
    if len(set(header)) < len(header):
        raise InvalidSourceError("the header has a column twice")


def _cell(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text  # which the contract then refuses, with its reason
