"""The HTTP server: probes, metrics and the page. Read-only.

It runs in a thread with its own event loop. Therefore decoding a batch does not delay a probe, and a slow
scraper does not delay the worker.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from itertools import count
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

import structlog
import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from pattern_metrics.consumer.http.problems import problem_of, problem_of_bug
from pattern_metrics.schemas.settings.timing import TIMING, Timing

logger = structlog.get_logger()


CONNECTIONS_MAX: Final = 64
"""Greatest number of connections. A new connection replaces the oldest, so that no probe is shut out."""

HEADER_BYTES_MAX: Final = 8192
STOP_SECONDS_MAX: Final = 2.0

HEADERS: Final = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Connection", "close"),
]
"""Headers of every response. Cache-Control: no-store is one as well, unless the response has its own."""

_PROBLEMS: Final = {HTTPException: problem_of, Exception: problem_of_bug}


class Site(Protocol):
    """Further routes to serve."""

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""

    def open(self) -> None:
        """Start, in the loop that serves the routes."""

    def close(self) -> None:
        """Stop, in the loop that serves the routes."""


@asynccontextmanager
async def serving_routes(
    listener: socket.socket, routes: Sequence[BaseRoute], page: Site | None, timing: Timing = TIMING
) -> AsyncIterator[None]:
    """Serve the routes and the page until the end of the block. On loopback, check the Host header."""
    all_routes = [*routes, *(page.routes if page else ())]
    router = ExceptionMiddleware(Router(all_routes, redirect_slashes=False), handlers=_PROBLEMS)
    connection: Any = partial(_Connection, timing.connection)  # it is only called
    server = _Server(server_config(_uncached(router), listener, http=connection, headers=HEADERS), page)
    thread = threading.Thread(target=_serve, args=(server, listener), name="http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.to_thread(thread.join, STOP_SECONDS_MAX)


def server_config(
    served: ASGIApp,
    listener: socket.socket,
    **options: Any,  # noqa: ANN401 - each option of uvicorn has a type of its own
) -> uvicorn.Config:
    """Return the configuration of a server. On loopback, it checks the Host header.

    Args:
        served: the application.
        listener: the socket.
        options: uvicorn's options in which servers differ.
    """
    host, *_ = listener.getsockname()
    return uvicorn.Config(
        only_by_names_of_loopback(served) if is_loopback(host) else served,
        ws="none",
        lifespan="off",
        interface="asgi3",
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_config=None,
        log_level="error",  # at lower levels uvicorn logs each request that is not HTTP
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        **options,
    )


def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    address, port, *_ = listener.getsockname()
    logger.info("http_started", address=address, port=port)
    try:
        server.run(sockets=[listener])
    except Exception:  # this is the outermost frame of the thread; the worker runs without it
        logger.exception("http_failed")


def is_loopback(host: str) -> bool:
    """Return whether a host is a name or an address of this machine that no other machine reaches."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def only_by_names_of_loopback(served: ASGIApp) -> ASGIApp:
    """Reject requests whose Host header is not a loopback name (protection against DNS rebinding)."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
        except ValueError:
            asked = ""
        await (served if is_loopback(asked) else Response(status_code=421))(scope, receive, send)

    return answer


def _uncached(served: ASGIApp) -> ASGIApp:
    """Keep each response out of caches, unless it says otherwise."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("Cache-Control", "no-store")
            await send(message)

        scope["app"] = served  # without it, Starlette does not raise its 404 and 405, which become problems
        await served(scope, receive, send_with_header)

    return answer


class CountedConnection(H11Protocol):
    """One of a limited number of connections: a new connection replaces the oldest that is not busy.

    uvicorn's own limit refuses the new connection, which may be a probe's.
    """

    _arrivals: ClassVar = count()
    arrival: int
    """Order of arrival. uvloop's clock returns the same time for all connections within a millisecond."""

    @property
    def is_busy(self) -> bool:
        """True if no other connection may replace it."""
        return False

    @property
    def connections_max(self) -> int:
        """Greatest number of connections."""
        return CONNECTIONS_MAX

    @override
    def connection_made(self, transport: Any) -> None:
        self.arrival = next(self._arrivals)
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            ours = [each for each in self.connections if isinstance(each, CountedConnection)]
            idle = [each for each in ours if each is not self and not each.is_busy]
            victim = min(idle, key=lambda each: each.arrival, default=self)
            self.connections.discard(victim)
            victim.transport.abort()


class _Connection(CountedConnection):
    """A connection for one request and one response. Its time is limited.

    uvicorn never ends a silent connection.
    """

    def __init__(self, seconds: float, **options: Any) -> None:  # noqa: ANN401 - uvicorn calls it
        super().__init__(**options)
        self._seconds = seconds

    @override
    def connection_made(self, transport: Any) -> None:
        self._ending = self.loop.call_later(self._seconds, transport.abort)
        super().connection_made(transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._ending.cancel()
        super().connection_lost(exc)

    @override
    def send_400_response(self, msg: str) -> None:
        self.transport.abort()  # a request that is not HTTP gets no answer


class _Server(uvicorn.Server):
    """A server that ends at once, without waiting for responses."""

    def __init__(self, config: uvicorn.Config, page: Site | None) -> None:
        super().__init__(config)
        self._page = page

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._page is not None:
            self._page.open()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self._page is not None:
            self._page.close()
        await super().shutdown(sockets)
