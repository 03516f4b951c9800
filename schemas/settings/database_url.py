"""Parses DATABASE_URL by our own strict grammar.

The driver receives the parsed parts, never the text. A lenient parser finds a host in a password that
contains an @; then a resolver and a log see a part of the password. This parser refuses every text that can
be read in two ways. Error messages repeat none of the text.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import unquote, urlencode

from pattern_metrics.schemas.hosts import parse_port, resolvable_host, split_host

_SCHEMES: Final = {"postgresql", "postgres"}
_DEFAULT_PORT: Final = 5432
_NAME_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names, also in its messages."""

_FORM: Final = (
    "must have the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE; write no quotes around it, no jdbc: "
    "before it, and no name=value pairs in its place"
)
_RESERVED: Final = (
    "in USER, PASSWORD and all other parts, write @ as %40, / as %2F, ? as %3F and # as %23; write "
    "USER:PASSWORD@ once, before the first host"
)
_URL: Final = re.compile(
    r"(?:(?P<login>[^@/?#]*)@)?(?P<places>[^@/?#]*)(?:/(?P<database>[^@?#]*))?(?:\?(?P<query>[^@#]*))?"
)
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "target_session_attrs": ("any", "primary", "standby", "prefer-standby", "read-write", "read-only"),
    "gsslib": ("gssapi", "sspi"),
}
"""The values that the driver accepts. For any other value it may raise a TypeError, or print the value."""


