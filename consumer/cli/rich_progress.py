"""Rich's progress bar."""

import time
from collections.abc import Callable
from typing import Final

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
    TransferSpeedColumn,
)
from rich.text import Text
from typing_extensions import override

MEANINGFUL_SECONDS: Final = 3.0
"""The time left is shown after this many seconds, because the first batches are not typical."""

SPEED_SECONDS: Final = 60.0
"""The speed is the average of the last minute."""


class _RateColumn(ProgressColumn):
    """Steps per second. Rich's own column shows them only if the total is unknown."""

    @override
    def render(self, task: Task) -> Text:
        return TaskProgressColumn.render_speed(task.finished_speed or task.speed)


class _TimeLeftColumn(TimeRemainingColumn):
    """The time left, once it can be estimated."""

    @override
    def render(self, task: Task) -> Text:
        if not task.finished and (task.elapsed or 0.0) < MEANINGFUL_SECONDS:
            return Text("-:--:--", style="progress.remaining")
        return super().render(task)


def rich_progress(
    description: str, *, in_bytes: bool, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """Return a bar on standard error, with rate and time left; it is shown within a `with` block.

    Args:
        description: the work.
        in_bytes: whether a step is a byte.
        clock: seconds that only increase.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn(description),
        BarColumn(),
        TaskProgressColumn(),
        TransferSpeedColumn() if in_bytes else _RateColumn(),
        TimeElapsedColumn(),
        _TimeLeftColumn(),
    )
    return Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=SPEED_SECONDS,
        get_time=clock,
    )
