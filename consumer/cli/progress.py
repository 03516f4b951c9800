"""A progress bar on standard error. Rich is imported only when a person watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """A progress bar that may be moved on, or put where the work is; without Rich's, one that nobody sees."""

    def __init__(self, progress: "Progress | None" = None, total: int | None = None) -> None:
        self._progress = progress
        if progress is not None:
            self._task = progress.add_task("", total=total)

    def advance(self, steps: float) -> None:
        """Move on by so many steps."""
        if self._progress is not None:
            self._progress.advance(self._task, steps)

    def reach(self, done: int, total: int) -> None:
        """Say how many steps are done, and of how many."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)


@contextmanager
def progress_bar(description: str, *, total: int | None = None, visible: bool = True) -> Iterator[Bar]:
    """A bar on standard error, with rate and time left, when a person watches."""
    if not (visible and sys.stderr.isatty()):
        yield Bar()
        return
    from pattern_metrics.consumer.cli.rich_progress import rich_progress

    with rich_progress(description) as progress:
        yield Bar(progress, total)
