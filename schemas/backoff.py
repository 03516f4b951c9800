"""The wait between attempts that fail one after the other."""

import random


def backoff_seconds(failures: int, *, longest: float, first: float = 2.0) -> float:
    """Return the time to wait after so many failures in a row: twice as long each time, with jitter.

    Args:
        failures: at least 1.
        longest: the longest wait.
        first: the wait after the first failure.
    """
    doubled: float = first * 2.0 ** min(failures - 1, 64)
    return min(longest, doubled) * random.uniform(0.5, 1)  # noqa: S311 - jitter
