"""Whether the worker of this machine or container is alive, for its health check.

Run it by `python -m pattern_metrics.consumer.alive`. Exit 0: it is, or it serves no HTTP to be asked. 1: it
is not. Asks without any proxy, and imports next to nothing, as it is run every few seconds.
"""

import socket
import sys
from typing import Final

from pattern_metrics.schemas.settings.variables import find_variables

DEFAULT_HOST: Final = "127.0.0.1"
PORT: Final = 8080
SECONDS_MAX: Final = 5.0
"""How long it may take to connect, and to answer."""


def loopback_of(host: str) -> str:
    """Where this machine itself finds what listens there: everywhere is here as well."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def address() -> tuple[str, int]:
    """Return HTTP_HOST and HTTP_PORT, without all that it takes to check the settings.

    Raises:
        EnvFileError: the file of PATTERN_METRICS_ENV_FILE cannot be used.
        ValueError: HTTP_PORT is no number.
    """
    found = find_variables(("http_host", "http_port"))
    given = {setting: variable.text for setting, variable in found.items()}
    return given.get("http_host", DEFAULT_HOST), int(given.get("http_port", PORT))


def is_alive(host: str, port: int) -> bool:
    """What /livez says.

    Raises:
        OSError: nobody answers there.
    """
    with socket.create_connection((loopback_of(host), port), SECONDS_MAX) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.readline().startswith(b"HTTP/1.1 200 ")


def main() -> None:
    """Ask, and exit with the answer."""
    try:
        host, port = address()
        sys.exit(0 if port == 0 or is_alive(host, port) else 1)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
