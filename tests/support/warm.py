"""Runs `pattern-metrics` from a process that has imported it once and forks for each run: `warm_program`."""

import asyncio
import atexit
import functools
import json
import os
import signal
import socket
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Protocol

_SERVER = Path(__file__).with_name("warm_program.py")


class Process(Protocol):
    """The part of `asyncio.subprocess.Process` that tests use."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]: ...  # noqa: A002
    def send_signal(self, signal: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


async def create_process(
    *command: str | Path,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    start_new_session: bool = False,
) -> Process:
    """Start a run of the program that the command begins with, as `asyncio.create_subprocess_exec` does."""
    order = {
        "arguments": [str(word) for word in command],
        "environment": dict(env),
        "directory": str(cwd),
        "is_leader": start_new_session,
    }
    pipes: list[IO[bytes]] = []
    with ExitStack() as its:
        streams = list[int]()
        for number, stream in enumerate((stdin, stdout, stderr)):
            if stream == PIPE:
                ends = os.pipe()
                mine, other = reversed(ends) if number == 0 else ends
                pipes.append(os.fdopen(mine, "wb" if number == 0 else "rb"))
            elif stream == DEVNULL:
                other = os.open(os.devnull, os.O_RDWR)
            else:
                other = os.dup(stream if isinstance(stream, int) else stream.fileno())
            its.callback(os.close, other)
            streams.append(other)
        ours, connection = socket.socketpair()
        its.enter_context(connection)
        socket.send_fds(_orders(str(command[0])), [b"."], [*streams, connection.fileno()])
        ours.sendall(json.dumps(order).encode() + b"\n")
    reader, writer = await asyncio.open_connection(sock=ours)
    pid = int(await reader.readline())
    return _WarmProcess(pid, reader, writer, pipes)


@functools.cache
def _orders(program: str) -> socket.socket:
    """Start the server, which ends when this socket is closed."""
    ours, its = socket.socketpair()
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}  # as in every run
    command: list[str | Path] = [Path(program).with_name("python"), _SERVER, program]
    server = subprocess.Popen(
        command, stdin=its.fileno(), stdout=subprocess.DEVNULL, env=environment, cwd="/"
    )
    its.close()

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


class _WarmProcess:
    def __init__(
        self,
        pid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pipes: list[IO[bytes]],
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pipes = pipes
        self._end = asyncio.create_task(self._hear_end(reader, writer))

    async def _hear_end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        self.returncode = int(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        stdin, stdout, stderr = self._pipes

        def write() -> bytes:
            with suppress(BrokenPipeError), stdin:
                stdin.write(input or b"")
            return b""

        def read(pipe: IO[bytes]) -> bytes:
            with pipe:
                return pipe.read()

        threads = (asyncio.to_thread(write), asyncio.to_thread(read, stdout), asyncio.to_thread(read, stderr))
        _, output, errors = await asyncio.gather(*threads)
        await self.wait()
        return output, errors

    def send_signal(self, signal: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
