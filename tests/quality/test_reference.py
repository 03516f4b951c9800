"""The pages of docs/reference are those that the code generates, and each of them is complete."""

import ast
from collections.abc import Iterator

import pytest
from pydantic_settings import BaseSettings

from tests.reference.log_events import MEANINGS, ROOT, calls
from tests.reference.pages import FOLDER, PAGES


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