_LOGIN_PARAMETERS: Final = {
    *("passfile", "service", "target_session_attrs", "krbsrvname", "gsslib", "options"),
    *("sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
}
"""The driver's parameters, and `options`, which a server accepts only in the login."""

_REFUSED_SETTINGS: Final = (*("client_encoding", "standard_conforming_strings", "session_replication_role"),)
"""The server's settings that would change the stored data."""


_LOGIN: Final = {"user", "password", "dbname", "database"}


class InvalidDatabaseUrlError(ValueError):
    """The text cannot be used as the database's URL. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database's URL in decoded parts. The driver takes a missing part from a PG* variable or a default.

    Attributes:
        hosts: names, addresses or directories of Unix sockets.
        ports: one for each host, or one for all.
        user: None if missing, as are `password` and `database`.
        password: never printed.
        database: its name.
        parameters: all others after the `?`: the driver's own, and settings for the server.
    """

    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    database: str | None = field(repr=False)
    parameters: Mapping[str, str] = field(repr=False)

    @property
    def settings(self) -> dict[str, str]:
        """The parameters that are server settings for this session."""
        return {name: text for name, text in self.parameters.items() if name not in _LOGIN_PARAMETERS}

    @property
    def places(self) -> str:
        """The hosts with their ports, for a person."""
        ports = self.ports or (_DEFAULT_PORT,)
        ports = ports if len(ports) > 1 else ports * len(self.hosts)
        return ", ".join(f"{host}:{port}" for host, port in zip(self.hosts, ports, strict=False)) or (
            "the host of PGHOST, of a service, or this machine"
        )

    @property
    def place(self) -> str:
        """The hosts and the database, for a person; nothing of the login."""
        return f"{self.places}/{self.database}" if self.database else f"{self.places}, its default database"

    def without_secrets(self) -> str:
        """Return the URL without its login, and with `***` for each parameter that could hold a secret."""
        hosts = self.places.replace(", ", ",") if self.hosts else ""
        pairs = [f"{name}={text if name in _CHOICES else '***'}" for name, text in self.parameters.items()]
        return f"postgresql://{hosts}/{self.database or ''}" + ("?" + "&".join(pairs) if pairs else "")

    @property
    def names_user(self) -> bool:
        """True if the URL names a user, or a service (which may name the user)."""
        return self.user is not None or "service" in self.parameters

    def with_service(self, name: str | None) -> "DatabaseUrl":
        """Return the URL with a service for what it does not name, unless it has a service of its own."""
        return replace(self, parameters={"service": name, **self.parameters}) if name else self

    def driver_options(self) -> dict[str, Any]:
        """Return the arguments for `asyncpg.connect`.

        The driver takes the certificates' files from a DSN only, so the parameters are passed as a DSN, in
        ASCII. The server's settings are not in the DSN, because a pooler refuses most of them in the login.
        """
        own = {name: text for name, text in self.parameters.items() if name in _LOGIN_PARAMETERS}
        return {
            "dsn": "postgresql://" + ("?" + urlencode(own) if own else ""),
            "host": list(self.hosts) or None,
            "port": list(self.ports) or None,
            "user": self.user,
            "password": self.password,
            "database": self.database,
        }

    def without_login(self, text: str) -> str:
        """Return the server's message with the user's name and the password replaced by `***`."""
        if self.password is not None:
            text = text.replace(self.password, "***")
        if self.user is None:
            return text
        cut = self.user.encode()[:_NAME_BYTES_MAX].decode(errors="ignore")
        names = "|".join(map(re.escape, (self.user, cut)))
        return re.sub(rf"(?<!\w)({names})(?!\w)", "***", text)


def effective_database_url(text: str) -> DatabaseUrl:
    """Parse DATABASE_URL with the service of PGSERVICE, which libpq adds and the driver ignores.

    Raises:
        InvalidDatabaseUrlError: see `parse_database_url`.
    """
    return parse_database_url(text).with_service(os.environ.get("PGSERVICE"))


def parse_database_url(text: str) -> DatabaseUrl:
    """Parse a database's URL.

    Raises:
        InvalidDatabaseUrlError: the text is not a URL, or can be read in more than one way.
    """
    parts = _split(text)
    user, _, password = parts["login"].partition(":")
    parameters = _parameters(parts["query"])
    try:
        hosts, ports = _hosts(parts["places"], parameters)
    except ValueError as error:
        raise InvalidDatabaseUrlError(str(error)) from None
    return DatabaseUrl(
        hosts=hosts,
        ports=ports,
        user=_once(_decode(user), parameters, "user"),
        password=_once(_decode(password), parameters, "password"),
        database=_once(_decode(parts["database"]), parameters, "dbname", "database"),
        parameters=parameters,
    )


def _split(text: str) -> dict[str, str]:
    """Return the parts by the names of `_URL`, still encoded; a part that is missing is empty."""
    text = text.strip(" \t\r\n")  # a file or a secret often ends with a line break
    if _CONTROL.search(text):
        raise InvalidDatabaseUrlError("remove the line break or other control character, or write it as %0A")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidDatabaseUrlError("holds bytes that are not UTF-8: write the text in UTF-8") from None
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise InvalidDatabaseUrlError(_FORM)
    parts = _URL.fullmatch(rest)
    if parts is None:
        raise InvalidDatabaseUrlError(_RESERVED)
    return parts.groupdict("")


def _decode(text: str) -> str:
    if _STRAY_PERCENT.search(text):
        raise InvalidDatabaseUrlError("write % as %25")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidDatabaseUrlError(
            "the bytes that are written with % are not UTF-8: encode them"
        ) from None
    if "\0" in decoded:
        raise InvalidDatabaseUrlError("remove %00, which PostgreSQL takes nowhere")
    return decoded


def _parameters(query: str) -> dict[str, str]:
    """Parse the part after the `?` as the driver does: + is a space, and an empty value counts as missing."""
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, separator, value = (_decode(part.replace("+", " ")) for part in pair.partition("="))
        if not name or not separator:
            raise InvalidDatabaseUrlError("write each parameter after the ? as name=value")
        if name in _LOGIN and "+" in pair:  # a space for the driver, a + for libpq
            raise InvalidDatabaseUrlError(f"in {name} after the ?, write + as %2B, and a space as %20")
        if value and parameters.setdefault(name, value) != value:
            raise InvalidDatabaseUrlError("write each parameter after the ? once")
    for name, choices in _CHOICES.items():
        if parameters.get(name, choices[0]) not in choices:
            raise InvalidDatabaseUrlError(f"{name} must be one of {', '.join(choices)}")
    _require_harmless(parameters)
    return parameters


def _require_harmless(parameters: Mapping[str, str]) -> None:
    """Refuse settings that would change the stored data, as a parameter or as a part of `options`."""
    names = {name.lower() for name in parameters}
    # The server takes -cNAME=VALUE and --NAME=VALUE, in any case, with hyphens and escaped characters.
    options = parameters.get("options", "").replace("\\", "").replace("-", "_").lower()
    for name in _REFUSED_SETTINGS:
        if name in names or re.search(rf"{name}\s*=", options):
            raise InvalidDatabaseUrlError(f"remove {name}: it would change what is stored")


def _once(value: str, parameters: dict[str, str], *names: str) -> str | None:
    """Take a part from its place or from the parameters. If both differ, driver and libpq disagree."""
    values = {value, *(parameters.pop(name, "") for name in names)} - {""}
    if len(values) > 1:
        raise InvalidDatabaseUrlError(f"write {names[-1].upper()} once: before the ?, or after it")
    return next(iter(values), None)


def _hosts(places: str, parameters: dict[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    has_port_alone = places.startswith(":")
    port = _once(places[1:] if has_port_alone else "", parameters, "port")
    found = [] if has_port_alone else [_host(_decode(host), own) for host, own in _split_hosts(places)]
    named = [_host(host, own) for host, own in _split_hosts(parameters.pop("host", ""))]
    if found and named and found != named:
        raise InvalidDatabaseUrlError("write HOST once: before the ?, or after it")
    found = found or named
    ports = tuple(parse_port(text) for text in port.split(",")) if port else ()
    if any(own for _, own in found):
        if ports:
            raise InvalidDatabaseUrlError("write PORT once: before the ?, or after it")
        ports = tuple(own or _DEFAULT_PORT for _, own in found)
    if found and len(ports) not in {0, 1, len(found)}:
        raise InvalidDatabaseUrlError("write one PORT for all hosts, or one for each")
    return tuple(host for host, _ in found), ports


def _split_hosts(places: str) -> list[tuple[str, int | None]]:
    return [
        (place, None) if place.startswith("/") else split_host(place) for place in places.split(",") if places
    ]


def _host(host: str, port: int | None) -> tuple[str, int | None]:
    return host if host.startswith("/") else resolvable_host(host), port
