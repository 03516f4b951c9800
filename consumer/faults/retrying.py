"""Retries an operation with back-off and jitter, for as long as an outage lasts."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose_beyond_rows
from pattern_metrics.consumer.faults.health import Health

T = TypeVar("T")

BACKOFF_SECONDS_INITIAL = 0.2
RETRY_SECONDS_MAX = 10.0


TRANSIENT: Final = frozenset({Fault.TRANSIENT})
"""Faults that a command waits out. It reports a wrong configuration to the person who started it."""

RECOVERABLE: Final = frozenset({Fault.TRANSIENT, Fault.CONFIGURATION})
"""Faults that a worker waits out. It continues by itself once the configuration is fixed."""


async def persevere(
    component: str,
    operation: Callable[[], Awaitable[T]],
    health: Health,
    *,
    waits_out: frozenset[Fault] = RECOVERABLE,
    recovers: bool = True,
) -> T:
    """Run an operation until it succeeds.

    Args:
        component: the name that `health` reports.
        operation: called again for each attempt.
        health: receives each failure, and the end of an outage.
        waits_out: the classes of errors after which to try again.
        recovers: whether success means that the component works again.

    Raises:
        Exception: the operation's error, if its class is not in `waits_out`.
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

    async def attempt() -> T:  # tenacity awaits only a coroutine function
        return await operation()

    result: T = await retrying(attempt)
    if recovers:
        health.recover(component)
    return result
