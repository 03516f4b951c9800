import asyncio
import math
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import pytest

from pattern_metrics.consumer.stopping import GraceExpiredError, Stop, cancel

LONG_SECONDS = 60


class Work:
    """Work that ends when it is cancelled or released, and remembers how it ended."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.was_cancelled = False

    async def run(self) -> str:
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return "done"


@asynccontextmanager
async def running(work: Coroutine[None, None, object]) -> AsyncIterator["asyncio.Task[object]"]:
    """A task that has begun, and that ends with the test."""
    task: asyncio.Task[object] = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=0.01)
    try:
        yield task
    finally:
        await cancel(task)


async def fail() -> None:
    raise LookupError


async def test_without_a_stop_everything_runs_to_its_end() -> None:
    stop, work = Stop(LONG_SECONDS), Work()
    work.may_end.set()

    assert not stop.is_requested
    assert stop.seconds_left == math.inf
    assert await stop.interrupt(work.run()) == "done"
    assert await stop.finish(asyncio.ensure_future(work.run())) == "done"


async def test_a_stop_interrupts_what_waits_at_once() -> None:
    stop, work = Stop(LONG_SECONDS), Work()
    async with running(stop.interrupt(work.run())) as waiting:
        stop.request()

        assert await asyncio.wait_for(waiting, 5) is None
    assert work.was_cancelled
    assert stop.seconds_left > LONG_SECONDS / 2


async def test_a_wait_that_begins_after_a_stop_ends_at_once() -> None:
    stop, work = Stop(LONG_SECONDS), Work()
    stop.request()

    assert await asyncio.wait_for(stop.interrupt(work.run()), 5) is None


async def test_work_in_flight_may_end_within_the_grace_time() -> None:
    stop, work = Stop(LONG_SECONDS), Work()
    stop.request()
    task = asyncio.ensure_future(work.run())
    async with running(stop.finish(task)) as finishing:
        assert not finishing.done()
        work.may_end.set()

        assert await asyncio.wait_for(finishing, 5) == "done"
    assert not work.was_cancelled


async def test_work_in_flight_is_cancelled_when_the_grace_time_is_over() -> None:
    stop, work = Stop(0.01), Work()
    task = asyncio.ensure_future(work.run())
    async with running(stop.finish(task)) as finishing:
        stop.request()

        with pytest.raises(GraceExpiredError):
            await asyncio.wait_for(finishing, 5)
    assert work.was_cancelled
    assert stop.seconds_left == 0


async def test_a_second_request_does_not_prolong_the_grace_time() -> None:
    stop = Stop(LONG_SECONDS)
    stop.request()
    deadline = stop._deadline
    async with running(Work().run()):  # a moment passes
        stop.request()

    assert stop._deadline == deadline
    assert stop.seconds_left < LONG_SECONDS


async def test_an_error_comes_through_before_and_after_a_stop() -> None:
    stop = Stop(LONG_SECONDS)
    for _ in range(2):
        with pytest.raises(LookupError):
            await stop.interrupt(fail())
        with pytest.raises(LookupError):
            await stop.finish(asyncio.ensure_future(fail()))
        stop.request()


async def test_a_cancelled_wait_cancels_the_work_that_it_waits_for() -> None:
    stop, interrupted, finished = Stop(LONG_SECONDS), Work(), Work()
    task = asyncio.ensure_future(finished.run())
    async with (
        running(stop.interrupt(interrupted.run())) as one,
        running(stop.finish(task)) as other,
    ):
        for waiting in (one, other):
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    assert interrupted.was_cancelled
    assert finished.was_cancelled


async def test_cancelling_waits_for_the_end_however_it_ends() -> None:
    async def end_badly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError

    task = asyncio.ensure_future(end_badly())
    await asyncio.wait({task}, timeout=0.01)
    await cancel(task)

    assert task.done()
    assert isinstance(task.exception(), LookupError)
