"""Cells of tables: the forms of times, numbers and missing values, and the escape of formulas. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Final
from uuid import UUID

from pattern_metrics.consumer.operations.files.json_text import is_well_formed
from pattern_metrics.consumer.operations.files.source import InvalidSourceError
from pattern_metrics.schemas.pattern_scored import Measurement, PatternScored

KNOWN_COLUMNS: Final = frozenset(PatternScored.model_fields)

_REQUIRED_COLUMNS: Final = tuple(
    name for name, field in Measurement.model_fields.items() if field.is_required()
)
_NUMBER_COLUMNS: Final = ("quality_score", "confidence")
_ID_COLUMNS: Final = ("pattern_id", "event_id")
_TEXT_COLUMNS: Final = ("version",)
_JSON_COLUMNS: Final = (*_NUMBER_COLUMNS, "metadata")

_ABSENT: Final = frozenset({"", r"\N"})
_ABSENT_IF_NOT_TEXT: Final = _ABSENT | {"NA", "<NA>", "NaN", "nan", "None", "NULL"}
"""The marks that R, pandas and others write. A text may well be one of these words."""

_ID_BYTES: Final = 16

_NUMBER: Final = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", flags=re.ASCII)

_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?) ?(Z|UTC|GMT|([+-]\d\d)(?::?(\d\d)(:\d\d)?)?)",
    flags=re.ASCII | re.IGNORECASE,
)

# A spreadsheet runs a cell that begins with one of these characters; some also in their wide forms. An empty
# text, and PostgreSQL's mark of a missing value, are escaped too, because they would be read as missing.
_ESCAPED: Final = re.compile(r"'*(?:[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]|\Z|\\N\Z)")
_APOSTROPHE: Final = "'"


def escape(text: str) -> str:
    """Return a cell that no spreadsheet runs, and from which `unescape` restores the text."""
    return _APOSTROPHE + text if _ESCAPED.match(text) else text


def unescape(cell: str) -> str:
    """Return the text of a cell that `escape` wrote."""
    return cell[1:] if cell.startswith(_APOSTROPHE) and _ESCAPED.match(cell, 1) else cell


def columns_of(header: Sequence[str]) -> list[str]:
    """Return a table's column names. Known names may have any case and spaces around them.

    Raises:
        InvalidSourceError: a required column is missing, or a known column occurs twice.
    """
    columns = [known if (known := name.strip().lower()) in KNOWN_COLUMNS else name for name in header]
    missing = [name for name in _REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise InvalidSourceError(f"the header lacks {', '.join(missing)}")
    twice = sorted(name for name in KNOWN_COLUMNS if columns.count(name) > 1)
    if twice:
        raise InvalidSourceError(f"the header has {', '.join(twice)} twice")
    return columns


def texts_of(columns: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """Return the texts of a CSV row by column, without missing values."""
    return {
        name: unescape(cell) for name, cell in zip(columns, row, strict=False) if not _is_absent(name, cell)
    }


def _is_absent(column: str, cell: str) -> bool:
    if column in _TEXT_COLUMNS or column not in KNOWN_COLUMNS:
        return cell in _ABSENT
    return cell.strip() in _ABSENT_IF_NOT_TEXT


def text_of(column: str, value: object) -> str:
    """Return the text of a value that a column with types has."""
    match value:
        case str():
            return value
        case bytes() if column in _ID_COLUMNS and len(value) == _ID_BYTES:
            return str(UUID(bytes=value))
        case bytes():
            return value.decode(errors="surrogateescape")
        case datetime():
            return value.isoformat()
        case dict() | list():
            return json.dumps(value, default=str)
        case _:
            return str(value)


def measurement_of(texts: Mapping[str, str]) -> bytes:
    """Return a row as JSON.

    Args:
        texts: the values of the row that are not missing, by the names of `columns_of`.
    """
    fields = (f"{json.dumps(name)}: {_as_json(name, text)}" for name, text in texts.items())
    return f"{{{', '.join(fields)}}}".encode(errors="surrogateescape")


def _as_json(column: str, text: str) -> str:
    if column in _NUMBER_COLUMNS:
        text = number_of(text.strip())
    elif column == "measurement_timestamp":
        text = time_of(text.strip())
    elif column in _ID_COLUMNS:
        text = text.strip()
    is_json = column in _JSON_COLUMNS and is_well_formed(text.encode(errors="surrogateescape"))
    # A byte that is not UTF-8 stays as it is, so that the row is refused for it.
    return text if is_json else json.dumps(text, ensure_ascii=False)


def number_of(text: str) -> str:
    """Return a number in JSON's form if it has a decimal comma, a plus sign, or no digit before its point."""
    if not _NUMBER.fullmatch(text) or is_well_formed(text.encode()):
        return text
    number = float(text.replace(",", "."))
    return repr(number) if isfinite(number) else text


def time_of(text: str) -> str:
    """Return a time as RFC 3339 if its offset has PostgreSQL's or pandas' form; any other text unchanged."""
    parts = _TIME.fullmatch(text)
    if parts is None:
        return text
    moment, zone, hours, minutes, seconds = parts.groups()
    if hours is None:
        return f"{moment}Z"
    if seconds is None:
        return f"{moment}{hours}:{minutes or '00'}"
    try:  # an offset with seconds is local mean time
        return datetime.fromisoformat(moment + zone).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return text
