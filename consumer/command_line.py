"""What all commands share: settings, errors as one line, a progress bar."""

import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import override

from consumer.faults import Fault, diagnose
from consumer.logs import configure_logging
from consumer.settings import InvalidSettingError, LogSettings, SettingsT, load

T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on the last line of stdout.")]

KAFKA = "Kafka (KAFKA_BOOTSTRAP_SERVERS)"
POSTGRESQL = "PostgreSQL (DATABASE_URL)"


def fail(message: str, code: int) -> NoReturn:
    """End the command with one line on standard error."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def load_settings(settings_class: type[SettingsT]) -> SettingsT:
    """Read settings; one that is missing or wrong ends the command with exit code 2."""
    try:
        return load(settings_class)
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)


def start_logging() -> None:
    """For commands that do one thing: what aiokafka would log, their own last line says better."""
    configure_logging(load_settings(LogSettings), library_level=logging.CRITICAL)


def run(work: Coroutine[Any, Any, T], about: str) -> T:
    """Run a command's work; an error that is not a bug ends it with one line that says what it is about."""
    import uvloop

    try:
        return uvloop.run(work)
    except Exception as error:
        diagnosis = diagnose(error)
        if diagnosis.fault is Fault.UNKNOWN:
            raise
        detail = str(error) or type(error).__name__
        if diagnosis.fault is Fault.SETUP:
            fail(f"error: {about}: {detail}; {diagnosis.hint}", 2)
        fail(f"error: {about}: {detail}", 1)


class Bar:
    """A progress bar that may be moved on, or put where the work is."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def advance(self, steps: int) -> None:
        """Move on by so many steps."""
        self._progress.advance(self._task, steps)

    def reach(self, done: int, total: int) -> None:
        """Say how many steps are done, and of how many."""
        self._progress.update(self._task, completed=done, total=total)


class _RateColumn(ProgressColumn):
    """Steps a second; Rich's own column shows them only where the total is not known."""

    @override
    def render(self, task: Task) -> Text:
        return TaskProgressColumn.render_speed(task.finished_speed or task.speed)


@contextmanager
def progress_bar(description: str, *, total: int | None = None, visible: bool = True) -> Iterator[Bar]:
    """A bar on standard error, with rate and time left, when a person watches."""
    console = Console(stderr=True)
    columns = (
        TextColumn(description),
        BarColumn(),
        TaskProgressColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not (visible and console.is_terminal)) as progress:
        yield Bar(progress, total)
