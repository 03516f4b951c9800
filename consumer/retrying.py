"""An outage is not a crash: try again, with back-off and jitter, for as long as it takes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from consumer.faults import Fault, diagnose
from consumer.health import Health

T = TypeVar("T")

BACKOFF_SECONDS_INITIAL = 0.2
BACKOFF_SECONDS_MAX = 10.0


async def persevere(
    component: str, operation: Callable[[], Awaitable[T]], health: Health, *, recovers: bool = True
) -> T:
    """Run an operation until it succeeds, waiting out the weather and a set-up that is not mended yet.

    Args:
        component: what `health` is told about.
        operation: what to run; begun anew for each attempt.
        health: told of each failure, and of the end of an outage.
        recovers: whether success means that the component works again.

    Raises:
        Exception: what the operation raised, where neither waiting nor an operator can help.
    """

    def is_passing(error: BaseException) -> bool:
        return diagnose(error).fault in {Fault.WEATHER, Fault.SETUP}

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            health.report(component, error, diagnose(error))

    retrying = AsyncRetrying(
        retry=retry_if_exception(is_passing),
        wait=wait_random_exponential(multiplier=BACKOFF_SECONDS_INITIAL, max=BACKOFF_SECONDS_MAX),
        before_sleep=report,
        reraise=True,
    )

    async def attempt() -> T:  # tenacity awaits only what is a coroutine function itself
        return await operation()

    result: T = await retrying(attempt)
    if recovers:
        health.recover(component)
    return result
