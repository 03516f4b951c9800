"""A clean stop: what waits is interrupted at once, what is in hand gets its grace time."""

import asyncio
import math
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

logger = structlog.get_logger()

T = TypeVar("T")


class GraceExpiredError(Exception):
    """A stop took longer than its grace time; what was in hand is given up, and was not committed."""


class Stop:
    """Whether, and until when, to stop."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._requested = asyncio.Event()
        self._deadline = math.inf

    @property
    def is_requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask to stop; the grace time begins with the first request."""
        if not self.is_requested:
            self._deadline = asyncio.get_running_loop().time() + self._grace_seconds
            self._requested.set()

    @property
    def seconds_left(self) -> float:
        """What is left of the grace time; infinite as long as no stop was requested."""
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    async def interrupt(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """Run something that may be given up at any moment; None where a stop came first."""
        task = asyncio.ensure_future(waiting)
        await self._first(task)
        if not task.done():
            await cancel(task)
            return None
        return task.result()

    async def finish(self, task: "asyncio.Task[T]") -> T:
        """Wait for something that is in hand; after a stop, only as long as the grace time lasts.

        Raises:
            GraceExpiredError: it was cancelled, because the grace time was over.
        """
        await self._first(task)
        if not task.done():
            await asyncio.wait({task}, timeout=self.seconds_left)
        if not task.done():
            await cancel(task)
            raise GraceExpiredError
        return task.result()

    async def _first(self, task: "asyncio.Task[T]") -> None:
        requested = asyncio.ensure_future(self._requested.wait())
        try:
            await asyncio.wait({task, requested}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await cancel(task)
            raise
        finally:
            requested.cancel()


async def cancel(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it has ended, however it ends."""
    task.cancel()
    await asyncio.wait({task})
    see(task)


def see(ended: "asyncio.Task[Any]") -> None:
    """Look at how a task has ended, so that asyncio does not report an error as never retrieved."""
    if not ended.cancelled():
        ended.exception()


async def end_within(seconds: float, ending: Coroutine[Any, Any, None]) -> str | None:
    """Run what ends something that may be broken; what went wrong, by name, or None.

    aiokafka 0.14 lets the cancellation of its own tasks escape when it is stopped while its broker is away;
    that is neither our cancellation nor anybody's concern.
    """
    task = asyncio.ensure_future(ending)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        await cancel(task)
        return TimeoutError.__name__
    failure = asyncio.CancelledError() if task.cancelled() else task.exception()
    return None if failure is None else type(failure).__name__


@contextmanager
def hearing_signals(stop: Callable[[], object], stop_at_once: Callable[[], object]) -> Iterator[None]:
    """Answer SIGTERM, SIGINT or SIGHUP in the running loop: the first one cleanly, the next ones at once."""
    signals_seen = 0

    def handle() -> None:
        nonlocal signals_seen
        signals_seen += 1
        if signals_seen == 1:
            logger.info("stop_requested")
            stop()
        else:
            stop_at_once()

    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup ignores it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
