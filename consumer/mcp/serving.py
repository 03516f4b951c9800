"""Serves the MCP server: over standard input and output to one client, or over HTTP to many."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.api.patterns import PatternReader
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.gateway.admission import Admission
from pattern_metrics.consumer.gateway.bodies import JSON, Form, read_body
from pattern_metrics.consumer.gateway.delivery import delivering
from pattern_metrics.consumer.gateway.server import Server
from pattern_metrics.consumer.http.bearer import client_name
from pattern_metrics.consumer.http.listening import address_of
from pattern_metrics.consumer.http.problems import problem
from pattern_metrics.consumer.http.server import is_loopback
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.mcp.code import CodeTools
from pattern_metrics.consumer.mcp.messages import readable
from pattern_metrics.consumer.mcp.patterns import PatternTools
from pattern_metrics.consumer.mcp.publishing import PublishTools
from pattern_metrics.consumer.mcp.server import build_server
from pattern_metrics.consumer.mcp.status import StatusTools
from pattern_metrics.consumer.mcp.stdio import input_until_a_signal
from pattern_metrics.consumer.settings import McpSettings
from pattern_metrics.consumer.stopping import hearing_signals

logger = structlog.get_logger()

MCP_PATH: Final = "/mcp"

_PLAIN: Final = Form(JSON, is_gzip=False, event_headers=(), is_binary=False)

_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


@asynccontextmanager
async def equipped(
    settings: McpSettings, root: Path | None, *, is_read_only: bool
) -> AsyncIterator[MCPServer[Any]]:
    """Yield a server with its tools, and connect to PostgreSQL and Kafka as they are needed.

    Args:
        settings: the database, the broker, the topic and the outbox.
        root: the directory below which code may be read; None for none.
        is_read_only: whether it lacks the tool that publishes.

    Raises:
        OutboxError: the file of OUTBOX_PATH cannot be used.
    """
    database = Database(settings.database_url.get_secret_value())
    patterns = PatternTools(PatternReader(database))
    try:
        async with CodeTools(root) as code:
            readers: list[Callable[..., Any]] = [
                *(patterns.find_patterns, patterns.pattern_quality, code.score_code, code.explain_score),
                StatusTools(settings, database).ingest_status,
            ]
            if is_read_only:
                yield build_server(readers, [], version("pattern-metrics"))
                return
            async with delivering(settings, Health()) as delivery:
                writers = [PublishTools(delivery, settings).publish_scores]
                yield build_server(readers, writers, version("pattern-metrics"))
    finally:
        database.close()


async def serve_stdio(settings: McpSettings, root: Path | None, *, is_read_only: bool) -> None:
    """Serve the client at standard input and output, until it closes the input, or until a signal.

    Args:
        settings: see `equipped`.
        root: see `equipped`.
        is_read_only: see `equipped`.

    Raises:
        OutboxError: see `equipped`.
    """
    async with equipped(settings, root, is_read_only=is_read_only) as server:
        with input_until_a_signal():
            await server.run_stdio_async()


def http_app(server: MCPServer[Any], settings: McpSettings, tokens: Tokens | None) -> ASGIApp:
    """Return the application that serves clients over HTTP, each request by itself. Web sites are refused.

    Args:
        server: the server.
        settings: its address, and the host names of clients' requests.
        tokens: the tokens of the clients; None if none are required.
    """
    names = [*settings.allowed_hosts]
    if is_loopback(settings.http_host):
        names += [form for name in (*_LOOPBACK_NAMES, settings.http_host) for form in (name, f"{name}:*")]
    app = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        json_response=True,
        stateless_http=True,
        transport_security=TransportSecuritySettings(allowed_hosts=names),
    )
    app.router.redirect_slashes = False
    return _guarded(app, tokens)


async def serve_http(
    settings: McpSettings,
    root: Path | None,
    tokens: Tokens | None,
    listener: socket.socket,
    started: Callable[[str], None],
    *,
    is_read_only: bool,
) -> None:
    """Serve clients over HTTP until SIGTERM or SIGINT, and then until the requests in flight are answered.

    Args:
        settings: see `equipped`.
        root: see `equipped`.
        tokens: the tokens of the clients; None if none are required.
        listener: the socket to serve.
        started: called with the address.
        is_read_only: see `equipped`.

    Raises:
        OutboxError: see `equipped`.
    """
    async with equipped(settings, root, is_read_only=is_read_only) as server:
        served = Server(http_app(server, settings, tokens), listener)
        async with server.session_manager.run():
            address, port, *_ = listener.getsockname()
            logger.info("http_started", address=address, port=port)
            started(address_of(listener).rstrip("/") + MCP_PATH)
            with hearing_signals(served.stop, served.stop_at_once):
                await served.run_until_stopped()


def _guarded(app: ASGIApp, tokens: Tokens | None) -> ASGIApp:
    """Require a token and a message, and bound the requests in flight and the time of each body."""
    admission = Admission()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            _require_call(request)
            name = client_name(request, tokens)
            with admission.admitted(name) as grow:
                message = _require_message(await read_body(request, _PLAIN, grow))
                request.state.client = name
                await app(scope, _replaying(message, receive), send)
        except HTTPException as error:
            await problem(error.status_code, error.detail, error.headers)(scope, receive, send)
        except ClientDisconnect:
            return

    return answer


def _require_call(request: Request) -> None:
    """Check what goes before the body.

    Raises:
        HTTPException: 404, 405 or 415.
    """
    if request.scope["path"] != MCP_PATH:
        raise HTTPException(404, f"the server is at {MCP_PATH}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "the content encoding is not identity", {"Accept-Encoding": "identity"})
    if request.method != "POST":
        raise HTTPException(405, "only POST is answered", {"Allow": "POST"})


def _require_message(body: bytes) -> bytes:
    """Return a body that is a message of JSON-RPC. The SDK would answer others with the text of an error.

    Raises:
        HTTPException: 400.
    """
    message = readable(body)
    if message is None:
        raise HTTPException(400, "the body is no message of JSON-RPC 2.0")
    return message


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return what receives a body that was read already."""
    unread = [body]

    async def receive_again() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return receive_again
