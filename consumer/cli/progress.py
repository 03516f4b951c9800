"""A progress bar on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager

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


class Bar:
    """A progress bar that may be moved on, or put where the work is."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def advance(self, steps: float) -> None:
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
