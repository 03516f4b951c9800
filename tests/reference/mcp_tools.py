"""The page of the MCP tools, from their definitions as a client gets them."""

import asyncio
import json
from typing import Any

from structlog.testing import capture_logs

from tests.reference.text import page, paragraphs
from tests.support.mcp import connected_model, mcp_settings

_INTRODUCTION = """
The tools of `pattern-metrics mcp`, each with its description, arguments and answer as a language model gets
them. [Use from a language model](../how-to/use-from-a-language-model.md) shows how.
"""


def mcp_tools_page() -> str:
    """Return each tool with its schemas."""
    blocks = [*paragraphs(_INTRODUCTION)]
    for tool in asyncio.run(_tools()):
        blocks += [f"## `{tool.pop('name')}`", *paragraphs(tool.pop("description"))]
        blocks.append(f"```json\n{json.dumps(tool, indent=1)}\n```")
    return page("MCP tools", "consumer/mcp", blocks)


async def _tools() -> list[dict[str, Any]]:
    settings = mcp_settings("postgresql://nobody@127.0.0.1:1/none")
    with capture_logs():  # its broker is away
        async with connected_model(settings, is_read_only=False) as model:
            return await model.definitions()
