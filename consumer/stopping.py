"""A clean stop: waiting is interrupted at once, and work in flight gets the grace time to finish."""

import asyncio
import math
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import structlog

logger = structlog.get_logger()

T = TypeVar("T")


class GraceExpiredError(Exception):
    """A stop took longer than its grace time. The work in flight was cancelled and not committed."""


class Stop:
    """A request to stop, and the time until which work may continue."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._requested = asyncio.Event()
        self._deadline = math.inf

    @property
    def is_requested(self) -> bool:
        """True if a stop was requested."""
        return self._requested.is_set()

    def request(self) -> None:
        """Request a stop. The grace time begins with the first request."""
        if not self.is_requested:
            self._deadline = asyncio.get_running_loop().time() + self._grace_seconds
            self._requested.set()

    @property
    def seconds_left(self) -> float:
        """Seconds left of the grace time; infinite while no stop is requested."""
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    async def interrupt(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """Run work that may be cancelled at any moment. Return its result, or None if a stop came first."""
        task = asyncio.ensure_future(waiting)
        await self._first(task)
        if not task.done():
            await cancel(task)
            return None
        return task.result()

    async def finish(self, task: "asyncio.Task[T]") -> T:
        """Wait for work in flight; after a stop, only until the grace time is over.

        Raises:
            GraceExpiredError: the work was cancelled, because the grace time was over.
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
    """Cancel a task and wait until it has ended in any way."""
    task.cancel()
    await asyncio.wait({task})
    see(task)


def see(ended: "asyncio.Task[Any]") -> None:
    """Retrieve a task's error, so that asyncio does not log it as never retrieved."""
    if not ended.cancelled():
        ended.exception()


async def end_within(seconds: float, ending: Coroutine[Any, Any, None]) -> str | None:
    """Run a coroutine that closes something that may be broken. Return the name of its error, or None.

    aiokafka 0.14 lets the cancellation of its own tasks escape when it is stopped while its broker is away.
    Nobody cancelled us then, so the cancellation is returned like an error.

    Args:
        seconds: the longest wait; afterwards the coroutine is cancelled.
        ending: the coroutine.
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
    """Call `stop` at the first SIGTERM, SIGINT or SIGHUP in the running loop, then `stop_at_once`."""
    signals_seen = 0

    def handle() -> None:
        nonlocal signals_seen
        signals_seen += 1
        if signals_seen == 1:
            logger.info("stop_requested")
            stop()
        else:
            stop_at_once()

    with ExitStack() as handlers:
        for number in _stop_signals():
            handlers.enter_context(_hearing(number, handle))
        yield


def _stop_signals() -> list[signal.Signals]:
    numbers = [signal.SIGTERM, signal.SIGINT]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        numbers.append(signal.SIGHUP)
    return numbers


@contextmanager
def _hearing(number: signal.Signals, handle: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":  # no event loop of Windows has handlers of signals
        before = signal.signal(number, lambda *_: loop.call_soon_threadsafe(handle))
        try:
            yield
        finally:
            signal.signal(number, before)
    else:
        loop.add_signal_handler(number, handle)
        try:
            yield
        finally:
            loop.remove_signal_handler(number)
