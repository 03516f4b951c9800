"""Waits for conditions, without sleeping for a guessed time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], *, deadline_seconds: float = ..., poll_seconds: float = ...
) -> T: ...
@overload
async def eventually(
    condition: Callable[[], T], *, deadline_seconds: float = ..., poll_seconds: float = ...
) -> T: ...
async def eventually(
    condition: Callable[[], Any], *, deadline_seconds: float = 30, poll_seconds: float = 0.05
) -> Any:
    """Call `condition`, sync or async, until it returns something true, and return that.

    An exception counts as "not yet". The pause between two calls begins with `poll_seconds`, and grows to a
    twentieth of the time so far, at most a quarter of a second: many conditions query a server.

    Raises:
        AssertionError: nothing true within the deadline. The message shows the last result or exception.
    """
    began_at = time.monotonic()
    deadline = began_at + deadline_seconds
    last: object = None
    failure: Exception | None = None
    while True:
        remaining = asyncio.timeout(deadline - time.monotonic())
        try:
            async with remaining:
                answer = condition()
                last, failure = await answer if inspect.isawaitable(answer) else answer, None
        except Exception as error:  # noqa: BLE001 - any error is shown at the deadline
            if not remaining.expired() or last is None:
                last = failure = error
        if last and failure is None:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_seconds} s; last: {last!r}") from failure
        await asyncio.sleep(max(poll_seconds, min((time.monotonic() - began_at) / 20, 0.25)))


async def hold(seconds: float) -> None:
    """Wait for a time, only if the test is about time itself; never to wait for a condition."""
    await asyncio.sleep(seconds)
