"""The socket of the HTTP server."""

import errno
import socket
from typing import Final

import structlog

from pattern_metrics.consumer.alive import loopback_of
from pattern_metrics.consumer.settings import HttpSettings, InvalidSettingError, WorkerSettings

logger = structlog.get_logger()

_EVERYWHERE: Final = {"0.0.0.0", "::"}  # noqa: S104 - HTTP_HOST asked for it
"""Both mean every address of this machine, by IPv4 and by IPv6."""


def take_port(settings: HttpSettings, option: str | None = None) -> socket.socket:
    """Listen on HTTP_PORT; with `0.0.0.0` as well as with `::`, by IPv4 and IPv6.

    Args:
        settings: the address.
        option: the option that gave the address; None if the settings did.

    Raises:
        InvalidSettingError: HTTP_HOST or HTTP_PORT cannot be used; the message names the setting.
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
        setting = option or ("HTTP_PORT" if number in {errno.EADDRINUSE, errno.EACCES} else "HTTP_HOST")
        reason = errno.errorcode.get(number or 0, type(error).__name__)
        raise InvalidSettingError(f"{setting}: cannot listen on {host} port {port} ({reason})") from None


def listen(settings: WorkerSettings) -> socket.socket | None:
    """Listen on HTTP_PORT for a worker; None if it is 0, or if the default port is taken.

    Another program or worker may use the default port. If the operator has set no port, failing to listen is
    only a warning.

    Raises:
        InvalidSettingError: the port was set, and cannot be used.
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
    """Return the URL by which a browser on this machine reaches the server."""
    host, port, *_ = listener.getsockname()
    host = "127.0.0.1" if host == "::" and socket.has_dualstack_ipv6() else loopback_of(host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
