"""Runs the gateway until a signal."""

import socket
from collections.abc import Callable

import structlog

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.gateway.delivery import delivering
from pattern_metrics.consumer.gateway.gateway import Gateway
from pattern_metrics.consumer.gateway.server import Server
from pattern_metrics.consumer.http.listening import address_of
from pattern_metrics.consumer.http.server import is_loopback
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.settings import GatewaySettings, InvalidSettingError
from pattern_metrics.consumer.stopping import hearing_signals

logger = structlog.get_logger()


def load_tokens(settings: GatewaySettings) -> Tokens | None:
    """Return the tokens of GATEWAY_TOKENS_FILE; None if none are required.

    Raises:
        InvalidSettingError: the file cannot be used, or is missing although HTTP_HOST is no loopback address.
    """
    if settings.gateway_tokens_file is not None:
        return Tokens(settings.gateway_tokens_file, "GATEWAY_TOKENS_FILE")
    if not is_loopback(settings.http_host):
        raise InvalidSettingError(
            "GATEWAY_TOKENS_FILE: is required, because HTTP_HOST is not a loopback address"
        )
    return None


async def serve_gateway(
    settings: GatewaySettings,
    tokens: Tokens | None,
    listener: socket.socket,
    started: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT, and then until the requests in flight are answered.

    Args:
        settings: the broker, the topic and the outbox.
        tokens: see `load_tokens`.
        listener: the socket to serve.
        started: called with the gateway's address.

    Raises:
        OutboxError: the file of OUTBOX_PATH cannot be used.
    """
    health = Health()
    async with delivering(settings, health) as delivery:
        await delivery.wait_for_first_answer()
        server = Server(Gateway(delivery, tokens, settings).app, listener)
        address, port, *_ = listener.getsockname()
        logger.info("http_started", address=address, port=port)
        started(address_of(listener))
        with hearing_signals(server.stop, server.stop_at_once):
            await server.run_until_stopped()
