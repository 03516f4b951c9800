"""Checks the certificate, key and password files before the driver does, to name the one that fails."""

import configparser
import os
import ssl
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pattern_metrics.consumer.faults.diagnosis import DatabaseFileError
from pattern_metrics.schemas.settings.database_url import DatabaseUrl, InvalidDatabaseUrlError
from pattern_metrics.schemas.settings.kafka import refuse_passphrase

SYSTEM: Final = "system"
"""Value of sslrootcert that means the certificates that the system trusts."""

_PROVEN: Final = {"require", "verify-ca", "verify-full"}
"""The values of sslmode with which the driver checks the server's certificate."""

_CHECK: Final = "check sslrootcert, sslcert and sslkey in DATABASE_URL"


class _Options(ChainMap[str, str]):
    """The parameters of the URL, and then the parameters of the service that the URL names."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file that the driver will read.

    Attributes:
        path: the path.
        origin: the parameter, variable or default that names it.
        is_needed: whether the driver fails without it.
    """

    path: Path
    origin: str
    is_needed: bool

    def fails(self, why: str | None) -> DatabaseFileError:
        return DatabaseFileError(f"{self.path} ({self.origin}): {why}")

    def is_readable(self) -> bool:
        """Return whether the file exists.

        Raises:
            DatabaseFileError: it exists and cannot be read, or is needed and does not exist.
        """
        try:
            with self.path.open("rb"):
                return True
        except (FileNotFoundError, NotADirectoryError) as error:
            if self.is_needed:
                raise self.fails(error.strerror) from None
            return False
        except OSError as error:
            remedy = "" if self.is_needed else "; set HOME to a folder that the process may enter"
            raise self.fails(f"{error.strerror}{remedy}") from None


def read_files(url: DatabaseUrl) -> ssl.SSLContext | None:
    """Check the files that the driver will read, as named by the URL, its service and the PG* variables.

    Returns:
        The TLS context for sslrootcert=system, which the driver does not know; None if the driver needs none.

    Raises:
        DatabaseFileError: a file cannot be used; the message names it and its setting.
        InvalidDatabaseUrlError: the URL names a CA that its sslmode would ignore, or an unknown service.
    """
    service = _service(url)
    options = _Options(dict(url.parameters), service)
    if url.password is None and "password" not in service and "PGPASSWORD" not in os.environ:
        passfile = _find(options, "passfile", "PGPASSFILE", "~/.pgpass")
        if passfile is not None and passfile.is_needed:  # without it the driver continues silently
            passfile.is_readable()
    mode = _parameter(options, "sslmode", "PGSSLMODE")
    if _parameter(options, "sslrootcert", "PGSSLROOTCERT") == SYSTEM:
        if mode not in {None, "verify-full"}:
            raise InvalidDatabaseUrlError("sslrootcert=system needs sslmode=verify-full")
        context = _system_context(options)
        _load_revocations(context, options)
        _load_own(context, options)
        return context
    if mode == "disable" or (mode is None and _uses_sockets_only(url, service)):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if mode in _PROVEN:
        _load(context, _find(options, "sslrootcert", "PGSSLROOTCERT", "~/.postgresql/root.crt"))
        _load_revocations(context, options)
    elif "sslrootcert" in url.parameters:
        raise InvalidDatabaseUrlError(
            "sslrootcert proves nothing without sslmode: add sslmode=verify-full, verify-ca or require"
        )
    _load_own(context, options)
    return None


def _service(url: DatabaseUrl) -> dict[str, str]:
    """Read the parameters of the service that the URL names, as the driver does.

    Raises:
        InvalidDatabaseUrlError: no file has the service. The driver would ignore that, and connect elsewhere.
    """
    name = url.parameters.get("service")
    if name is None:
        return {}
    files = configparser.ConfigParser()
    try:
        files.read(os.environ.get("PGSERVICEFILE") or Path("~/.pg_service.conf").expanduser())
        if name in files.sections():
            return dict(files[name])
    except (configparser.Error, ValueError):
        return {}  # the driver will report the fault
    except RuntimeError:
        pass  # there is no home directory
    raise InvalidDatabaseUrlError(
        "service is in no file that can be read: check PGSERVICEFILE and ~/.pg_service.conf"
    )


def _uses_sockets_only(url: DatabaseUrl, service: Mapping[str, str]) -> bool:
    hosts = url.hosts or tuple(filter(None, service.get("host", "").split(",")))
    return bool(hosts) and all(host.startswith("/") for host in hosts)


def _system_context(options: _Options) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    context.minimum_version = _version(options, "ssl_min_protocol_version") or context.minimum_version
    context.maximum_version = _version(options, "ssl_max_protocol_version") or context.maximum_version
    return context


def _version(options: _Options, name: str) -> ssl.TLSVersion | None:
    text = _parameter(options, name, f"PG{name.replace('_', '').upper()}")
    try:
        return ssl.TLSVersion[text.replace(".", "_")] if text else None
    except KeyError:
        raise InvalidDatabaseUrlError(f"{name} must be TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3") from None


def _load(context: ssl.SSLContext, file: _File | None) -> bool:
    """Load certificates or revocation lists, and return whether there are any."""
    if file is None or not file.is_readable():
        return False
    try:
        context.load_verify_locations(cafile=file.path)
    except ssl.SSLError:
        raise file.fails(f"holds no certificate or revocation list in PEM form: {_CHECK}") from None
    return True


def _load_revocations(context: ssl.SSLContext, options: _Options) -> None:
    if _load(context, _find(options, "sslcrl", "PGSSLCRL", "~/.postgresql/root.crl")):
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load_own(context: ssl.SSLContext, options: _Options) -> None:
    """Load the client's certificate and key."""
    key = _find(options, "sslkey", "PGSSLKEY", "~/.postgresql/postgresql.key")
    if key is not None and not key.is_readable():
        key = None
    certificate = _find(options, "sslcert", "PGSSLCERT", "~/.postgresql/postgresql.crt")
    if certificate is None or not certificate.is_readable():
        return
    passphrase = options.get("sslpassword")
    holder = key or certificate
    refuse = refuse_passphrase(f"{holder.path} ({holder.origin})", "set sslpassword, or decrypt the file")
    try:
        context.load_cert_chain(
            certificate.path, key.path if key else None, (lambda: passphrase) if passphrase else refuse
        )
    except ssl.SSLError:
        raise holder.fails(f"holds no key in PEM form for {certificate.path}: {_CHECK}") from None


def _parameter(options: _Options, name: str, variable: str) -> str | None:
    return options.get(name) or os.environ.get(variable) or None


def _find(options: _Options, name: str, variable: str, default: str) -> _File | None:
    """Find a file as the driver does."""
    if named := options.get(name):
        origin = f"{name} of {'DATABASE_URL' if name in options.maps[0] else 'its service'}"
        return _File(Path(named), origin, is_needed=True)
    if named := os.environ.get(variable):
        return _File(Path(named), variable, is_needed=True)
    try:
        return _File(Path(default).expanduser(), f"the default of {name}", is_needed=False)
    except RuntimeError:
        return None
