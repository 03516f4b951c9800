"""An outage is not a crash: try again, with back-off and jitter, for as long as it takes."""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose_beyond_rows
from pattern_metrics.consumer.faults.health import Health

T = TypeVar("T")

BACKOFF_SECONDS_INITIAL = 0.2
RETRY_SECONDS_MAX = 10.0


WEATHER: Final = frozenset({Fault.WEATHER})
"""What a command waits out; of a wrong set-up it tells whoever started it."""

WEATHER_AND_SETUP: Final = frozenset({Fault.WEATHER, Fault.SETUP})
"""What a worker waits out: it goes on by itself once the set-up is mended."""


def backoff_seconds(failures: int, seconds_max: float) -> float:
    """Return how long to wait after so many failures in a row: twice as long each time, with jitter.

    Args:
        failures: at least 1.
        seconds_max: the longest wait.
    """
    doubled: int = 2**failures
    return min(seconds_max, doubled) * random.uniform(0.5, 1)  # noqa: S311 - jitter


async def persevere(
    component: str,
    operation: Callable[[], Awaitable[T]],
    health: Health,
    *,
    waits_out: frozenset[Fault] = WEATHER_AND_SETUP,
    recovers: bool = True,
) -> T:
    """Run an operation until it succeeds.

    Args:
        component: what `health` is told about.
        operation: what to run; begun anew for each attempt.
        health: told of each failure, and of the end of an outage.
        waits_out: whose faults end by themselves, or by somebody who mends them.
        recovers: whether success means that the component works again.

    Raises:
        Exception: what the operation raised, where it is not waited out.
    """

    def is_passing(error: BaseException) -> bool:
        return diagnose_beyond_rows(error).fault in waits_out

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            health.report(component, error, diagnose_beyond_rows(error))

    retrying = AsyncRetrying(
        retry=retry_if_exception(is_passing),
        wait=wait_random_exponential(multiplier=BACKOFF_SECONDS_INITIAL, max=RETRY_SECONDS_MAX),
        before_sleep=report,
        reraise=True,
    )

    async def attempt() -> T:  # tenacity awaits only what is a coroutine function itself
        return await operation()

    result: T = await retrying(attempt)
    if recovers:
        health.recover(component)
    return result
