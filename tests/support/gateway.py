"""A gateway in this process, and agents that send it requests as raw bytes."""

import asyncio
import hashlib
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

from pattern_metrics.consumer.demo.embedded import HOST
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.gateway.delivery import delivering
from pattern_metrics.consumer.gateway.gateway import Gateway
from pattern_metrics.consumer.gateway.server import Server
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.settings import GatewaySettings
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.support.scraping import Answer, Scraper, parsed

TOKEN: Final = "secret"

_GUIDE: Final = Path(__file__).parents[2] / "docs/how-to/publish-over-http.md"


@dataclass(frozen=True)
class Agent(Scraper):
    """An agent without a Kafka client.

    Attributes:
        token: its token.
        server: the server that it sends to.
    """

    token: str = ""
    server: Server | None = None

    @override
    async def ask(self, path: str, method: str = "GET", host: str = "localhost") -> Answer:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        return parsed(await self.send(head.encode()))

    def request(self, body: bytes, *headers: str, content_type: str = "application/json") -> bytes:
        """Return the bytes of a request after whose answer the connection ends."""
        lines = [
            "POST /v1/scores HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            *([f"Authorization: Bearer {self.token}"] if self.token else []),
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def post(self, body: bytes, *headers: str, content_type: str = "application/json") -> Answer:
        """Send a request, and return the answer."""
        return parsed(await self.send(self.request(body, *headers, content_type=content_type)))


def documented(language: str, port: int) -> str:
    """Return the guide's first example in a language, for the gateway at this port."""
    guide = _GUIDE.read_text(encoding="utf-8")
    found = re.search(rf"^```{language}\n(.*?)^```$", guide, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1].replace("http://localhost:8080", f"http://{HOST}:{port}")


def tokens_in(directory: Path) -> Tokens:
    """Return the tokens of a new file, which knows TOKEN."""
    file = directory / "tokens"
    file.write_text(f"ci/lint {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    return Tokens(file, "GATEWAY_TOKENS_FILE")


def gateway_settings(settings: KafkaSettings, **changes: object) -> GatewaySettings:
    """Return the settings of a gateway to the same topic."""
    kafka = {name: getattr(settings, name) for name in KafkaSettings.model_fields}
    return GatewaySettings(**{**kafka, **changes})


@asynccontextmanager
async def running_gateway(
    settings: GatewaySettings, tokens: Tokens | None = None, token: str = ""
) -> AsyncIterator[Agent]:
    """Run a gateway during the block, and yield an agent. It must end by itself when it is stopped."""
    health = Health()
    async with delivering(settings, health) as delivery:
        listener = socket.create_server((HOST, 0))
        port = listener.getsockname()[1]
        server = Server(Gateway(delivery, tokens, settings).app, listener)
        serving = asyncio.create_task(server.run_until_stopped())
        try:
            yield Agent(port, token, server)
        finally:
            server.stop()
            async with asyncio.timeout(60):
                await serving
