"""A DATABASE_URL that cannot be used ends each command with one line, without any part of its login."""

import asyncio
import os
import subprocess
import sys
import traceback
from pathlib import Path

import asyncpg
import pytest

from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose
from pattern_metrics.consumer.faults.driver import UnusableOptionsError
from pattern_metrics.consumer.operations.migration import migration_status
from pattern_metrics.consumer.postgres.connection import connect
from pattern_metrics.schemas.settings.database_url import InvalidDatabaseUrlError, parse_database_url
from tests.support.command import CommandLine

# The interpreter may be in a directory that only root can read.
AS_NOBODY = """
import os, sys
import pattern_metrics.consumer.cli.app, pattern_metrics.consumer.operations.migration

os.setuid(54321)  # no entry in /etc/passwd has it
sys.argv[1:] = ["migrate", "status"]
pattern_metrics.consumer.cli.app.main()
"""

SECRETS = ("admin", "Secr3tPw", "hun", "ter2", "ssword")

URLS = {
    "user@server": "postgresql://admin@srv:Secr3tPw@127.0.0.1:5432/db",
    "a bare @ in the password": "postgresql://admin:p@ssword@127.0.0.1/db",
    "a bare / in the password": "postgresql://admin:hun/ter2@127.0.0.1/db",
    "a second login": "postgresql://admin:hunter2@h1,admin:hunter2@h2/db",
    "a parameter without a value": "postgresql://admin:Secr3tPw@h/db?application_name",
    "no UTF-8": "postgresql://admin:hun\udcffter2@h/db",
    "a line break": "postgresql://admin:hun\nter2@h/db",
    "a wrong port": "postgresql://admin:Secr3tPw@h:70000/db",
    "a wrong percent": "postgresql://admin:hun%ter2@h/db",
    "a wrong host": "postgresql://admin:Secr3tPw@a..b/db",
    "jdbc": "jdbc:postgresql://h/db?user=admin&password=Secr3tPw",
    "pairs": "host=h user=admin password=Secr3tPw",
    "no scheme": "admin:Secr3tPw@h",
}

COMMANDS = (["status"], ["migrate", "status"], ["consume", "--check"], ["consume"], ["dashboard"])


@pytest.fixture(params=["console", "json"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {"LOG_FORMAT": request.param, "LOG_LEVEL": "DEBUG"})


def only_line_of(code: int, stdout: bytes, stderr: str) -> str:
    """Return the one line of a command that refuses its settings."""
    assert (code, stdout, len(stderr.splitlines())) == (2, b"", 1), stderr
    assert not [secret for secret in SECRETS if secret in stderr]
    return stderr


@pytest.mark.parametrize("form", URLS)
async def test_every_command_refuses_the_url_in_one_line(form: str, command: CommandLine) -> None:
    for arguments in COMMANDS:
        finished = await command.run(*arguments, database_url=URLS[form])

        assert only_line_of(finished.code, finished.stdout, finished.stderr).startswith(
            "error: DATABASE_URL: "
        )


async def test_the_url_of_a_file_is_refused_likewise(command: CommandLine) -> None:
    (command.directory / "our.env").write_text(f"DATABASE_URL={URLS['user@server']}\n")
    finished = await command.run("status", "--env-file", "our.env")
    line = only_line_of(finished.code, finished.stdout, finished.stderr)

    assert line.startswith("error: DATABASE_URL in our.env: ")
    assert "write @ as %40" in line


async def test_the_option_is_named_in_place_of_the_setting(command: CommandLine) -> None:
    option = ["--database-url", URLS["a bare @ in the password"]]
    finished = await command.run("backfill", *option, "-", database_url="postgresql://worker@127.0.0.1/db")
    line = only_line_of(finished.code, finished.stdout, finished.stderr)

    assert line.startswith("error: --database-url: ")
    assert "write @ as %40" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_process_without_a_name_is_reported_to_write_one() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        env={"PATH": os.defpath, "DATABASE_URL": "postgresql://127.0.0.1/db"},
        cwd="/",
        capture_output=True,
        check=False,
    )
    line = only_line_of(finished.returncode, finished.stdout, finished.stderr.decode())

    assert line.startswith("error: DATABASE_URL: ")
    assert "postgresql://USER@HOST/DATABASE" in line


@pytest.mark.parametrize("length", [10, 100])
async def test_an_error_of_the_server_does_not_repeat_the_user(
    length: int, postgres_server: PostgresServer
) -> None:
    """The server cuts a name of more than 63 bytes in its message."""
    user = "Secr3tPw" + "x" * length
    url = postgres_server.dsn().replace("postgres@", f"{user}@")
    page = Database(url)
    for work in (connect(url), migration_status(url), page.fetch("SELECT 1")):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await work

        assert 'role "***" does not exist' in str(caught.value)
        assert "Secr3tPw" not in "".join(traceback.format_exception(caught.value))
    page.close()


@pytest.mark.parametrize(
    ("variable", "content"),
    [("PGPASSFILE", b"hun\xffter2"), ("PGSERVICEFILE", b"[prod]\nhunter2 hunter2\n"), ("PGPORT", b"hunter2")],
    ids=["PGPASSFILE", "PGSERVICEFILE", "PGPORT"],
)
async def test_a_driver_that_cannot_read_its_options_is_a_wrong_configuration(
    variable: str, content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    await asyncio.to_thread(file.write_bytes, content)
    file.chmod(0o600)
    monkeypatch.setenv(variable, content.decode() if variable == "PGPORT" else str(file))
    service = "?service=prod" if variable == "PGSERVICEFILE" else ""
    with pytest.raises(UnusableOptionsError) as caught:
        await connect(f"postgresql://worker@127.0.0.1/db{service}")

    assert diagnose(caught.value).fault is Fault.CONFIGURATION
    assert "hun" not in "".join(traceback.format_exception(caught.value))


async def test_a_caller_of_the_library_gets_the_same_error() -> None:
    with pytest.raises(InvalidDatabaseUrlError, match="write @ as %40") as caught:
        await connect(URLS["user@server"])

    assert "Secr3tPw" not in "".join(traceback.format_exception(caught.value))
    assert diagnose(caught.value).fault is Fault.CONFIGURATION


@pytest.mark.parametrize("name", ["user", "password", "dbname", "database"])
def test_a_plus_after_the_question_mark_has_one_meaning(name: str) -> None:
    """The driver reads a space, and libpq reads a plus sign."""
    with pytest.raises(InvalidDatabaseUrlError, match=r"write \+ as %2B"):
        parse_database_url(f"postgresql://h/?{name}=a+b")

    url = parse_database_url(f"postgresql://h/?{name}=a%2B%20b")
    assert "a+ b" in {url.user, url.password, url.database}


async def test_the_service_of_the_environment_is_used(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The driver looks up PGSERVICE after it has read the file, and then ignores it."""
    url = parse_database_url(postgres_server.dsn())
    file = tmp_path / "services"
    lines = (f"host={url.hosts[0]}", f"port={url.ports[0]}", f"user={url.user}", "dbname=postgres")
    file.write_text("\n".join(["[ours]", *lines]))
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGSERVICE", "ours")

    connection = await connect("postgresql://")
    await connection.close()

    monkeypatch.setenv("PGSERVICE", "theirs")
    with pytest.raises(InvalidDatabaseUrlError, match="service is in no file"):
        await connect("postgresql://")
