"""The name and the dimensions that people see of a pattern, whatever a producer wrote into its metadata."""

import json
from typing import Final

import msgspec

from pattern_metrics.schemas.pattern_scored import DIMENSIONS

SHOWN_NAME_CHARACTERS_MAX: Final = 1000
"""A longer name is not a name for people."""


def parsed(text: str | None) -> object:
    """Return the value of a JSON text; None if there is no text, or one that Python cannot read."""
    if text is None:
        return None
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _parsed_slowly(text)
    return value


def _parsed_slowly(text: str) -> object:
    """Return the value of a JSON text whose numbers may have any number of digits."""
    try:
        return json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return None


def name_of(name: object, pattern_id: str) -> str:
    """Return the member `name` of metadata, or the pattern's id if it is not a name for people.

    A name is a text that is not blank and has at most SHOWN_NAME_CHARACTERS_MAX characters.
    """
    is_name = isinstance(name, str) and bool(name.strip()) and len(name) <= SHOWN_NAME_CHARACTERS_MAX
    return str(name) if is_name else pattern_id


def dimensions_of(dimensions: object) -> dict[str, float]:
    """Return the numbers from 0 to 1 of the member `dimensions` of metadata, whatever their names.

    The scorer's own dimensions come first, in their usual order, and then all others by name.
    """
    if not isinstance(dimensions, dict):
        return {}
    valid = {
        name: value
        for name, value in dimensions.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    }
    ours = {name: valid[name] for name in DIMENSIONS if name in valid}
    others = sorted(valid.keys() - ours.keys()) if len(valid) > len(ours) else ()
    return ours | {name: valid[name] for name in others}
