"""The restart of a process that ended by itself."""

import pytest

from pattern_metrics.consumer.worker.processes.supervisor import (
    ENDS_MAX,
    ENDS_SECONDS,
    RESTART_SECONDS_MAX,
    Restarts,
)


def test_a_process_that_keeps_ending_is_started_ever_later_and_then_given_up() -> None:
    restarts = Restarts()

    waits = [restarts.seconds_until(float(number)) for number in range(ENDS_MAX + 1)]

    assert waits.pop() is None
    for number, seconds in enumerate(waits, start=1):
        longest = min(RESTART_SECONDS_MAX, 2**number)
        assert seconds == pytest.approx(longest * 0.75, abs=longest * 0.25)


def test_a_process_that_ends_now_and_then_is_always_started_again() -> None:
    restarts = Restarts()
    apart = ENDS_SECONDS / ENDS_MAX + 1

    assert None not in [restarts.seconds_until(number * apart) for number in range(100)]
