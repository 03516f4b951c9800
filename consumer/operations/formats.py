"""The formats of an export. Imports no library, because the commands' options need it."""

from enum import StrEnum
from pathlib import PurePath
from typing import Final


class Format(StrEnum):
    """The formats of an export."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"

    @classmethod
    def of_name(cls, name: str) -> "Format | None":
        """Return the format of a file name's ending; None for any other ending."""
        return _FORMATS_OF_ENDINGS.get(PurePath(name).suffix.lower())


_FORMATS_OF_ENDINGS: Final = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
}
