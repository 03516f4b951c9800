"""`pattern-metrics gateway` from the installed command."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pattern_metrics.consumer.demo.embedded import free_port
from tests.support.command import CommandLine
from tests.support.gateway import Agent
from tests.support.pipeline import an_event


@pytest.fixture
def away(tmp_path: Path) -> CommandLine:
    """The command where no broker is."""
    return CommandLine(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
async def test_it_serves_until_it_is_stopped_and_keeps_events_while_the_broker_is_away(
    away: CommandLine, number: str
) -> None:
    agent = Agent(free_port())
    outbox = away.directory / "outbox"
    async with away.watched("gateway", http_port=agent.port, outbox_path=outbox) as gateway:
        await gateway.wait_for(re.escape(f"the gateway is at http://127.0.0.1:{agent.port}/"))
        answer = await agent.post(an_event().to_json())
        if number == "SIGINT":
            code = await gateway.press_ctrl_c()
        else:
            gateway.process.terminate()
            code = await gateway.process.wait()
    status = await away.run("outbox", "status", "--json", outbox_path=outbox)

    assert (answer.status, answer.json["durable"], code) == (202, "local", 0)
    assert status.json["events"] == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"http_host": "0.0.0.0"}, "GATEWAY_TOKENS_FILE: is required"),
        ({"http_host": "0.0.0.0", "gateway_tokens_file": "absent"}, "GATEWAY_TOKENS_FILE: absent cannot be"),
        ({"http_port": 0}, "HTTP_PORT: 0 turns HTTP off"),
        ({"kafka_topic": "a,b"}, "KAFKA_TOPIC: names several topics"),
    ],
    ids=["without tokens", "no such file", "no port", "two topics"],
)
async def test_what_it_cannot_serve_is_one_line(
    away: CommandLine, settings: dict[str, Any], error: str
) -> None:
    refused = await away.run("gateway", **settings)

    assert refused.code == 2
    assert refused.stderr.startswith(f"error: {error}")
    assert refused.stderr.count("\n") == 1


async def test_an_outbox_that_cannot_be_used_is_one_line(away: CommandLine) -> None:
    (away.directory / "file").touch()
    refused = await away.run("gateway", outbox_path="file/outbox", http_port=free_port())

    assert (refused.code, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("error: outbox ")


async def test_its_document_is_json(away: CommandLine) -> None:
    agent = Agent(free_port())
    async with away.watched("gateway", http_port=agent.port) as gateway:
        await gateway.wait_for("the gateway is at")
        document = json.loads(
            (await agent.send(b"GET /openapi.json HTTP/1.0\r\nHost: localhost\r\n\r\n")).partition(
                b"\r\n\r\n"
            )[2]
        )

    assert document["openapi"] == "3.1.0"
    assert list(document["paths"]) == ["/v1/scores"]
