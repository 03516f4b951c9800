"""Bounds of what is in flight: requests and bytes, in all and for each token."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from starlette.exceptions import HTTPException

REQUESTS_MAX: Final = 128
BYTES_MAX: Final = 24 * 1024 * 1024
"""Most requests, and bytes of their bodies after unpacking, that are in flight at a time."""

DECODED_EVENTS_MAX: Final = 10_000
"""Most events that are decoded at a time."""

TOKEN_REQUESTS_MAX: Final = 64
TOKEN_BYTES_MAX: Final = 16 * 1024 * 1024
"""The share of one token, so that one agent holds up no other."""


class _Bound:
    """Counts what is in flight, up to a bound.

    Args:
        status: the status of a request beyond the bound.
        whose: what the bound is for.
        requests_max: the bound of requests.
        bytes_max: the bound of the bytes of their bodies.
    """

    def __init__(self, status: int, whose: str, requests_max: int, bytes_max: int) -> None:
        self._status = status
        self._whose = whose
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self.requests = 0
        self._bytes = 0

    @contextmanager
    def admitted(self) -> Iterator[Callable[[int], None]]:
        """Count a request during the block. Yield the function that counts the bytes of its body."""
        size = 0

        def grow(more: int) -> None:
            nonlocal size
            size += more
            self._bytes += more
            if self._bytes > self._bytes_max:
                raise self._busy("bytes")

        if self.requests >= self._requests_max:
            raise self._busy("requests")
        self.requests += 1
        try:
            yield grow
        finally:
            self.requests -= 1
            self._bytes -= size

    def _busy(self, what: str) -> HTTPException:
        detail = f"too many {what} of {self._whose} are in flight"
        return HTTPException(self._status, detail, {"Retry-After": "1"})


class Admission:
    """Bounds what is in flight."""

    def __init__(self) -> None:
        self._all = _Bound(503, "all clients", REQUESTS_MAX, BYTES_MAX)
        self._of_token = dict[str, _Bound]()

    @property
    def requests(self) -> int:
        """The number of requests in flight."""
        return self._all.requests

    @contextmanager
    def admitted(self, name: str | None) -> Iterator[Callable[[int], None]]:
        """Admit a request during the block. Yield the function that counts the bytes of its body.

        Args:
            name: the name of its token; None without tokens.

        Raises:
            HTTPException: 429, the token has its share; 503, the gateway has all that it takes. So does the
                function.
        """
        if name is None:
            with self._all.admitted() as grow:
                yield grow
            return
        own = self._of_token.setdefault(name, _Bound(429, "this token", TOKEN_REQUESTS_MAX, TOKEN_BYTES_MAX))
        try:
            with own.admitted() as grow_own, self._all.admitted() as grow_all:

                def grow_both(more: int) -> None:
                    grow_own(more)
                    grow_all(more)

                yield grow_both
        finally:
            if not own.requests:
                self._of_token.pop(name, None)


class EventRoom:
    """Room for the events that are decoded and not yet answered. Requests wait for it in their order.

    A decoded event takes many times the memory of its JSON, so that a body waits as it is sent.

    Args:
        size: the number of events; at least as many as one request may have.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._queue = asyncio.Lock()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """Take room for this many events during the block."""
        async with self._queue:
            while self._free < count:
                self._changed.clear()
                await self._changed.wait()
            self._free -= count
        try:
            yield
        finally:
            self._free += count
            self._changed.set()
