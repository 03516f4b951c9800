"""The server over HTTP: who is answered, and who is not."""

import asyncio
import hashlib
import json
import re
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pattern_metrics.consumer.gateway import bodies
from pattern_metrics.consumer.http.tokens import Tokens
from tests.page.conftest import fill
from tests.support.kafka import Broker, create_topic
from tests.support.mcp import mcp_settings, remote_model, serving_models
from tests.support.pipeline import an_event
from tests.support.scraping import Answer, Scraper, parsed

NOWHERE = mcp_settings("postgresql://nobody@127.0.0.1:1/none")

EVERYWHERE = "0.0.0.0"

PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "score_code", "arguments": {"source": "x = 1"}},
}
ERROR_TEXT = re.compile(
    r"pydantic|Traceback|Errno|validation error|input_value|asyncpg|SELECT", re.IGNORECASE
)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    file = tmp_path / "tokens"
    file.write_text(f"ci/model {hashlib.sha256(b'secret').hexdigest()}\n")
    return Tokens(file, "MCP_TOKENS_FILE")


async def post(
    port: int, *headers: str, body: bytes = PING, method: str = "POST", host: str = "", path: str = "/mcp"
) -> Answer:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host or f'127.0.0.1:{port}'}",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return parsed(await Scraper(port).send("\r\n".join([*lines, "", ""]).encode() + body))


async def test_a_model_reads_over_http(mode: str, migrated_database_url: str) -> None:
    await fill(migrated_database_url, [an_event(1)])
    async with (
        serving_models(mcp_settings(migrated_database_url)) as port,
        remote_model(port, mode) as model,
    ):
        tools = await model.definitions()
        answers = await asyncio.gather(*(model.ask("find_patterns") for _ in range(5)))
        fault = await model.fail("find_patterns", limit=0)

    assert len(tools) == 5
    assert [answer["patterns"][0]["name"] for answer in answers] == ["pattern 1"] * 5
    assert fault == "limit: Input should be greater than or equal to 1"


async def test_the_name_of_a_token_is_the_source_of_what_its_client_publishes(
    mode: str, tokens: Tokens, embedded_broker: Broker, migrated_database_url: str
) -> None:
    servers, topic = (
        embedded_broker.bootstrap_servers,
        await create_topic(embedded_broker.bootstrap_servers, 1),
    )
    settings = mcp_settings(migrated_database_url, kafka_bootstrap_servers=servers, kafka_topic=topic)
    score = {"pattern": "a", "quality_score": 1, "confidence": 1}
    async with serving_models(settings, tokens, is_read_only=False) as port:
        async with remote_model(port, mode, "secret") as model:
            answer = await model.ask("publish_scores", scores=[score])
        refused = [await post(port), await post(port, "Authorization: Bearer wrong")]

    assert answer["accepted"] == 1
    assert [one.status for one in refused] == [401, 401]
    async with AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        record = await consumer.getone()
    assert dict(record.headers)["ce_source"] == b"ci/model"


async def test_other_names_web_sites_and_other_methods_are_refused() -> None:
    async with serving_models(NOWHERE) as port:
        statuses = [
            (await post(port)).status,
            (await post(port, host="localhost")).status,
            (await post(port, host="evil.example")).status,
            (await post(port, host=f"127.0.0.1.evil.example:{port}")).status,
            (await post(port, "Origin: http://evil.example")).status,
            (await post(port, f"Origin: http://127.0.0.1:{port}")).status,
            (await post(port, method="GET", body=b"")).status,
            (await post(port, method="DELETE", body=b"")).status,
            (await post(port, path="/")).status,
        ]

    assert statuses == [200, 200, 421, 421, 403, 403, 405, 405, 404]


async def test_beyond_loopback_only_the_allowed_names_are_served(tokens: Tokens) -> None:
    settings = NOWHERE.model_copy(
        update={"http_host": EVERYWHERE, "mcp_allowed_hosts": "mcp.example.com, b.example:9"}
    )
    names = {
        "mcp.example.com": 200,
        "mcp.example.com:8090": 200,
        "b.example:9": 200,
        "b.example": 421,
        "b.example:8": 421,
        "mcp.example.com.evil.example": 421,
        "localhost": 421,
        "127.0.0.1": 421,
    }
    async with serving_models(settings, tokens, host=EVERYWHERE) as port:
        answers = {name: await post(port, "Authorization: Bearer secret", host=name) for name in names}
        without = await post(port, host="mcp.example.com")

    assert {name: answer.status for name, answer in answers.items()} == names
    assert without.status == 401


BODIES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"garbage",
    "not UTF-8": b"\xff",
    "no message": b"{}",
    "a list": b"[1]",
    "deep": b"[" * 10_000,
    "a batch": b"[" + PING + b"]",
    "a large number": b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b',"method":"ping"}',
    "an unknown method": b'{"jsonrpc":"2.0","id":1,"method":"nothing"}',
    "no parameters": b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    "wrong parameters": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5,"arguments":[]}}',
    "an unknown prompt": b'{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"\\u202eSELECT"}}',
    "an unknown resource": b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///x"}}',
    "a session": b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}',
}


@pytest.mark.parametrize("version", ["", "2025-06-18", "2026-07-28", "1999-01-01"], ids=str)
async def test_no_body_gets_the_text_of_an_error(version: str) -> None:
    headers = [f"MCP-Protocol-Version: {version}"] if version else []
    async with serving_models(NOWHERE) as port:
        answers = {name: await post(port, *headers, body=body) for name, body in BODIES.items()}

    for name, answer in answers.items():
        assert answer.status < 500, name
        assert not ERROR_TEXT.search(answer.body.decode()), (name, answer.body)
        assert "\u202e" not in answer.body.decode()


async def test_a_large_body_and_a_slow_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies.read_body, "__defaults__", (0.1,))
    async with serving_models(NOWHERE) as port:
        large = await post(port, body=b" " * (bodies.WIRE_BYTES_MAX + 1))
        slow = parsed(
            await Scraper(port).send(
                b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
                b"Content-Type: application/json\r\nConnection: close\r\n\r\n{"
            )
        )
        after = await post(port)

    assert (large.status, slow.status, after.status) == (413, 408, 200)


async def test_a_client_that_goes_away_leaves_the_server_answering() -> None:
    body = json.dumps(CALL).encode()
    async with serving_models(NOWHERE) as port:
        for size in (10, len(body) // 2, len(body)):
            async with Scraper(port).connected() as (_, writer):
                head = (
                    f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
                    "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\r\n"
                )
                writer.write(head.encode() + body[:size])
                await writer.drain()
        answer = await post(port, body=body)

    assert answer.status == 200
    assert json.loads(answer.body)["result"]["structuredContent"]["definitions"] == []
