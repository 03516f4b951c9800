"""The pages of docs/reference are those that the code generates, and each of them is complete."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from pydantic_settings import BaseSettings

from pattern_metrics.consumer.cli.app import app
from tests.quality.test_documents import DOCUMENTS
from tests.reference.log_events import MEANINGS, ROOT, calls
from tests.reference.pages import FOLDER, PAGES

COMMANDS: Final[Any] = typer.main.get_command(app)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_the_one_that_the_code_generates(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "run `make reference`"


def settings_classes(base: type[BaseSettings] = BaseSettings) -> Iterator[type[BaseSettings]]:
    for settings in base.__subclasses__():
        yield from settings_classes(settings)
        if settings.__module__.startswith("pattern_metrics."):
            yield settings


def test_the_reference_has_each_setting_once() -> None:
    headings = [line for line in PAGES["settings.md"]().splitlines() if line.startswith("### ")]

    fields = {name for settings in settings_classes() for name in settings.model_fields}
    assert sorted(headings) == sorted(f"### `{name.upper()}`" for name in fields)


def test_each_log_event_has_a_meaning_and_each_meaning_an_event() -> None:
    assert sorted({call.event for call in calls()}) == sorted(MEANINGS)


def test_each_logger_has_the_name_by_which_the_reference_finds_its_events() -> None:
    names = [
        ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])
        for room in ("consumer", "publisher", "schemas", "migrations")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and "get_logger()" in ast.unparse(node)
    ]

    assert set(names) == {"logger"}


def commands_named_in(document: Path) -> Iterator[list[str]]:
    """Yield the words after `pattern-metrics` in each command in a document's code."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```.*?^ *```", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    for code in [line for block in blocks for line in block.splitlines()] + spans:
        for words in re.findall(r"(?:^|[|&;]\s|=\S*\s)\s*pattern-metrics\s([^|&;#>]*)", code):
            yield words.split()


def unknown_words(words: list[str]) -> Iterator[str]:
    """Yield a command or an option that the command line does not have."""
    command = COMMANDS
    known = {"--help"}
    for word in words:
        known |= {option for parameter in command.params for option in parameter.opts}
        if word.startswith("--"):
            if word.partition("=")[0] not in known:
                yield word
        elif word.isupper() or word.startswith("["):
            return
        elif hasattr(command, "commands"):
            if word not in command.commands:
                yield word
                return
            command = command.commands[word]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_command_that_a_document_names_is_there_with_its_options(document: Path) -> None:
    if document.name == "CHANGELOG.md":
        return  # it has the names of former releases
    assert not [word for words in commands_named_in(document) for word in unknown_words(words)]


@pytest.mark.parametrize("words", ["nonsense", "migrate nonsense", "replay --nonsense", "--nonsense"])
def test_a_command_that_is_not_there_would_be_noticed(words: str) -> None:
    assert list(unknown_words(words.split())) == [words.rsplit(maxsplit=1)[-1]]
