"""Checks the certificate, key and password files before the driver does, to name the one that fails."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pattern_metrics.consumer.database_url import DatabaseUrl, InvalidDatabaseUrlError
from pattern_metrics.schemas.settings.kafka import SettingFileError, refuse_passphrase

SYSTEM: Final = "system"
"""Value of sslrootcert that means the certificates that the system trusts."""

_PROVEN: Final = {"require", "verify-ca", "verify-full"}
"""The values of sslmode with which the driver checks the server's certificate."""

_CHECK: Final = "check sslrootcert, sslcert and sslkey in DATABASE_URL"


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

    def fails(self, why: str | None) -> SettingFileError:
        return SettingFileError(f"{self.path} ({self.origin}): {why}")

    def is_readable(self) -> bool:
        """Return whether the file exists.

        Raises:
            SettingFileError: it exists and cannot be read, or is needed and does not exist.
        """
        try:
            with self.path.open("rb"):
                return True
        except (FileNotFoundError, NotADirectoryError) as error:
            if self.is_needed:
                raise self.fails(error.strerror) from None
            return False
        except OSError as error:
            remedy = "" if self.is_needed else "; let HOME name a folder that may be entered"
            raise self.fails(f"{error.strerror}{remedy}") from None


def read_files(url: DatabaseUrl) -> ssl.SSLContext | None:
    """Check the files that the driver will read, as named by the URL and the PG* variables.

    Returns:
        The TLS context for sslrootcert=system, which the driver does not know; None if the driver needs none.

    Raises:
        SettingFileError: a file cannot be used; the message names it and its setting.
        InvalidDatabaseUrlError: the URL names a CA that its sslmode would ignore.
    """
    if url.password is None and "PGPASSWORD" not in os.environ:
        passfile = _find(url, "passfile", "PGPASSFILE", "~/.pgpass")
        if passfile is not None and passfile.is_needed:  # without it the driver continues silently
            passfile.is_readable()
    mode = _parameter(url, "sslmode", "PGSSLMODE")
    if _parameter(url, "sslrootcert", "PGSSLROOTCERT") == SYSTEM:
        if mode not in {None, "verify-full"}:
            raise InvalidDatabaseUrlError("sslrootcert=system needs sslmode=verify-full")
        context = _system_context(url)
        _load_revocations(context, url)
        _load_own(context, url)
        return context
    if mode == "disable" or (mode is None and url.has_sockets_only):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if mode in _PROVEN:
        _load(context, _find(url, "sslrootcert", "PGSSLROOTCERT", "~/.postgresql/root.crt"))
        _load_revocations(context, url)
    elif "sslrootcert" in url.parameters and "service" not in url.parameters:
        raise InvalidDatabaseUrlError(
            "sslrootcert proves nothing without sslmode: add sslmode=verify-full, verify-ca or require"
        )
    _load_own(context, url)
    return None


def _system_context(url: DatabaseUrl) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    if version := _parameter(url, "ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"):
        context.minimum_version = ssl.TLSVersion[version.replace(".", "_")]
    if version := _parameter(url, "ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"):
        context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    return context


def _load(context: ssl.SSLContext, file: _File | None) -> bool:
    """Load certificates or revocation lists, and return whether there are any."""
    if file is None or not file.is_readable():
        return False
    try:
        context.load_verify_locations(cafile=file.path)
    except ssl.SSLError:
        raise file.fails(f"holds no certificate or revocation list in PEM form: {_CHECK}") from None
    return True


def _load_revocations(context: ssl.SSLContext, url: DatabaseUrl) -> None:
    if _load(context, _find(url, "sslcrl", "PGSSLCRL", "~/.postgresql/root.crl")):
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load_own(context: ssl.SSLContext, url: DatabaseUrl) -> None:
    """Load the client's certificate and key."""
    key = _find(url, "sslkey", "PGSSLKEY", "~/.postgresql/postgresql.key")
    if key is not None and not key.is_readable():
        key = None
    certificate = _find(url, "sslcert", "PGSSLCERT", "~/.postgresql/postgresql.crt")
    if certificate is None or not certificate.is_readable():
        return
    passphrase = url.parameters.get("sslpassword")
    holder = key or certificate
    refuse = refuse_passphrase(f"{holder.path} ({holder.origin})", "set sslpassword, or decrypt the file")
    try:
        context.load_cert_chain(
            certificate.path, key.path if key else None, (lambda: passphrase) if passphrase else refuse
        )
    except ssl.SSLError:
        raise holder.fails(f"holds no key in PEM form for {certificate.path}: {_CHECK}") from None


def _parameter(url: DatabaseUrl, name: str, variable: str) -> str | None:
    return url.parameters.get(name) or os.environ.get(variable) or None


def _find(url: DatabaseUrl, name: str, variable: str, default: str) -> _File | None:
    """Find a file as the driver does."""
    if named := url.parameters.get(name):
        return _File(Path(named), f"{name} of DATABASE_URL", is_needed=True)
    if named := os.environ.get(variable):
        return _File(Path(named), variable, is_needed=True)
    try:
        return _File(Path(default).expanduser(), f"the default of {name}", is_needed=False)
    except RuntimeError:
        return None
