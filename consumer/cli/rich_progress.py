"""The progress bar that a person sees."""

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


class _RateColumn(ProgressColumn):
    """Steps a second; Rich's own column shows them only where the total is not known."""

    @override
    def render(self, task: Task) -> Text:
        return TaskProgressColumn.render_speed(task.finished_speed or task.speed)


def rich_progress(description: str) -> Progress:
    """A bar on standard error, with rate and time left; shown within a `with` block."""
    console = Console(stderr=True)
    columns = (
        TextColumn(description),
        BarColumn(),
        TaskProgressColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
