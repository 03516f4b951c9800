"""The proxy's faults, as the client sees them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from pattern_metrics.consumer.demo.embedded import HOST
from tests.support.proxy import Proxy

SILENCE_SECONDS = 0.3


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """Run a server that echoes each line, and yield its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(answer, HOST) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def proxy(echo_port: int) -> AsyncIterator[Proxy]:
    async with Proxy(echo_port) as proxy:
        yield proxy


class Client:
    """One connection through a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, line: bytes) -> bytes:
        self.writer.write(line)
        return await self.reader.readline()

    async def is_silent(self) -> bool:
        """Return whether neither an answer nor an end arrives after a line was sent."""
        self.writer.write(b"anybody?\n")
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await self.reader.readline()
        except TimeoutError:
            return True
        return False


Connect = Callable[[Proxy], Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    clients = list[Client]()

    async def connect(proxy: Proxy) -> Client:
        clients.append(Client(*await asyncio.open_connection(HOST, proxy.port)))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.close()
        with suppress(OSError):
            await client.writer.wait_closed()


async def test_connections_are_forwarded_both_ways_to_their_end(proxy: Proxy, connect: Connect) -> None:
    client = await connect(proxy)

    assert await client.says(b"hello\n") == b"hello\n"
    client.writer.write_eof()
    assert await client.reader.read() == b""


async def test_a_cut_resets_each_connection_and_each_new_one_until_it_is_fixed(
    proxy: Proxy, connect: Connect
) -> None:
    client = await connect(proxy)
    await client.says(b"hello\n")

    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client.reader.readline()
    with pytest.raises(OSError, match="reset"):
        await (await connect(proxy)).says(b"hello\n")

    proxy.restore()
    assert await (await connect(proxy)).says(b"hello\n") == b"hello\n"


async def test_a_frozen_connection_is_silent_and_continues_where_it_was(
    proxy: Proxy, connect: Connect
) -> None:
    client = await connect(proxy)
    await client.says(b"hello\n")

    proxy.freeze()
    assert await client.is_silent()
    late = await connect(proxy)
    assert await late.is_silent()

    proxy.restore()
    assert await client.reader.readline() == await late.reader.readline() == b"anybody?\n"


async def test_a_forgotten_connection_stays_silent_while_new_ones_work(
    proxy: Proxy, connect: Connect
) -> None:
    client = await connect(proxy)
    await client.says(b"hello\n")

    proxy.forget()
    assert await (await connect(proxy)).says(b"hello\n") == b"hello\n"
    proxy.restore()
    assert await client.is_silent()


async def test_a_slow_connection_is_late_and_loses_nothing(proxy: Proxy, connect: Connect) -> None:
    client = await connect(proxy)
    await client.says(b"hello\n")
    loop = asyncio.get_running_loop()

    proxy.slow(0.2)
    began_at = loop.time()
    assert await client.says(b"hello\n") == b"hello\n"
    assert loop.time() - began_at >= 0.4  # there and back


async def test_a_client_hears_that_the_target_is_away(echo_port: int, connect: Connect) -> None:
    async with Proxy(echo_port) as ended:
        pass
    async with Proxy(ended.port) as proxy:
        client = await connect(proxy)

        assert await client.reader.read() == b""
