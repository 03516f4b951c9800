"""The health check of the worker on this machine or in this container.

Run `python -m pattern_metrics.consumer.alive`. Exit 0: the worker is alive, or HTTP is turned off. 1: it is
not alive. The check uses no proxy and imports next to nothing, because it runs every few seconds.
"""

import socket
import sys
from typing import Final

from pattern_metrics.schemas.settings.variables import find_variables

DEFAULT_HOST: Final = "127.0.0.1"
PORT: Final = 8080
SECONDS_MAX: Final = 5.0
"""Seconds to connect, and seconds to wait for the answer."""


def loopback_of(host: str) -> str:
    """Return the address at which this machine reaches a listening host: 0.0.0.0 includes 127.0.0.1."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def address() -> tuple[str, int]:
    """Return HTTP_HOST and HTTP_PORT. The settings' model checks more, but is slow to import.

    Raises:
        EnvFileError: the file of PATTERN_METRICS_ENV_FILE cannot be used.
        ValueError: HTTP_PORT is not a number.
    """
    found = find_variables(("http_host", "http_port"))
    given = {setting: variable.text for setting, variable in found.items()}
    return given.get("http_host", DEFAULT_HOST), int(given.get("http_port", PORT))


def is_alive(host: str, port: int) -> bool:
    """Return whether /livez answers 200.

    Raises:
        OSError: nothing listens there, or there was no answer within `SECONDS_MAX`.
    """
    with socket.create_connection((loopback_of(host), port), SECONDS_MAX) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.readline().startswith(b"HTTP/1.1 200 ")


def main() -> None:
    """Exit 0 if the worker is alive, else 1."""
    try:
        host, port = address()
        sys.exit(0 if port == 0 or is_alive(host, port) else 1)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
