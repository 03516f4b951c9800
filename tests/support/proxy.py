"""A TCP proxy that imitates network faults between any two parties, on command."""

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from pattern_metrics.consumer.demo.embedded import HOST
from tests.support.waiting import hold

CHUNK_BYTES = 64 * 1024

Censor = Callable[[bytes], bytes | None]
"""Returns the bytes to forward in place of a client's chunk; None: the connection is forgotten."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: on, with zero time."""

_SO_ATTACH_FILTER = 26
_DROP = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
_DROP_ALL = struct.pack("HP", 1, ctypes.addressof(_DROP))
"""A socket filter of one instruction: arriving data is dropped without acknowledgement (Linux)."""


class Proxy:
    """Forwards connections of `port` on 127.0.0.1 to `target_port`; an asynchronous context manager.

    Args:
        target_port: the port to forward to.
        port: the port to listen on; by default any free port.
    """

    def __init__(self, target_port: int, port: int = 0) -> None:
        self.port = port
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._links = set[_Link]()
        self._forgotten = set[_Link]()
        self._tasks = set[asyncio.Task[None]]()
        self._is_cut = False
        self._is_frozen = False
        self._is_mute = False
        self._delay_seconds = 0.0
        self._censor: Censor | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for link in self._links | self._forgotten:
            link.reset()
            link.flowing.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Reset all connections, and each new one from now on."""
        self._is_cut = True
        for link in self._links:
            link.reset()

    def redirect(self, target_port: int) -> None:
        """Forward new connections to another port."""
        self._target_port = target_port

    def slow(self, seconds: float) -> None:
        """Delay each chunk of at most 64 KiB by `seconds`."""
        self._delay_seconds = seconds

    def freeze(self) -> None:
        """Half-open: old connections are neither forwarded nor closed, new ones are never answered."""
        self._is_frozen = True
        for link in self._links:
            link.flowing.clear()

    def forget(self) -> None:
        """Half-open for good, like a firewall that forgot the existing connections; new ones work."""
        for link in list(self._links):
            self._forget(link)

    def mute(self) -> None:
        """Drop what servers answer, and forward what clients send."""
        self._is_mute = True

    def censor(self, censor: Censor) -> None:
        """Pass what clients send through `censor`, which may change it, or forget its connection."""
        self._censor = censor

    def _forget(self, link: "_Link") -> None:
        link.forget()
        self._forgotten.add(link)
        self._links.discard(link)

    def restore(self) -> None:
        """Forward again at full speed, including what frozen connections were sent meanwhile."""
        self._is_cut = self._is_frozen = self._is_mute = False
        self._delay_seconds = 0.0
        self._censor = None
        for link in self._links:
            link.flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        if self._is_cut:
            link.reset()
        if not self._is_frozen:
            link.flowing.set()
        try:
            await link.flowing.wait()
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target_port)
            link.writers.append(far_writer)
            pumps = [
                asyncio.ensure_future(self._pump(link, reader, far_writer, self._read_by_censor)),
                asyncio.ensure_future(self._pump(link, far_reader, writer, self._read_answer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.wait(pumps)
        except OSError:
            pass  # the target is down, so the proxy is down for this client
        finally:
            self._links.discard(link)
            self._forgotten.discard(link)
            await link.close()

    def _read_by_censor(self, chunk: bytes) -> bytes | None:
        return chunk if self._censor is None else self._censor(chunk)

    def _read_answer(self, chunk: bytes) -> bytes:
        return b"" if self._is_mute else chunk

    async def _pump(
        self,
        link: "_Link",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        censor: Censor,
    ) -> None:
        """Forward one direction to its end. The end of either side ends the other."""
        try:
            while sent := await reader.read(CHUNK_BYTES):
                chunk = censor(sent)
                if chunk is None:
                    self._forget(link)
                    break
                if self._delay_seconds:
                    await hold(self._delay_seconds)
                await link.flowing.wait()
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass  # reset by either side
        await link.flowing.wait()


class _Link:
    """A client's connection, and ours to the target."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.flowing = asyncio.Event()
        self.writers = [writer]

    def reset(self) -> None:
        for writer in self.writers:
            if writer.transport.is_closing():
                continue
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()

    def forget(self) -> None:
        self.flowing.clear()
        for writer in self.writers:
            raw: socket.socket = writer.get_extra_info("socket")
            if sys.platform == "linux" and not writer.transport.is_closing():
                raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_ALL)

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
        for writer in self.writers:
            with suppress(OSError):
                await writer.wait_closed()
