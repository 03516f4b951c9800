"""A progress bar on standard error. Rich is imported only if a person watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress

SHOW_SECONDS: Final = 0.1
"""Rich computes the speed from the last 1,000 updates; a file's lines would fill these in milliseconds."""


class Bar:
    """A progress bar that is moved by steps or set to a position. Without Rich's bar it shows nothing."""

    def __init__(self, progress: "Progress | None" = None, total: int | None = None) -> None:
        self._progress = progress
        self._done = 0.0
        self._total: float | None = total
        if progress is not None:
            self._task = progress.add_task("", total=total)
            self._shown_at = progress.get_time()

    def advance(self, steps: float) -> None:
        """Move by a number of steps."""
        self.reach(self._done + steps, self._total)

    def reach(self, done: float, total: float | None) -> None:
        """Set the number of steps that are done, and the number of all."""
        self._done, self._total = done, total
        if self._progress is not None and self._progress.get_time() - self._shown_at >= SHOW_SECONDS:
            self.show()

    def show(self) -> None:
        """Show the present position."""
        if self._progress is not None:
            self._shown_at = self._progress.get_time()
            self._progress.update(self._task, completed=self._done, total=self._total)


@contextmanager
def progress_bar(
    description: str, *, total: int | None = None, visible: bool = True, in_bytes: bool = False
) -> Iterator[Bar]:
    """Show a bar on standard error, with rate and time left, if a person watches.

    Args:
        description: the work.
        total: the number of steps, if it is known.
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
