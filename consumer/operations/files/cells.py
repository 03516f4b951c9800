"""Cells of tables: spellings of times, numbers and absent values, and the escape of formulas. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Final

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

_NUMBER: Final = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", flags=re.ASCII)

_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?) ?(Z|UTC|GMT|([+-]\d\d)(?::?(\d\d)(:\d\d)?)?)",
    flags=re.ASCII | re.IGNORECASE,
)

# A spreadsheet runs a cell that begins with one of these characters, some also by their wide forms.
# An empty text, and PostgreSQL's mark of an absent value, would come back as absent.
_ESCAPED: Final = re.compile(r"'*(?:[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]|\Z|\\N\Z)")
_ESCAPE: Final = "'"


def escape(text: str) -> str:
    """A cell that no spreadsheet runs, and that `unescape` takes for the text again."""
    return _ESCAPE + text if _ESCAPED.match(text) else text


def unescape(cell: str) -> str:
    """The text of a cell as `escape` wrote it."""
    return cell[1:] if cell.startswith(_ESCAPE) and _ESCAPED.match(cell, 1) else cell


def columns_of(header: Sequence[str]) -> list[str]:
    """The names of a table's columns, the known ones as the contract has them: any case, spaces around.

    Raises:
        InvalidSourceError: a column that every measurement has is missing, or a known one is there twice.
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
    """The texts of a CSV row by column, without the absent ones."""
    return {
        name: unescape(cell)
        for name, cell in zip(columns, row, strict=False)
        if (cell if name in _TEXT_COLUMNS else cell.strip()) not in _ABSENT
    }


def measurement_of(texts: Mapping[str, str]) -> bytes:
    """A row as JSON.

    Args:
        texts: those of the row that are not absent, by the names of `columns_of`.
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
    return text if is_json else json.dumps(text)


def number_of(text: str) -> str:
    """A number as JSON, where it is spelt with a comma or a sign, or without a digit before its point."""
    if not _NUMBER.fullmatch(text) or is_well_formed(text.encode()):
        return text
    number = float(text.replace(",", "."))
    return repr(number) if isfinite(number) else text


def time_of(text: str) -> str:
    """A time as RFC 3339, if its offset is spelt as PostgreSQL or pandas do; any other text as it is."""
    parts = _TIME.fullmatch(text)
    if parts is None:
        return text
    moment, zone, hours, minutes, seconds = parts.groups()
    if hours is None:
        return f"{moment}Z"
    if seconds is None:
        return f"{moment}{hours}:{minutes or '00'}"
    try:  # an offset with seconds: local mean time
        return datetime.fromisoformat(moment + zone).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return text
