"""The socket that HTTP is served on."""

import errno
import socket
from typing import Final

import structlog

from pattern_metrics.consumer.alive import loopback_of
from pattern_metrics.consumer.settings import HttpSettings, InvalidSettingError, WorkerSettings

logger = structlog.get_logger()

_EVERYWHERE: Final = {"0.0.0.0", "::"}  # noqa: S104 - asked for by HTTP_HOST
"""Both mean every address of this machine, by IPv4 and by IPv6."""


def take_port(settings: HttpSettings) -> socket.socket:
    """Take HTTP_PORT; `0.0.0.0` and `::` are both answered by IPv4 and by IPv6.

    Raises:
        InvalidSettingError: it cannot be had.
    """
    host, port = settings.http_host, settings.http_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    is_everywhere = host in _EVERYWHERE and socket.has_dualstack_ipv6()
    try:
        if is_everywhere:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        setting = "HTTP_PORT" if number in {errno.EADDRINUSE, errno.EACCES} else "HTTP_HOST"
        reason = errno.errorcode.get(number or 0, type(error).__name__)
        raise InvalidSettingError(f"{setting}: cannot listen on {host} port {port} ({reason})") from None


def listen(settings: WorkerSettings) -> socket.socket | None:
    """Take HTTP_PORT for a worker; None where that is 0.

    The default port may be another program's, or another worker's: nobody asked for it, so that is a warning.

    Raises:
        InvalidSettingError: the port that was asked for cannot be had.
    """
    if settings.http_port == 0:
        return None
    try:
        return take_port(settings)
    except InvalidSettingError as error:
        if settings.model_fields_set & {"http_host", "http_port"}:
            raise InvalidSettingError(f"{error}; 0 turns HTTP off") from None
        logger.warning("http_is_off", hint=f"{error}; 0 turns HTTP off; another port turns it on")
        return None


def address_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port, *_ = listener.getsockname()
    host = "127.0.0.1" if host == "::" and socket.has_dualstack_ipv6() else loopback_of(host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
