"""What an export may be. Imports no library, as the commands' options are read by it."""

from enum import StrEnum
from pathlib import PurePath
from typing import Final


class Format(StrEnum):
    """What an export may be."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"

    @classmethod
    def of_name(cls, name: str) -> "Format | None":
        """The format that a file's name promises by its ending; None where it promises none of these."""
        return _FORMATS_OF_ENDINGS.get(PurePath(name).suffix.lower())


_FORMATS_OF_ENDINGS: Final = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
}
