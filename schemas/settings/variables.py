"""The variables that settings are read from. No other module looks for the variable of a setting.

A setting such as KAFKA_TOPIC is the first of these that is set and not empty:

1. PATTERN_METRICS_KAFKA_TOPIC in the environment
2. KAFKA_TOPIC in the environment
3. PATTERN_METRICS_KAFKA_TOPIC in the file that PATTERN_METRICS_ENV_FILE names
4. KAFKA_TOPIC in that file

Names are accepted in any case; of two spellings, the one in upper case wins. No other file is read: a `.env`
in the working directory most often belongs to another application.

It imports next to nothing, because health checks and shell hooks wait for it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from io import StringIO
from typing import Final, NamedTuple

PREFIX: Final = "PATTERN_METRICS_"
ENV_FILE: Final = "PATTERN_METRICS_ENV_FILE"

_UNREAD: Final = ".env"
_NAME: Final = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")


class EnvFileError(ValueError):
    """The file of PATTERN_METRICS_ENV_FILE cannot be used; the message is one line without its content."""


class Variable(NamedTuple):
    """A variable that is set.

    Attributes:
        name: the name, as it is spelt.
        text: the value, never empty.
        file: the file that sets it; None for the environment.
    """

    name: str
    text: str
    file: str | None = None

    def __repr__(self) -> str:
        return f"Variable({self})"

    def __str__(self) -> str:
        return f"{self.name} in {self.file}" if self.file else self.name


def find_variables(settings: Iterable[str]) -> dict[str, Variable]:
    """Return the variable of each of these settings that is set, by the setting's name as it was given.

    Raises:
        EnvFileError: the file of PATTERN_METRICS_ENV_FILE cannot be used.
    """
    found = _by_name(os.environ, None)
    path = found.get(ENV_FILE)
    sources = [found, _by_name(_read_once(path.text), path.text)] if path else [found]
    return {
        setting: variable
        for setting in settings
        if (variable := _first(sources, setting.upper())) is not None
    }


def with_variables(text: str) -> str:
    """Replace the names of settings in a text by the names of the variables that the user has set."""
    names = set(_NAME.findall(text))
    try:
        found = find_variables(names) if names else {}
    except EnvFileError:
        return text
    return _NAME.sub(lambda name: found[name[0]].name if name[0] in found else name[0], text)


def hint_at_unread_file(setting: str) -> str:
    """Return what to add to an error about a setting that is not set; empty unless `.env` here sets it."""
    try:
        is_overlooked = (
            not find_variables([setting])
            and os.path.isfile(_UNREAD)  # noqa: PTH113
            and _first([_by_name(_read(_UNREAD), None)], setting.upper())
        )
    except (EnvFileError, OSError):
        return ""
    return "; the file .env of this directory is not read: use --env-file .env" if is_overlooked else ""


def _first(sources: Iterable[Mapping[str, Variable]], name: str) -> Variable | None:
    spellings = (found.get(spelling) for found in sources for spelling in (PREFIX + name, name))
    return next((variable for variable in spellings if variable is not None), None)


def _by_name(texts: Mapping[str, str | None], file: str | None) -> dict[str, Variable]:
    """Return the variables with a value by their names in upper case."""
    # In this order upper case comes last, and so wins.
    return {
        name.upper(): Variable(name, text, file) for name, text in sorted(texts.items(), reverse=True) if text
    }


def _read(path: str) -> Mapping[str, str | None]:
    """Read a file of NAME=VALUE lines."""
    from pathlib import Path

    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        content = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise EnvFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise EnvFileError(f"{path}: is not UTF-8") from None
    for binding in parse_stream(StringIO(content)):
        if binding.error:
            text = binding.original.string
            blank_lines = text[: len(text) - len(text.lstrip())].count("\n")
            raise EnvFileError(f"{path}: line {binding.original.line + blank_lines} is not NAME=VALUE")
    return dotenv_values(stream=StringIO(content))


_read_once: Final = cache(_read)
"""Reads the settings' file once in the life of a process: it may be a pipe."""
