"""Requests that no library would send, as raw bytes, to a gateway whose broker is away."""

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pattern_metrics.consumer.gateway import admission, bodies, server
from pattern_metrics.consumer.http.tokens import TOKENS_BYTES_MAX, Tokens
from pattern_metrics.consumer.settings import GatewaySettings, InvalidSettingError
from tests.support.command import SECONDS_MAX
from tests.support.events import value
from tests.support.gateway import Agent, running_gateway
from tests.support.scraping import parsed
from tests.support.waiting import eventually

HEAD = b"POST /v1/scores HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
"""The head of a request without its length."""


@pytest.fixture
async def agent(nowhere: GatewaySettings) -> AsyncIterator[Agent]:
    async with running_gateway(nowhere) as agent:
        yield agent


async def is_refused_as(agent: Agent, request: bytes, status: int) -> bool:
    """Return whether the answer is a problem with this status, and the gateway answers afterwards."""
    answer = parsed(await agent.send(request))
    assert answer.headers["content-type"] == "application/problem+json", answer
    assert (await agent.ask("/livez")).status == 200
    return (answer.status, answer.json["status"]) == (status, status)


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"no HTTP at all\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50)),
        (400, HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\n{}"),
        (400, HEAD + b"Content-Length: -1\r\n\r\n"),
        (400, HEAD + b"Content-Length: 2, 2, 3\r\n\r\n{}"),
        (
            400,
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\nConnection: close\r\n\r\n0\r\n\r\n",
        ),
        (400, HEAD + b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"),
        (400, HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n"),
        (400, HEAD + b"ce-id: 1\r\nce-id: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"),
        (400, HEAD + b"Host: localhost\r\nContent-Length: 2\r\n\r\n{}"),
        (400, HEAD.replace(b"Host: localhost\r\n", b"") + b"Content-Length: 2\r\n\r\n{}"),
        (400, HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        (400, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (400, HEAD + b"X: " + b"a" * 100_000),
        (400, HEAD + b"Content-Length: 2\r\n folded: 1\r\n\x00\r\n\r\n{}"),
        (404, b"GET /v1/scores/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        (405, b"GET /v1/scores HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        (413, HEAD + b"Content-Length: 9999999999\r\nConnection: close\r\n\r\n"),
        (
            415,
            b"POST /v1/scores HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        (
            422,
            HEAD
            + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2;name=value\r\n{}\r\n"
            + b"0\r\nTrailer: 1\r\n\r\n",
        ),
        (422, HEAD + b"Expect: nothing\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"),
        (503, HEAD.replace(b"1.1", b"1.0") + b"Content-Length: %d\r\n\r\n%b" % (len(value()), value())),
        (
            503,
            HEAD
            + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
            % (len(value()), value()),
        ),
    ],
    ids=[
        "no HTTP",
        "TLS",
        "two lengths",
        "negative length",
        "list of lengths",
        "chunked with a length",
        "two content types",
        "empty body",
        "two CloudEvents ids",
        "two hosts",
        "no host",
        "chunk without a size",
        "other transfer encoding",
        "long head",
        "folded header",
        "other path",
        "other method",
        "too long",
        "no content type",
        "chunk extension and trailer",
        "other expectation",
        "HTTP/1.0",
        "chunked",
    ],
)
async def test_each_request_gets_its_status(agent: Agent, status: int, request_: bytes) -> None:
    assert await is_refused_as(agent, request_, status)


async def test_a_connection_serves_requests_one_after_the_other(agent: Agent) -> None:
    request = HEAD + b"Content-Length: 2\r\n\r\n{}"
    last = agent.request(b"{}")

    answers = (await agent.send(request * 20 + last)).split(b"HTTP/1.1 ")[1:]

    assert [answer[:3] for answer in answers] == [b"422"] * 21


async def test_a_client_that_waits_for_100_continue_gets_it_unless_it_is_refused(agent: Agent) -> None:
    async with agent.connected() as (reader, writer):
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 422")
    async with agent.connected() as (reader, writer):
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")


async def test_a_client_that_ends_its_side_is_answered(agent: Agent) -> None:
    async with agent.connected() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 422")


async def test_a_client_that_ends_in_the_middle_of_its_body_is_forgotten(agent: Agent) -> None:
    async with agent.connected() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 20\r\n\r\n{}")
        writer.write_eof()
        assert await reader.read() == b""
    samples = await agent.samples()
    assert samples[("pattern_metrics_gateway_requests_in_flight", ())] == 0
    answers = {
        key: value for key, value in samples.items() if key[0] == "pattern_metrics_gateway_requests_total"
    }
    assert sum(answers.values()) == 0, "a client that went away is not counted"


async def test_a_body_that_is_too_large_is_refused_where_the_client_can_see_it(agent: Agent) -> None:
    chunk = b"%x\r\n%b\r\n" % (1 << 16, b" " * (1 << 16))
    endless = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * (bodies.WIRE_BYTES_MAX // (1 << 16) + 1)
    too_long = HEAD + b"Content-Length: %d\r\n\r\n" % (bodies.WIRE_BYTES_MAX + 1)
    too_long += b" " * (bodies.WIRE_BYTES_MAX + 1)

    for request in (endless + b"0\r\n\r\n", too_long):
        answer = parsed(await agent.send(request + agent.request(b"{}")))
        assert answer.status == 413
        assert str(bodies.WIRE_BYTES_MAX) in answer.body.decode()
        assert str(bodies.BODY_BYTES_MAX) in answer.body.decode()
        assert b"HTTP/1.1 422" in answer.body, "the connection is good for the next request"


async def test_a_gzip_bomb_is_refused(agent: Agent) -> None:
    bomb = gzip.compress(bytes(100 * 1024 * 1024))
    assert len(bomb) < bodies.WIRE_BYTES_MAX

    assert (await agent.post(bomb, "Content-Encoding: gzip")).status == 413


async def test_a_slow_body_is_refused_and_a_slow_head_is_dropped(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies.read_body, "__defaults__", (0.1,))
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    slow = await agent.send(HEAD + b"Content-Length: 20\r\n\r\n{")
    dropped = await agent.send(b"POST /v1/sc")

    assert parsed(slow).status == 408
    assert dropped == b""


async def first_line(reader: asyncio.StreamReader) -> bytes:
    """Return the first line of an answer; an empty one if the connection ends before it."""
    try:
        return await reader.readline()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    ("begin", "answer"),
    [(b"POST /v1/scores HTTP/1.1\r\nX: ", b""), (HEAD + b"Content-Length: 9999\r\n\r\n", b"HTTP/1.1 408")],
    ids=["head", "body"],
)
async def test_a_client_that_sends_a_byte_at_a_time_gains_no_time(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, begin: bytes, answer: bytes
) -> None:
    monkeypatch.setattr(bodies.read_body, "__defaults__", (0.3,))
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    async with agent.connected() as (reader, writer):
        writer.write(begin)
        reading = asyncio.create_task(first_line(reader))

        async def has_ended() -> bool:
            writer.write(b" ")
            return reading.done()

        await eventually(has_ended, deadline_seconds=SECONDS_MAX, poll_seconds=0.02)
        assert (await reading)[: len(answer or b" ")] == answer


async def test_idle_connections_give_way_and_busy_ones_do_not(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLIENTS_MAX", 2)
    async with agent.connected() as (busy, writer), agent.connected() as (idle, _):
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        await busy.readuntil(b"\r\n\r\n")
        assert (await agent.ask("/livez")).status == 200
        assert await idle.read() == b""
        writer.write(b"{}")
        assert (await busy.readline()).startswith(b"HTTP/1.1 422")


async def test_a_web_site_may_not_publish_without_a_token(agent: Agent) -> None:
    foreign = await agent.post(value(), "Origin: https://example.org")
    rebound = await agent.send(HEAD.replace(b"localhost", b"example.org") + b"Connection: close\r\n\r\n")

    assert foreign.status == 403
    assert rebound.startswith(b"HTTP/1.1 421")


# Tokens


def written(path: Path, **tokens: str) -> Path:
    lines = [f"{name}  {hashlib.sha256(token.encode()).hexdigest()}\n" for name, token in tokens.items()]
    path.write_text("# comment\n\n" + "".join(lines))
    return path


async def test_only_a_known_token_is_admitted_and_the_file_is_read_again(
    nowhere: GatewaySettings, tmp_path: Path
) -> None:
    file = written(tmp_path / "tokens", ci="first")
    async with running_gateway(nowhere, Tokens(file, "GATEWAY_TOKENS_FILE")) as agent:
        without = await agent.post(b"{}")
        wrong = await agent.post(b"{}", "Authorization: Bearer other")
        basic = await agent.post(b"{}", "Authorization: Basic first")
        twice = await agent.post(b"{}", "Authorization: Bearer first", "Authorization: Bearer first")
        right = await agent.post(b"{}", "authorization: bearer first")
        written(tmp_path / "new", ci="second").replace(file)
        old = await agent.post(b"{}", "Authorization: Bearer first")
        new = await agent.post(b"{}", "Authorization: Bearer second")
        file.write_text("broken")
        still = await agent.post(b"{}", "Authorization: Bearer second")
        file.unlink()
        missing = await agent.post(b"{}", "Authorization: Bearer second")
        written(file, ci="third")
        third = await agent.post(b"{}", "Authorization: Bearer third")
        probes = [(await agent.ask(path)).status for path in ("/livez", "/metrics", "/openapi.json")]

    statuses = [one.status for one in (without, wrong, basic, twice, right, old, new, still, missing, third)]
    assert statuses == [401, 401, 401, 400, 422, 401, 422, 422, 422, 422]
    assert without.headers["www-authenticate"] == "Bearer"
    assert probes == [200, 200, 200]


@pytest.mark.parametrize(
    "line", ["name", "a b " + "0" * 64, "a " + "0" * 63, "ä " + "0" * 64, "\xff"], ids=repr
)
def test_a_file_of_tokens_with_another_line_is_an_error_that_names_the_line(
    tmp_path: Path, line: str
) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(f"ok {'0' * 64}\n{line}".encode("latin-1"))
    with pytest.raises(InvalidSettingError, match=r"^X: .*tokens (line 2|is not UTF-8)"):
        Tokens(file, "X")


@pytest.mark.parametrize("character", ["x", "é", "€", "\U0001f600"])
@pytest.mark.parametrize("excess", [0, 1])
def test_a_file_of_tokens_is_read_whole_or_not_at_all(tmp_path: Path, character: str, excess: int) -> None:
    file = tmp_path / "tokens"
    last = f"\nlast {hashlib.sha256(b'token').hexdigest()}".encode()
    room = TOKENS_BYTES_MAX - len(last) - len("\ufeff#".encode())
    padding = character * (room // len(character.encode()))
    filling = "x" * (room - len(padding.encode()) + excess)
    file.write_bytes(f"\ufeff#{padding}{filling}".encode() + last)

    if excess:
        with pytest.raises(InvalidSettingError, match="is larger than"):
            Tokens(file, "X")
    else:
        assert Tokens(file, "X").name_of("token") == "last"


def test_a_token_has_one_name(tmp_path: Path) -> None:
    file = written(tmp_path / "tokens", a="same", b="same")
    with pytest.raises(InvalidSettingError, match="line 4 gives a second name to a token"):
        Tokens(file, "X")


def test_a_file_of_tokens_that_never_ends_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokens")
    for path in (tmp_path / "tokens", Path("/dev/zero"), tmp_path):
        with pytest.raises(InvalidSettingError, match="regular file"):
            Tokens(path, "X")


async def test_one_token_takes_its_share_and_all_together_the_bound(
    nowhere: GatewaySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "REQUESTS_MAX", 2)
    monkeypatch.setattr(admission, "TOKEN_REQUESTS_MAX", 1)
    tokens = Tokens(written(tmp_path / "tokens", a="a", b="b", c="c"), "X")

    async with running_gateway(nowhere, tokens) as agent:
        async with agent.connected() as (first, one), agent.connected() as (second, two):
            for writer, reader, token in ((one, first, b"a"), (two, second, b"b")):
                writer.write(HEAD + b"Authorization: Bearer %b\r\n" % token)
                writer.write(b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
            again = await agent.post(b"{}", "Authorization: Bearer a")
            beyond = await agent.post(b"{}", "Authorization: Bearer c")
            one.write(b"{}")
            assert (await first.readline()).startswith(b"HTTP/1.1 422")
        assert (again.status, again.headers["retry-after"]) == (429, "1")
        assert (beyond.status, beyond.headers["retry-after"]) == (503, "1")

        async def is_free() -> bool:
            return (await agent.post(b"{}", "Authorization: Bearer a")).status == 422

        await eventually(is_free)


@pytest.mark.parametrize(("token_max", "all_max", "status"), [(100, 10_000, 429), (10_000, 100, 503)])
async def test_bytes_in_flight_are_bounded_after_unpacking(
    nowhere: GatewaySettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token_max: int,
    all_max: int,
    status: int,
) -> None:
    monkeypatch.setattr(admission, "BYTES_MAX", all_max)
    monkeypatch.setattr(admission, "TOKEN_BYTES_MAX", token_max)
    async with running_gateway(nowhere, Tokens(written(tmp_path / "t", a="a"), "X"), "a") as agent:
        packed = await agent.post(gzip.compress(b" " * 200), "Content-Encoding: gzip")
        small = await agent.post(b"{}")

    assert (packed.status, small.status) == (status, 422)


async def test_a_stop_answers_the_request_in_flight_and_closes_idle_connections(
    nowhere: GatewaySettings,
) -> None:
    async with running_gateway(nowhere) as agent:
        assert agent.server is not None
        async with agent.connected() as (reader, writer), agent.connected() as (idle, _):
            writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            agent.server.stop()
            assert await idle.read() == b""
            writer.write(b"{}")
            assert (await reader.read()).startswith(b"HTTP/1.1 422")
    with pytest.raises(ConnectionError):
        await agent.ask("/livez")


async def test_without_a_broker_it_is_alive_not_ready_and_asks_to_try_again(agent: Agent) -> None:
    obstacles = await agent.wait_for_obstacles("kafka")
    answer = await agent.post(json.dumps([json.loads(value()), {}]).encode())
    samples = await agent.samples()

    assert obstacles["kafka"].startswith("not reachable")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert [one["status"] for one in answer.json["results"]] == ["unacknowledged", "refused"]
    assert samples[("pattern_metrics_gateway_ready", ())] == 0
    assert samples[("pattern_metrics_gateway_events_total", ("unacknowledged",))] == 1
    assert samples[("pattern_metrics_gateway_refusals_total", ("missing_field",))] == 1


async def test_any_bytes_get_an_answer_or_an_end(agent: Agent) -> None:
    """Each cut of a good request and each changed byte of its head; the gateway answers afterwards."""
    good = agent.request(b"{}")
    head = good.index(b"\r\n\r\n")
    changed = [
        good[:place] + b"\xff\r\n"[place % 3 : place % 3 + 1] + good[place + 1 :]
        for place in range(0, head, 7)
    ]

    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(agent.send(one + b"\r\n\r\n") for one in changed))

    assert all(not one or one.startswith(b"HTTP/1.1 4") for one in answers)
    assert (await agent.ask("/livez")).status == 200


async def test_events_wait_for_their_turn_in_order() -> None:
    room, order = admission.EventRoom(3), list[int]()

    async def take(count: int) -> None:
        async with room.taken(count):
            await asyncio.to_thread(order.append, count)

    await asyncio.gather(*(take(count) for count in (2, 3, 1, 1, 3, 2)))

    assert order == [2, 3, 1, 1, 3, 2]
