"""A certificate, key or password file that cannot be used is named. TLS is never dropped silently."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from pattern_metrics.consumer.demo.embedded import HOST, PostgresServer
from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose
from pattern_metrics.consumer.postgres.connection import connect
from pattern_metrics.schemas.settings.database_url import InvalidDatabaseUrlError
from pattern_metrics.schemas.settings.kafka import SettingFileError
from tests.security.conftest import PASSWORD, USER, Authorities, SecuredPostgres
from tests.support.certificates import encrypted
from tests.support.command import CommandLine

VARIABLES = {
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "passfile": "PGPASSFILE",
}

DEFAULTS = {
    "sslrootcert": "root.crt",
    "sslcert": "postgresql.crt",
    "sslkey": "postgresql.key",
    "sslcrl": "root.crl",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory of this process, which is empty."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith(("PG", "SSL_CERT"))]:
        monkeypatch.delenv(name)
    return home


@pytest.fixture
async def address(secured_postgres: SecuredPostgres) -> str:
    await secured_postgres.change()
    return f"{HOST}:{secured_postgres.server.port}"


def spoil(path: Path, state: str) -> Path:
    """Make a file unreadable, even for root."""
    if state == "a folder":
        path.mkdir()
    elif state == "a loop":
        path.symlink_to(path)
    elif state == "below a file":
        path.write_text("")
        return path / "file"
    return path


STATES = ("missing", "a folder", "a loop", "below a file")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("by", ["parameter", "variable", "service"])
@pytest.mark.parametrize("name", VARIABLES)
async def test_a_file_that_cannot_be_read_is_named(
    name: str, by: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spoil(tmp_path / "named", state)
    parameters = "sslmode=verify-full" + (f"&{name}={path}" if by == "parameter" else "")
    if by == "variable":
        monkeypatch.setenv(VARIABLES[name], str(path))
    if by == "service":
        service = tmp_path / "services"
        service.write_text(f"[other]\n[prod]\nhost={HOST}\nsslmode=verify-full\n{name}={path}\n")
        monkeypatch.setenv("PGSERVICEFILE", str(service))
        parameters = "service=prod"
    if name == "sslkey":
        (tmp_path / "home" / ".postgresql").mkdir()
        (tmp_path / "home" / ".postgresql" / "postgresql.crt").write_text("")
    if name != "sslrootcert":
        parameters += f"&sslrootcert={ssl.get_default_verify_paths().openssl_cafile}"
        monkeypatch.setenv("PGSSLROOTCERT", "")

    with pytest.raises(SettingFileError) as caught:
        await connect(f"postgresql://worker@{HOST}:1/m?{parameters}")

    assert str(path) in str(caught.value)
    origins = {"parameter": f"{name} of DATABASE_URL", "service": f"{name} of its service"}
    assert origins.get(by, VARIABLES[name]) in str(caught.value)
    assert diagnose(caught.value).fault is Fault.CONFIGURATION


@pytest.mark.parametrize("place", ["missing", "a folder", "empty", "without it"])
async def test_a_service_that_no_file_has_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver would go to its default host, and report nothing."""
    path = tmp_path / "services"
    if place in {"empty", "without it"}:
        path.write_text("[other]\nhost=h\n" if place == "without it" else "")
    else:
        spoil(path, place)
    monkeypatch.setenv("PGSERVICEFILE", str(path))

    with pytest.raises(InvalidDatabaseUrlError, match="check PGSERVICEFILE"):
        await connect("postgresql://?service=prod")


async def test_a_service_may_prove_the_server_by_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The CA of the test is none of the system's, so that the check of the certificate fails."""
    host, port = address.split(":")
    path = tmp_path / "services"
    login = f"host={host}\nport={port}\nuser={USER}\npassword={PASSWORD}\ndbname=postgres\n"
    path.write_text(f"[prod]\n{login}sslrootcert=system\nssl_max_protocol_version=TLSv1.9\n")
    monkeypatch.setenv("PGSERVICEFILE", str(path))
    with pytest.raises(InvalidDatabaseUrlError, match="ssl_max_protocol_version must be"):
        await connect("postgresql://?service=prod")

    path.write_text(f"[prod]\n{login}sslrootcert=system\n")
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect("postgresql://?service=prod")


@pytest.mark.parametrize("state", ["a folder", "a loop"])
@pytest.mark.parametrize("name", DEFAULTS)
async def test_a_default_file_that_cannot_be_read_is_named(name: str, state: str, home: Path) -> None:
    (home / ".postgresql").mkdir()
    path = spoil(home / ".postgresql" / DEFAULTS[name], state)

    with pytest.raises(SettingFileError) as caught:
        await connect(f"postgresql://worker:{PASSWORD}@{HOST}:1/m?sslmode=require")

    assert str(path) in str(caught.value)
    assert f"the default of {name}" in str(caught.value)


async def test_default_files_need_not_be_there(address: str) -> None:
    connection = await connect(f"postgresql://{USER}:{PASSWORD}@{address}/postgres?sslmode=require")
    await connection.close()


