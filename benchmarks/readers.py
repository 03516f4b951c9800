"""Programs that read the table by HTTP while a client writes it."""

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from benchmarks.events import HOT_PATTERNS, pattern_id
from benchmarks.programs import Program
from pattern_metrics.consumer.demo.embedded import HOST, free_port

PATTERNS: Final = 20
"""The number of patterns of one lookup."""

_TIMEOUT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.01
_PIECE_BYTES: Final = 64 * 1024


@asynccontextmanager
async def reading(dsn: str, rate: int) -> AsyncIterator[Callable[[], None]]:
    """Let a `dashboard` answer this many lookups of a table a second inside the block; 0 for no dashboard.

    Yields:
        A function that raises ProgramError if a program has failed.
    """
    if rate == 0:
        yield lambda: None
        return
    port, root = free_port(), str(Path(__file__).parents[1])
    dashboard: list[str | Path] = [Path(sys.executable).with_name("pattern-metrics"), "dashboard"]
    asking = [sys.executable, "-m", "benchmarks.readers", str(port), str(rate)]
    with (
        Program(dashboard, {"DATABASE_URL": dsn, "HTTP_PORT": str(port)}) as server,
        Program(asking, {"PYTHONPATH": root}) as client,
    ):

        def check() -> None:
            for program in (server, client):
                program.require_running()

        while not client.output:  # the line that it prints after the first answer
            server.require_running()
            await asyncio.sleep(_POLL_SECONDS)
        yield check


def _ask(port: int, rate: float) -> None:
    """Ask at a constant rate until this process is killed. A late question is asked at once.

    It speaks HTTP by itself, because a library would take as much of the cores as the answer does.
    """
    step = HOT_PATTERNS // PATTERNS
    body = json.dumps({"ids": [str(pattern_id(number * step)) for number in range(PATTERNS)]})
    head = "POST /v1/patterns:lookup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    began, number = time.monotonic(), 0
    while True:
        with _connected(port) as connection:
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(_PIECE_BYTES), b""))  # until it is closed
        if not answer.startswith(b"HTTP/1.1 200 "):
            sys.exit(answer[:100].decode(errors="replace"))
        number += 1
        if number == 1:
            sys.stdout.write("answered\n")
            sys.stdout.flush()
        time.sleep(max(0.0, began + number / rate - time.monotonic()))


def _connected(port: int) -> socket.socket:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            return socket.create_connection((HOST, port), _TIMEOUT_SECONDS)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    _ask(int(sys.argv[1]), float(sys.argv[2]))
