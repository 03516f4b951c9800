"""Checks host names and ports in settings before a resolver or a log sees any part of them."""

import re
from ipaddress import IPv6Address
from typing import Final

_HOST_CHARACTERS_MAX: Final = 253
_PORT_MAX: Final = 65535

_HOST_AND_PORT: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?", re.DOTALL)
_LABEL: Final = r"[A-Za-z0-9_-]{1,63}"
_DNS_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")


def split_host(text: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[address]` or `[address]:port`.

    Returns:
        The host, not yet checked and with its brackets, and the port, None if there is none.

    Raises:
        ValueError: the text has another form, or the port is wrong; the message repeats none of it.
    """
    place = _HOST_AND_PORT.fullmatch(text)
    if place is None:
        raise ValueError("a host must be a name, an IPv4 address or an IPv6 address in brackets")
    host, port = place.groups()
    return host, parse_port(port) if port else None


def parse_port(text: str) -> int:
    """Read a port.

    Raises:
        ValueError: it is not a number from 1 to 65535; the message does not repeat it.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _PORT_MAX:
        raise ValueError(f"a port must be a number from 1 to {_PORT_MAX}")
    return int(text)


def resolvable_host(host: str) -> str:
    """Check a host name, an IPv4 address, or an IPv6 address in brackets, with or without a zone.

    Returns:
        The host as the resolver reads it: without brackets, an international name in its ASCII form.

    Raises:
        ValueError: it is none of them; the message does not repeat it.
    """
    if host.startswith("["):
        return _checked_address(host[1:-1])
    if len(host) <= _HOST_CHARACTERS_MAX:
        try:
            name = host if host.isascii() else host.encode("idna").decode("ascii")
        except UnicodeError:
            name = ""
        if len(name) <= _HOST_CHARACTERS_MAX and _DNS_NAME.fullmatch(name):
            return name
    raise ValueError("a host must be a name, an IPv4 address or an IPv6 address in brackets")


def _checked_address(text: str) -> str:
    try:
        IPv6Address(text)
    except ValueError:
        is_address = False
    else:
        is_address = _ADDRESS.fullmatch(text) is not None
    if not is_address:
        raise ValueError("only an IPv6 address may stand in brackets")
    return text
