"""A progress bar on standard error. Rich is imported only when a person watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress

SHOW_SECONDS: Final = 0.1
"""Rich measures the speed over the last 1,000 updates; lines of a file would fill them in milliseconds."""


class Bar:
    """A progress bar that may be moved on, or put where the work is; without Rich's, one that nobody sees."""

    def __init__(self, progress: "Progress | None" = None, total: int | None = None) -> None:
        self._progress = progress
        self._done = 0.0
        self._total: float | None = total
        if progress is not None:
            self._task = progress.add_task("", total=total)
            self._shown_at = progress.get_time()

    def advance(self, steps: float) -> None:
        """Move on by so many steps."""
        self.reach(self._done + steps, self._total)

    def reach(self, done: float, total: float | None) -> None:
        """Say how many steps are done, and of how many."""
        self._done, self._total = done, total
        if self._progress is not None and self._progress.get_time() - self._shown_at >= SHOW_SECONDS:
            self.show()

    def show(self) -> None:
        """Show what is done now."""
        if self._progress is not None:
            self._shown_at = self._progress.get_time()
            self._progress.update(self._task, completed=self._done, total=self._total)


@contextmanager
def progress_bar(
    description: str, *, total: int | None = None, visible: bool = True, in_bytes: bool = False
) -> Iterator[Bar]:
    """A bar on standard error, with rate and time left, when a person watches.

    Args:
        description: what is done.
        total: the steps to do, if that is known.
        visible: whether standard error may be used.
        in_bytes: whether a step is a byte.
    """
    if not (visible and sys.stderr.isatty()):
        yield Bar()
        return
    from pattern_metrics.consumer.cli.rich_progress import rich_progress

    with rich_progress(description, in_bytes=in_bytes) as progress:
        bar = Bar(progress, total)
        yield bar
        bar.show()