# The interpreter may be in a directory that only root can read.
AS_NOBODY = """
import os, sys, uvloop
import pattern_metrics.consumer.cli.app, pattern_metrics.consumer.operations.migration

os.setuid(54321)
sys.argv[1:] = ["migrate", "status"]
pattern_metrics.consumer.cli.app.main()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("closed", ["", ".postgresql"], ids=["home", "folder"])
def test_a_home_that_may_not_be_entered_is_named(closed: str, home: Path) -> None:
    for folder in (*home.parents, home):
        folder.chmod(folder.stat().st_mode | 0o111)
    (home / closed).mkdir(exist_ok=True)
    (home / closed).chmod(0o700)
    url = f"postgresql://worker:{PASSWORD}@{HOST}:1/m?sslmode=require"
    finished = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        env={"PATH": os.defpath, "DATABASE_URL": url, "HOME": str(home)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (finished.returncode, finished.stdout, len(finished.stderr.splitlines())) == (2, "", 1)
    assert f"{home}/.postgresql/" in finished.stderr
    assert "Permission denied; set HOME to a folder that the process may enter" in finished.stderr


@pytest.mark.parametrize("command", [["status"], ["verify"], ["trace", "0" * 32]], ids=str)
@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey", "sslcrl"])
async def test_a_command_that_uses_kafka_too_names_postgresql(
    command: list[str], name: str, address: str, tmp_path: Path
) -> None:
    url = f"postgresql://{USER}@{address}/postgres?sslmode=verify-full&{name}={tmp_path}/absent"
    environment = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}

    finished = await CommandLine(tmp_path, environment).run(*command)

    assert f"error: PostgreSQL (DATABASE_URL or --database-url): {tmp_path}/absent" in finished.stderr
    assert "Kafka" not in finished.stderr.partition("error:")[2]


# Contents of the files


async def test_a_file_that_holds_something_else_is_named(address: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("nothing of the kind")
    for name in ("sslrootcert", "sslcrl", "sslcert"):
        with pytest.raises(SettingFileError, match=f"{file} .{name} of DATABASE_URL.: holds no"):
            await connect(f"postgresql://{USER}@{address}/postgres?sslmode=require&{name}={file}")


@pytest.mark.parametrize("is_apart", [True, False], ids=["key file", "one file"])
async def test_an_encrypted_key_needs_its_passphrase(
    is_apart: bool, address: str, authorities: Authorities, tmp_path: Path
) -> None:
    certificate = authorities.known.sign(USER)
    key, both = encrypted(certificate.key, "hunter2%"), tmp_path / "both.pem"
    both.write_text(key.read_text() + certificate.certificate.read_text())
    files = f"sslcert={certificate.certificate}&sslkey={key}" if is_apart else f"sslcert={both}"
    url = f"postgresql://{USER}:{PASSWORD}@{address}/postgres?sslmode=require&{files}"
    holder = key if is_apart else both

    with pytest.raises(SettingFileError, match=f"{holder} .* is encrypted: set sslpassword"):
        await connect(url)
    with pytest.raises(SettingFileError, match=f"{holder} .*: holds no key") as caught:
        await connect(f"{url}&sslpassword=wrong-hunter2")
    assert "hunter2" not in str(caught.value)
    await (await connect(f"{url}&sslpassword=hunter2%25")).close()


# The certificates that the system trusts


@pytest.mark.parametrize("parameters", ["sslrootcert=system", "sslrootcert=system&sslmode=verify-full"])
async def test_the_certificates_of_the_system_prove_the_server(
    parameters: str, address: str, authorities: Authorities, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://{USER}:{PASSWORD}@{address}/postgres?{parameters}"
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities.known.certificate))
    connection = await connect(url)
    uses_tls = await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    await connection.close()
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities.unknown.certificate))

    assert uses_tls
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(url)


async def test_a_server_without_tls_is_refused_where_it_has_to_prove_itself(
    postgres_server: PostgresServer,
) -> None:
    with pytest.raises(ConnectionError, match="SSL"):
        await connect(f"{postgres_server.dsn()}?sslrootcert=system")


@pytest.mark.parametrize(
    "parameters",
    [
        "sslrootcert=system&sslmode=require",
        "sslrootcert=system&sslmode=disable",
        "sslrootcert=/ca.pem",
        "sslrootcert=/ca.pem&sslmode=prefer",
        "sslrootcert=/ca.pem&sslmode=allow",
    ],
)
async def test_a_ca_that_would_prove_nothing_is_refused(
    parameters: str, postgres_server: PostgresServer
) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="sslmode=verify-full") as caught:
        await connect(f"{postgres_server.dsn()}?{parameters}")

    assert diagnose(caught.value).fault is Fault.CONFIGURATION


async def test_a_command_shows_the_file_in_one_line(tmp_path: Path) -> None:
    url = f"postgresql://worker:{PASSWORD}@{HOST}:1/m?sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}"
    refused = await CommandLine(tmp_path, {"DATABASE_URL": url}).run("migrate", "status")

    assert refused.code == 2
    assert refused.stderr == (
        f"error: PostgreSQL (DATABASE_URL or --database-url): {tmp_path / 'ca.pem'} "
        "(sslrootcert of DATABASE_URL): No such file or directory\n"
    )
