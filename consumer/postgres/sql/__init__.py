"""The statements, each in a file that a DBA can read: `<verb>_<noun>.sql`, its purpose in the first line."""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The text of `name`.sql."""
    return (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
