"""The clients that agents have: curl and httpx. `make languages` has Go's net/http and fetch of Node."""

import asyncio
import gzip
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from pattern_metrics.consumer.settings import GatewaySettings
from tests.support.command import SECONDS_MAX
from tests.support.gateway import TOKEN, Agent, documented, running_gateway, tokens_in
from tests.support.pipeline import an_event

CURL: Final = {
    "one event": [],
    "HTTP/1.0": ["--http1.0"],
    "chunked": ["--header", "Transfer-Encoding: chunked"],
    "100-continue": ["--header", "Expect: 100-continue"],
    "HTTP/2 upgrade": ["--http2"],
    "read from a pipe": ["--request", "POST", "--upload-file", "-"],
}
"""Options with which curl sends a body in another way."""


@pytest.fixture
async def agent(on_a_broker: GatewaySettings, tmp_path: Path) -> AsyncIterator[Agent]:
    async with running_gateway(on_a_broker, tokens_in(tmp_path), TOKEN) as agent:
        await agent.wait_until_ready()
        yield agent


async def accepted(agent: Agent) -> float:
    return (await agent.samples())[("pattern_metrics_gateway_events_total", ("accepted",))]


async def run(*command: str | Path, stdin: bytes = b"") -> str:
    """Run a program that knows the token, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "TOKEN": TOKEN},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(stdin)
    assert process.returncode == 0, output
    return output.decode()


async def test_the_examples_of_the_guide_publish(agent: Agent) -> None:
    await run("sh", "-c", documented("sh", agent.port))
    await run(sys.executable, "-c", documented("python", agent.port))

    assert await accepted(agent) == 2


async def test_curl_publishes_in_each_way_in_which_it_can_send_a_body(agent: Agent) -> None:
    always = ["curl", "--silent", "--max-time", str(SECONDS_MAX), "--write-out", "%{http_code}"]
    headers = ["--header", f"Authorization: Bearer {TOKEN}", "--header", "Content-Type: application/json"]
    statuses = dict[str, str]()
    for number, (way, options) in enumerate(CURL.items()):
        body = [] if "--upload-file" in options else ["--data-binary", "@-"]
        output = await run(
            *always,
            *headers,
            *options,
            *body,
            f"http://127.0.0.1:{agent.port}/v1/scores",
            stdin=an_event(number).to_json(),
        )
        statuses[way] = output[-3:]

    assert statuses == dict.fromkeys(CURL, "200")
    assert await accepted(agent) == len(CURL)


async def test_httpx_publishes_on_one_connection_and_sees_why_it_is_refused(agent: Agent) -> None:
    event = an_event(1).to_json()

    async def pieces() -> AsyncIterator[bytes]:
        yield event[:10]
        yield event[10:]

    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{agent.port}/v1",
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        limits=httpx.Limits(max_connections=1),
        timeout=SECONDS_MAX,
    ) as http:
        published = [
            await http.post("/scores", content=event),
            await http.post("/scores", content=pieces()),
            await http.post("/scores", content=gzip.compress(event), headers={"Content-Encoding": "gzip"}),
            await http.post("/scores", content=event + b"\n", headers={"Content-Type": "application/jsonl"}),
        ]
        stranger = await http.post("/scores", content=event, headers={"Authorization": "Bearer other"})
        other = await http.post("/scores", content=event, headers={"Content-Type": "text/plain"})

    assert [answer.status_code for answer in published] == [200] * len(published)
    assert {answer.json()["results"][0]["event_id"] for answer in published} == {
        json.loads(event)["event_id"]
    }
    assert (stranger.status_code, stranger.headers["www-authenticate"][:6]) == (401, "Bearer")
    assert other.status_code == 415
    assert "application/json" in other.headers["accept-post"]
