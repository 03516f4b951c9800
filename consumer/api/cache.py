"""Computes expensive answers once for all clients, and keeps them for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

ANSWERS_MAX: Final = 64
COMPUTED_AT_ONCE_MAX: Final = 16
SECONDS_MIN: Final = 2.0
COST_FACTOR: Final = 50.0
"""An answer is kept this many times as long as its computation took, which limits its cost to a 50th."""


class BusyError(Exception):
    """Too many answers are being computed."""


class Cache:
    """The latest answers by name. One task computes an answer, however many clients wait for it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, float]] = {}
        self._computing: dict[str, asyncio.Task[bytes]] = {}

    async def get(
        self, name: str, compute: Callable[[], Awaitable[bytes]], seconds_max: float = inf
    ) -> bytes:
        """Return the answer of that name, computed now if no recent answer is kept.

        Args:
            name: the name.
            compute: computes the answer.
            seconds_max: how long an answer that is computed now is kept at most.

        Raises:
            BusyError: too many other answers are being computed.
            Exception: the error of `compute`, which is not kept.
        """
        answer, expires_at = self._kept.get(name, (b"", 0.0))
        if time.monotonic() < expires_at:
            return answer
        if name not in self._computing:
            if len(self._computing) >= COMPUTED_AT_ONCE_MAX:
                raise BusyError
            self._computing[name] = asyncio.create_task(self._compute(name, compute, seconds_max))
        return await asyncio.shield(self._computing[name])  # other clients wait too

    async def _compute(self, name: str, compute: Callable[[], Awaitable[bytes]], seconds_max: float) -> bytes:
        begun_at = time.monotonic()
        try:
            answer = await compute()
        finally:
            del self._computing[name]
        now = time.monotonic()
        self._kept.pop(name, None)
        seconds = min(seconds_max, max(SECONDS_MIN, COST_FACTOR * (now - begun_at)))
        self._kept[name] = (answer, now + seconds)
        while len(self._kept) > ANSWERS_MAX:
            del self._kept[next(iter(self._kept))]
        return answer
