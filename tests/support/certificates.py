"""Certificates made with openssl: authorities and what they sign, valid or wrong in one way."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pattern_metrics.consumer.demo.embedded import HOST

_PAST = ("20200101000000Z", "20200102000000Z")
_PRESENT = ("20200101000000Z", "20991231000000Z")

_CONFIGURATION = """
[req]
distinguished_name = name
[name]
[ca]
default_ca = authority
[authority]
database = {directory}/issued
new_certs_dir = {directory}
default_md = sha256
policy = policy
rand_serial = yes
unique_subject = no
copy_extensions = copy
[policy]
commonName = supplied
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, each a PEM file."""

    certificate: Path
    key: Path

    @property
    def keystore(self) -> str:
        """Both in one text, in the form of Kafka's PEM keystores."""
        return self.key.read_text() + self.certificate.read_text()


class Authority:
    """Signs certificates. Clients that trust `certificate` trust all of them.

    Args:
        directory: a new directory for its files.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._issued = 0
        self._configuration = directory / "openssl.cnf"
        self._configuration.write_text(_CONFIGURATION.format(directory=directory))
        (directory / "issued").touch()
        self._own = self._named("authority")
        self._openssl(
            "req",
            "-x509",
            "-days",
            "36500",
            *self._new_key(self._own, directory.name),
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-out",
            self._own.certificate,
        )

    @property
    def certificate(self) -> Path:
        return self._own.certificate

    def sign(self, name: str, *, host: str = f"IP:{HOST}", is_expired: bool = False) -> Certificate:
        """Sign a new certificate for a common name and a host, as openssl writes alternative names."""
        self._issued += 1
        made = self._named(f"{name}-{self._issued}")
        request = self._directory / f"{name}-{self._issued}.csr"
        start, end = _PAST if is_expired else _PRESENT
        self._openssl(
            "req", "-new", *self._new_key(made, name), "-addext", f"subjectAltName={host}", "-out", request
        )
        self._openssl(
            "ca",
            "-batch",
            "-notext",
            "-startdate",
            start,
            "-enddate",
            end,
            "-cert",
            self._own.certificate,
            "-keyfile",
            self._own.key,
            "-in",
            request,
            "-out",
            made.certificate,
        )
        return made

    def _named(self, name: str) -> Certificate:
        return Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")

    @staticmethod
    def _new_key(made: Certificate, name: str) -> list[str | Path]:
        curve = "ec_paramgen_curve:prime256v1"
        return ["-newkey", "ec", "-pkeyopt", curve, "-nodes", "-keyout", made.key, "-subj", f"/CN={name}"]

    def _openssl(self, command: str, *arguments: str | Path) -> None:
        program = shutil.which("openssl") or "openssl"
        subprocess.run(
            [program, command, "-config", self._configuration, *arguments], check=True, capture_output=True
        )


def encrypted(key: Path, passphrase: str) -> Path:
    """Make a copy of a private key that needs a passphrase."""
    target = key.with_suffix(".encrypted")
    program = shutil.which("openssl") or "openssl"
    command: list[str | Path] = [
        program,
        "pkey",
        "-in",
        key,
        "-aes256",
        "-passout",
        f"pass:{passphrase}",
        "-out",
        target,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return target
