"""Arguments of any kind: each call is answered, with a tool's answer or with a sentence."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from tests.page.conftest import fill
from tests.support.mcp import MODES, connected_model, mcp_settings
from tests.support.pipeline import an_event

ARGUMENTS: Final = {
    "find_patterns": ["name", "band", "dimension", "order", "limit", "cursor"],
    "pattern_quality": ["pattern", "metadata"],
    "score_code": ["path", "source", "limit"],
    "explain_score": ["name", "path", "source"],
    "publish_scores": ["scores"],
    "ingest_status": [],
}
FIELDS: Final = (
    "pattern",
    "quality_score",
    "confidence",
    "dimensions",
    "metadata",
    "version",
    "measured_at",
    "event_id",
)

FORBIDDEN = re.compile(
    r"Traceback|Errno|asyncpg|pydantic|psycopg|hunter2|postgresql://|\bSELECT\b|pattern_quality_metrics|"
    r"Exception|Error\b|input_value|site-packages|127\.0\.0\.1|" + re.escape(str(Path(__file__).parents[2]))
)
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")

TEXTS: Final = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "'; DROP TABLE pattern_quality_metrics; --",
            "%",
            "\0",
            "\u202e\x1b[2J",
            "../../etc/passwd",
            "/",
            "~",
            "null",
            "true",
            "[]",
            "{}",
            "1e999",
            "-1",
            "NaN",
            "Infinity",
            "\\u0000",
            "${DATABASE_URL}",
            "x" * 1001,
            '[1, "", "00000000-0000-0000-0000-000000000001"]',
            '[1e999, "", "x"]',
            "00000000",
            "0" * 32,
            "def f(): pass",
            "(" * 5_000,
            "-" * 5_000 + "1",
            "lambda:" * 1_000,
            "# coding: utf-16",
            "f(" * 300,
        ]
    ),
)
SCALARS: Final = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.just(10**400), st.integers(1, 50)
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS) | TEXTS, inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a tool and arguments, of which some have the right names."""
    tool = draw(st.sampled_from([*ARGUMENTS, "nothing", "\u202e"]))
    names = st.sampled_from(ARGUMENTS.get(tool) or ["x"])
    arguments = draw(st.dictionaries(names, TEXTS | VALUES, max_size=4))
    if draw(st.integers(0, 9)) == 0:
        arguments[draw(TEXTS)] = draw(VALUES)
    if tool == "publish_scores":
        arguments["scores"] = draw(
            st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES) | VALUES, max_size=3)
        )
    return tool, arguments


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(drawn=st.lists(calls(), min_size=5, max_size=20))
@example(drawn=[("publish_scores", {"scores": [{"pattern": "a", "metadata": {"a": deep(150)}}]})])
@example(drawn=[("publish_scores", {"scores": [{"pattern": "\u0000", "metadata": {"\u0000": 10**400}}]})])
def test_each_call_is_answered_without_a_word_of_the_servers_inside(
    database_url_with_login: str, mode: str, drawn: list[tuple[str, dict[str, Any]]]
) -> None:
    asyncio.run(call_all(database_url_with_login, mode, drawn))


@pytest.fixture
async def database_url_with_login(migrated_database_url: str) -> str:
    await fill(migrated_database_url, [an_event(1)])
    return migrated_database_url


async def call_all(url: str, mode: str, drawn: list[tuple[str, dict[str, Any]]]) -> None:
    async with asyncio.timeout(120), connected_model(mcp_settings(url), mode=mode) as model:
        for tool, arguments in drawn:
            try:
                result = await model.client.call_tool(tool, arguments)
            except (MCPError, ValueError, RecursionError):
                continue  # the client or the protocol cannot carry such a message
            said = json.dumps(result.model_dump(mode="json"), ensure_ascii=False)
            assert not FORBIDDEN.search(said.replace("DROP TABLE pattern_quality_metrics", "")), (tool, said)
            assert not UNSEEN.search(said), (tool, said)
            assert "an error of the server" not in said, (tool, arguments)
        assert await model.ask("find_patterns")
