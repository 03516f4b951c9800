"""The command: standard input and output with the SDK's client, the settings, and the stop."""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from pattern_metrics.consumer.demo.embedded import free_port
from tests.page.conftest import fill
from tests.support.command import PROGRAM, SECONDS_MAX, CommandLine
from tests.support.mcp import Model
from tests.support.pipeline import an_event
from tests.support.scraping import Scraper

PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode() + b"\n"


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    return CommandLine(
        tmp_path,
        {
            "DATABASE_URL": "postgresql://hunter2:hunter2@127.0.0.1:1/x",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        },
    )


async def test_a_model_reads_scores_and_stores_over_standard_input_and_output(
    mode: str, tmp_path: Path, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [an_event(1)])
    (tmp_path / "code.py").write_text("def f(): pass\n")
    server = StdioServerParameters(
        command=str(PROGRAM),
        args=["mcp", "--root", str(tmp_path), "--database-url", migrated_database_url],
        env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "OUTBOX_PATH": str(tmp_path / "outbox")},
    )
    async with asyncio.timeout(SECONDS_MAX), Client(server, mode=mode) as client:
        model = Model(client)
        tools = await model.definitions()
        found = await model.ask("find_patterns")
        scored = await model.ask("score_code", path="code.py")
        stored = await model.ask(
            "publish_scores", scores=[{"pattern": "a", "quality_score": 1, "confidence": 1}]
        )

    assert len(tools) == 6
    assert [one["name"] for one in found["patterns"]] == ["pattern 1"]
    assert [one["name"] for one in scored["definitions"]] == ["code:f"]
    assert (stored["accepted"], stored["durable"]) == (1, "local")


UNREADABLE = {
    "not a method": b'{"jsonrpc":"2.0","id":1,"method":5}',
    "not the version": b'{"jsonrpc":"1.0","id":2,"method":"ping"}',
    "not this form": b'{"id":3}',
    "wrong parameters": b'{"jsonrpc":"2.0","id":"4","method":"ping","params":"x"}',
    "half a character": b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"_meta":{"x":"\\ud83d"}}}',
    "half a name": b'{"jsonrpc":"2.0","id":6,"method":"ping","params":{"_meta":{"\\udc00":1}}}',
    "no JSON": b"garbage",
    "nothing": b"",
    "not UTF-8": b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":{"x":"\xff"}}}',
    "no id": b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    "an id of another type": b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    "deep": b"[" * 100_000,
    "a large number": b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b',"method":"ping"}',
}
ANSWERED = {1, 2, 3, "4", 5, 6}


async def test_each_request_with_an_id_is_answered_and_no_line_ends_it(command: CommandLine) -> None:
    lines = b"\n".join([*UNREADABLE.values(), PING.replace(b"1", b"99")])
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "mcp", env=command.environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers = dict[Any, Any]()
    async with asyncio.timeout(SECONDS_MAX):
        process.stdin.write(lines)
        while not answers.keys() >= {*ANSWERED, 99}:
            answer = json.loads(await process.stdout.readline())
            answers[answer["id"]] = answer
        process.stdin.close()
        _, log = await process.communicate()

    assert {name for name in answers if "result" in answers[name]} >= {5, 6, 99}
    assert {name for name in answers if "error" in answers[name]} == {1, 2, 3, "4"}
    assert log.count(b"message_unreadable") == 5


async def test_a_root_that_is_empty_is_none(command: CommandLine) -> None:
    """A shell passes it for a variable that is not set, and it must not open the working directory."""
    ended = await command.run("mcp", "--root", "")

    assert ended.code == 2
    assert "directory '' does not exist" in ended.stderr


async def test_a_signal_ends_it_as_the_end_of_standard_input_does(command: CommandLine) -> None:
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "mcp", env=command.environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(PING)
    async with asyncio.timeout(SECONDS_MAX):
        answer = await process.stdout.readline()
        process.terminate()
        await process.wait()  # the client has not closed standard input
        rest, log = await process.communicate()

    assert json.loads(answer) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert (process.returncode, rest) == (0, b"")
    assert b"Traceback" not in log
    assert b"hunter2" not in log


@pytest.mark.parametrize("address", ["8090", "host:", ":8090", "a:b:1", "host:99999", "[::1]", "http://a:1"])
async def test_an_address_has_a_host_and_a_port(command: CommandLine, address: str) -> None:
    ended = await command.run("mcp", "--http", address)

    assert ended.code == 2
    assert "--http takes HOST:PORT" in ended.stderr


async def test_beyond_loopback_a_token_and_the_allowed_hosts_are_required(
    command: CommandLine, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# none\n")
    without = await command.run("mcp", "--http", "0.0.0.0:0")
    names = await command.run("mcp", "--http", "[::]:0", mcp_tokens_file=tokens)
    wrong = await command.run("mcp", mcp_allowed_hosts="https://a.example/")
    lost = await command.run("mcp", "--http", "127.0.0.1:0", mcp_tokens_file=tmp_path / "none")

    assert [one.code for one in (without, names, wrong, lost)] == [2] * 4
    assert without.stderr == "error: MCP_TOKENS_FILE: is required, because --http is not a loopback address\n"
    assert names.stderr == "error: MCP_ALLOWED_HOSTS: is required, because --http is not a loopback address\n"
    assert wrong.stderr.startswith("error: MCP_ALLOWED_HOSTS: ")
    assert lost.stderr.startswith("error: MCP_TOKENS_FILE: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
async def test_http_is_served_until_a_signal(command: CommandLine, number: signal.Signals) -> None:
    port = free_port()

    async def is_answering() -> bool:
        try:
            return bool(
                await Scraper(port).send(b"GET /mcp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            )
        except ConnectionError:
            return False

    ended = await command.interrupt(
        "mcp", "--read-only", "--http", f"127.0.0.1:{port}", once=is_answering, number=number
    )

    assert ended.code == 0, ended.stderr
    assert ended.stdout.decode() == f"the MCP server is at http://127.0.0.1:{port}/mcp (Ctrl-C ends it)\n"


async def test_an_unusable_outbox_ends_it_at_the_start(command: CommandLine, tmp_path: Path) -> None:
    ended = await command.run("mcp", outbox_path=tmp_path)

    assert ended.code == 1
    assert ended.stderr.startswith(f"error: outbox {tmp_path}: ")
