"""The HTTP server of the gateway: connections are kept alive, each wait is limited, and a stop is clean."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from pattern_metrics.consumer.http.server import CountedConnection, server_config

CLIENTS_MAX: Final = 256
"""Most connections. A new one replaces the oldest that has no request in flight, or else is closed."""

HEAD_SECONDS: Final = 10.0
"""Longest time until the head of the first request is there."""

IDLE_SECONDS: Final = 65.0
"""Longest time until the head of the next request is there. Load balancers close after 60 s."""

LINGER_SECONDS: Final = 2.0
"""Longest time in which the rest of a body is read after an early answer, so that the client sees it."""

DRAIN_SECONDS: Final = 25.0
"""Longest wait for the requests in flight at a stop: longer than a body and its delivery may take."""

RESPONSE_HEADERS: Final = [("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")]

_BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
_NOT_HTTP: Final = (
    b'{"type":"about:blank","title":"Bad Request","status":400,"detail":"the request is not valid HTTP"}'
)


class Server(uvicorn.Server):
    """Serves an application in the running loop.

    Args:
        app: the application.
        listener: the socket.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._listener = listener
        super().__init__(
            server_config(
                app,
                listener,
                http=_Connection,
                headers=RESPONSE_HEADERS,
                timeout_keep_alive=int(IDLE_SECONDS),
                timeout_graceful_shutdown=int(DRAIN_SECONDS),
            )
        )

    async def run_until_stopped(self) -> None:
        """Serve until `stop`, and until the requests in flight are answered."""
        await self.serve([self._listener])

    def stop(self) -> None:
        """Take no more requests, and answer the ones in flight."""
        self.should_exit = True

    def stop_at_once(self) -> None:
        """Drop the requests in flight."""
        self.should_exit = self.force_exit = True

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the command."""
        yield


class _Connection(CountedConnection):
    """A connection whose every wait for the client is limited."""

    _ending: asyncio.TimerHandle

    @property
    @override
    def connections_max(self) -> int:
        return CLIENTS_MAX

    @property
    @override
    def is_busy(self) -> bool:
        """True if a request is in flight."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    @property
    def _is_lingering(self) -> bool:
        """True if the request is answered and its body still arrives."""
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _end_after(self, seconds: float) -> None:
        self._ending.cancel()
        self._ending = self.loop.call_later(seconds, self.transport.abort)

    @override
    def connection_made(self, transport: Any) -> None:
        self._ending = self.loop.call_later(HEAD_SECONDS, transport.abort)
        super().connection_made(transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._ending.cancel()
        super().connection_lost(exc)

    @override
    def handle_events(self) -> None:
        before, was_lingering = self.cycle, self._is_lingering
        super().handle_events()
        if self.is_busy and self.cycle is not before:
            self._ending.cancel()  # the request limits itself
        elif was_lingering and not self.is_busy and not self._is_lingering:
            self._end_after(IDLE_SECONDS)

    @override
    def on_response_complete(self) -> None:
        self._end_after(LINGER_SECONDS if self._is_lingering else IDLE_SECONDS)
        super().on_response_complete()

    @override
    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio reads the answer
        """Answer a client that sends nothing more and still reads."""
        if not self.is_busy or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    @override
    def send_400_response(self, msg: str) -> None:
        if not self.is_busy or (self.cycle.more_body and not self.cycle.response_started):
            self.transport.write(_BAD_REQUEST % (len(_NOT_HTTP), _NOT_HTTP))
        self.transport.close()
