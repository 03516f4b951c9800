"""The tools as a client lists them. The reference has a copy of their schemas, which a test compares."""

import json
import re
from collections.abc import Iterator
from math import ceil
from typing import Any

from tests.reference.mcp_tools import mcp_tools_page
from tests.reference.pages import FOLDER
from tests.support.mcp import connected_model, mcp_settings

TOOLS = {
    *("find_patterns", "pattern_quality", "score_code", "explain_score", "publish_scores", "ingest_status"),
}
TOKENS_MAX = 2_500
LETTERS_PER_TOKEN = 6
SIGNS_PER_TOKEN = 3

NOWHERE = mcp_settings("postgresql://nobody@127.0.0.1:1/none")


def tokens_of(text: str) -> int:
    """Return more tokens than the tokenizers of language models need for English and JSON.

    They cut a text into words, numbers and signs, as here, and know common words as a whole. For these
    definitions it returns a fifth more than the vocabularies cl100k, o200k and voyage3 have.
    """
    pieces = re.findall(r"[A-Za-z]+|\d{1,3}|[^\sA-Za-z\d]+", text)
    return sum(ceil(len(one) / (LETTERS_PER_TOKEN if one.isalpha() else SIGNS_PER_TOKEN)) for one in pieces)


def keywords(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from keywords(each)
    if isinstance(schema, dict):
        for key, value in schema.items():
            yield key
            yield from keywords(value)


async def definitions(mode: str, *, is_read_only: bool) -> list[dict[str, Any]]:
    async with connected_model(NOWHERE, is_read_only=is_read_only, mode=mode) as model:
        return await model.definitions()


async def test_there_are_six_tools_of_which_one_writes(mode: str) -> None:
    tools = {tool["name"]: tool for tool in await definitions(mode, is_read_only=False)}
    readers = {tool["name"]: tool for tool in await definitions(mode, is_read_only=True)}

    assert tools.keys() == TOOLS
    assert readers == {name: tool for name, tool in tools.items() if name != "publish_scores"}
    for name, tool in tools.items():
        title = tool["annotations"].pop("title")
        assert title.lower().replace(" ", "_") == name
        assert tool["annotations"] == {
            "readOnlyHint": name != "publish_scores",
            "destructiveHint": False,
            "idempotentHint": True,
            "openWorldHint": False,
        }


async def test_all_definitions_together_cost_few_tokens(mode: str) -> None:
    tools = await definitions(mode, is_read_only=False)

    tokens = tokens_of(json.dumps(tools, separators=(",", ":")))
    assert TOKENS_MAX / 2 < tokens < TOKENS_MAX, tokens


async def test_the_schemas_are_flat(mode: str) -> None:
    tools = await definitions(mode, is_read_only=False)

    for tool in tools:
        assert tool["description"]
        assert tool["inputSchema"]["type"] == tool["outputSchema"]["type"] == "object"
        assert not {"$ref", "$defs", "title", "allOf", "oneOf"} & {*keywords(tool["inputSchema"])}
        assert not {"$ref", "$defs", "title", "allOf", "oneOf"} & {*keywords(tool["outputSchema"])}


def test_the_schemas_are_the_ones_of_the_reference() -> None:
    assert (FOLDER / "mcp-tools.md").read_text(encoding="utf-8") == mcp_tools_page(), "run `make reference`"
