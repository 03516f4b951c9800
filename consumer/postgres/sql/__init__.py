"""SQL in files that a DBA can read: `<verb>_<noun>.sql`, with its purpose in the first line."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files


def statements_of(package: str) -> Callable[[str], str]:
    """Return a function that reads `NAME.sql` of a package and returns its text."""

    @cache
    def statement(name: str) -> str:
        return (files(package) / f"{name}.sql").read_text(encoding="utf-8")

    return statement


statement = statements_of(__name__)
