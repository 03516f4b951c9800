"""The README names every setting with its default, and every command."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic_core import PydanticUndefined

from pattern_metrics.consumer.cli.app import app
from pattern_metrics.consumer.settings import LogSettings, WorkerSettings
from pattern_metrics.consumer.telemetry.metric_table import with_table
from pattern_metrics.schemas.settings.kafka import KafkaSettings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

FIELDS = {
    name: field
    for settings in (WorkerSettings, LogSettings, KafkaSettings)
    for name, field in settings.model_fields.items()
}


def commands(command: Any, path: str) -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield path
        return
    for name, child in command.commands.items():
        yield from commands(child, f"{path} {name}")


def text_of(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


@pytest.mark.parametrize("name", FIELDS)
def test_a_row_of_the_readme_holds_the_setting_and_its_default(name: str) -> None:
    rows = [line for line in README.splitlines() if line.startswith("|") and f"`{name.upper()}`" in line]
    default = FIELDS[name].default

    assert rows
    if default not in (None, PydanticUndefined):
        whole = re.compile(rf"(?<!\w){re.escape(text_of(default))}(?!\w)")
        assert any(whole.search(row.replace(",", "")) for row in rows)


def test_the_readme_lists_the_metrics_of_the_code() -> None:
    assert with_table(README) == README, "run `make metrics`"


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app), "pattern-metrics")))
def test_the_readme_names_the_command(command: str) -> None:
    assert command in README
