"""Defuses text that other agents wrote, before a language model or a terminal gets it. Pure."""

import re
from typing import Any, Final

STRING_CHARACTERS_MAX: Final = 4_000
"""Most characters of any text of an answer."""

NAME_CHARACTERS_SHOWN: Final = 200
"""Most characters of a name."""

_PRINTABLE_YET_INVISIBLE: Final = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    r"\U00016fe4\U0001d159\U000e0000-\U000e0fff]"
)
"""Characters that Python calls printable and that nobody sees. Selectors can hide a whole text."""


def defused(value: Any) -> Any:  # noqa: ANN401 - it is any value of JSON
    """Return a value of JSON whose texts, also the names of its members, are escaped and cut."""
    match value:
        case str():
            return defused_text(value, STRING_CHARACTERS_MAX)
        case dict():
            return {
                defused_text(str(key), NAME_CHARACTERS_SHOWN): defused(each) for key, each in value.items()
            }
        case list():
            return [defused(each) for each in value]
        case _:
            return value


def defused_text(text: str, characters_max: int = NAME_CHARACTERS_SHOWN) -> str:
    r"""Return a text on one line, without characters that control, hide or reorder others.

    They become escapes such as `\\n` and `\\u202e`. A longer text is cut, and then ends with an ellipsis.
    """
    pieces = [_escaped(character) for character in text[: characters_max + 1]]
    size = sum(map(len, pieces))
    if size <= characters_max:
        return "".join(pieces)
    while size >= characters_max:
        size -= len(pieces.pop())  # an escape stays whole
    return "".join([*pieces, "…"])


def _escaped(character: str) -> str:
    if character.isprintable() and not _PRINTABLE_YET_INVISIBLE.match(character):
        return character
    return character.encode("unicode_escape").decode()
