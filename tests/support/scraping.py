"""Requests of probes and scrapers, sent to a worker as raw bytes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from pattern_metrics.consumer.demo.embedded import HOST
from tests.support.command import SECONDS_MAX
from tests.support.waiting import eventually

Samples = dict[tuple[str, tuple[str, ...]], float]
"""Values by name, and by the label values in alphabetical order of their labels."""


@dataclass(frozen=True)
class Answer:
    """A parsed response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def samples(self) -> Samples:
        return {
            (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.body.decode())
            for sample in family.samples
        }


def parsed(answer: bytes) -> Answer:
    """Parse a response whose body ends with the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), {name.lower(): text for name, text in headers.items()}, body)


@dataclass(frozen=True)
class Scraper:
    """Sends requests to a port of this machine."""

    port: int

    async def send(self, request: bytes) -> bytes:
        """Return everything that comes back until the connection ends."""
        async with asyncio.timeout(SECONDS_MAX), self.connected() as (reader, writer):
            writer.write(request)
            try:
                return await reader.read()
            except ConnectionError:
                return b""

    async def ask(self, path: str, method: str = "GET", host: str = "localhost") -> Answer:
        return parsed(await self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()))

    async def samples(self) -> Samples:
        return (await self.ask("/metrics")).samples

    async def wait_until_ready(self) -> None:
        async def is_ready() -> bool:
            return (await self.ask("/readyz")).status == 200

        await eventually(is_ready, deadline_seconds=SECONDS_MAX)

    async def wait_for_obstacles(self, *components: str) -> dict[str, str]:
        """Wait until exactly these components are not ready, and return the reason of each."""

        async def obstacles() -> dict[str, str] | None:
            answer = await self.ask("/readyz")
            obstacles: dict[str, str] = answer.json["obstacles"]
            return obstacles if answer.status == 503 and obstacles.keys() == set(components) else None

        found = await eventually(obstacles, deadline_seconds=SECONDS_MAX)
        assert found is not None
        return found

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection that sends nothing yet."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
