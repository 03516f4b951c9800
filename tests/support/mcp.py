"""MCP clients of the official SDK, in this process and elsewhere."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import TextContent
from pydantic import SecretStr

from pattern_metrics.consumer.demo.embedded import HOST
from pattern_metrics.consumer.gateway.server import Server
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.mcp.serving import MCP_PATH, equipped, http_app
from pattern_metrics.consumer.settings import McpSettings

MODES: Final = ("auto", "legacy")
"""The ways of the SDK's client: by discovery, and by the handshake of earlier specifications."""


class Model:
    """A language model's view of the server."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def definitions(self) -> list[dict[str, Any]]:
        """Return the definitions of the tools, as they are sent."""
        found = await self.client.list_tools()
        return [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in found.tools]

    async def ask(self, tool: str, **arguments: Any) -> Any:
        """Call a tool, and return its answer."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        [content] = result.content
        assert isinstance(content, TextContent)
        assert json.loads(content.text) == result.structured_content
        return result.structured_content

    async def fail(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail, and return its sentence."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        [content] = result.content
        assert isinstance(content, TextContent)
        return content.text


def mcp_settings(database_url: str, **changes: Any) -> McpSettings:
    """Return the settings of a server whose broker is away, unless it is given."""
    return McpSettings(
        **{
            "database_url": SecretStr(database_url),
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "kafka_enable_idempotence": False,
            **changes,
        }
    )


@asynccontextmanager
async def connected_model(
    settings: McpSettings, root: Path | None = None, *, is_read_only: bool = True, mode: str = "auto"
) -> AsyncIterator[Model]:
    """Run a server in this process during the block, and yield a model."""
    async with (
        equipped(settings, root, is_read_only=is_read_only) as server,
        Client(server, mode=mode) as client,
    ):
        yield Model(client)


@asynccontextmanager
async def serving_models(
    settings: McpSettings, tokens: Tokens | None = None, *, is_read_only: bool = True, host: str = HOST
) -> AsyncIterator[int]:
    """Serve models over HTTP during the block, and yield the port. It has to end by itself when stopped."""
    async with equipped(settings, None, is_read_only=is_read_only) as server:
        listener = socket.create_server((host, 0))
        served = Server(http_app(server, settings, tokens), listener)
        async with server.session_manager.run():
            serving = asyncio.create_task(served.run_until_stopped())
            try:
                yield int(listener.getsockname()[1])
            finally:
                served.stop()
                async with asyncio.timeout(60):
                    await serving


@asynccontextmanager
async def remote_model(port: int, mode: str, token: str = "") -> AsyncIterator[Model]:
    """Connect a model over HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(
            streamable_http_client(f"http://{HOST}:{port}{MCP_PATH}", http_client=http), mode=mode
        ) as client,
    ):
        yield Model(client)
