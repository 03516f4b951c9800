"""No secret of any setting is ever printed: every command, at DEBUG, with everything failing on purpose."""

import asyncio
import re
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer

from pattern_metrics.consumer.cli.app import app
from pattern_metrics.consumer.demo.embedded import HOST, free_port
from pattern_metrics.consumer.settings import InvalidSettingError, WorkerSettings, load
from tests.security.conftest import (
    PASSWORD,
    USER,
    WRONG_PASSWORD,
    Authorities,
    Credentials,
    SecuredKafka,
    SecuredPostgres,
)
from tests.support.collector import collecting
from tests.support.command import PROGRAM, SECONDS_MAX, CommandLine, environment_of
from tests.support.kafka import create_topic
from tests.support.pipeline import an_event, worker_settings
from tests.support.postgres import TEMPLATE, new_database
from tests.support.scraping import Scraper
from tests.support.waiting import eventually

MARKER = "hunter2"
"""Part of every password and token here."""

EVENT = an_event().to_json()

COMMANDS: dict[str, tuple[list[str], bytes]] = {
    "consume": (["--check"], b""),
    "status": ([], b""),
    "replay": ([], b""),
    "verify": (["--against-topic"], b""),
    "publish": (["-"], EVENT),
    "retire": (["shop:total", "--because", "deleted"], b""),
    "retired prune": (["--older-than", "2y"], b""),
    "topic create": ([], b""),
    "backfill": (["-"], EVENT),
    "migrate down": (["015"], b""),
    "migrate up": ([], b""),
    "migrate status": ([], b""),
    "dead-letters list": ([], b""),
    "dead-letters show": (["t/0/0"], b""),
    "dead-letters redrive": (["--all"], b""),
    "dead-letters discard": (["--all", "--because", "x"], b""),
    "dead-letters export": (["-"], b""),
    "dead-letters prune": (["--older-than", "1d"], b""),
    "export": ([], b""),
    "dashboard": ([], b""),
    "history prune": (["--older-than", "1d"], b""),
    "settings": ([], b""),
    "skip": (["--to", "latest", "--because", "x"], b""),
    "trace": ([str(UUID(int=1))], b""),
    "outbox flush": ([], b""),
    "gateway": ([], b""),
    "mcp": ([], b""),
}

WITHOUT_SUCCESS = {"dead-letters show", "trace"}
"""Commands that find nothing here, whatever the settings are."""

PAGE_PATHS = (
    "/",
    "/static/main.js",
    "/v1/distribution",
    "/v1/changes",
    f"/v1/patterns?name={PASSWORD}",
    f"/v1/patterns/{PASSWORD}",
    "/v1/progress",
    "/v1/gaps",
    "/v1/dead-letters",
    f"/v1/dead-letter?topic={PASSWORD}&partition=0&offset=0&timestamp=0",
)
"""The page's requests."""

WITHOUT_SETTINGS = {
    *("score", "schema", "migrate sql", "demo"),
    *(f"outbox {name}" for name in ("status", "export", "compact", "discard")),
}
"""Commands without a setting that could hold a secret."""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield " ".join(path)
        return
    for name, child in command.commands.items():
        yield from commands(child, (*path, name))


def test_every_command_that_takes_settings_is_scanned() -> None:
    assert set(commands(typer.main.get_command(app))) - WITHOUT_SETTINGS == set(COMMANDS)


@dataclass(frozen=True)
class Site:
    """Both servers, the client's files, and correct settings."""

    kafka: SecuredKafka
    postgres: SecuredPostgres
    credentials: Credentials
    authorities: Authorities
    settings: WorkerSettings

    def database_url(self, password: str = PASSWORD, ca: Path | None = None) -> str:
        database = self.settings.database_url.get_secret_value().rpartition("/")[2]
        tls = f"sslmode=verify-full&sslrootcert={ca or self.credentials.ca}"
        return f"postgresql://{USER}:{password}@{HOST}:{self.postgres.server.port}/{database}?{tls}"

    def login(self, password: str = PASSWORD) -> dict[str, str]:
        """Return the settings for a login by PLAIN, which sends the password, from a variable."""
        login = self.credentials.environment(self.kafka, "PLAIN")
        del login["KAFKA_SASL_PASSWORD_FILE"]
        return login | {"KAFKA_SASL_PASSWORD": password}

    @property
    def key_lines(self) -> list[str]:
        return [line for line in self.credentials.key.read_text().splitlines() if "-" not in line]

    def printed(self, text: str) -> list[str]:
        """Return the lines that contain a secret."""
        secrets = [MARKER, *self.key_lines]
        return [line for line in text.splitlines() if any(secret in line for secret in secrets)]


def all_right(site: Site) -> dict[str, str]:
    return {"DATABASE_URL": site.database_url(), **site.login()}


def all_right_by_files(site: Site) -> dict[str, str]:
    return {"DATABASE_URL": site.database_url(), **site.credentials.environment(site.kafka, "MUTUAL")}


def wrong_passwords(site: Site) -> dict[str, str]:
    return {"DATABASE_URL": site.database_url(WRONG_PASSWORD), **site.login(WRONG_PASSWORD)}


def unknown_authority(site: Site) -> dict[str, str]:
    unknown = site.authorities.unknown.certificate
    by_files = all_right_by_files(site)
    return {**by_files, "DATABASE_URL": site.database_url(ca=unknown), "KAFKA_SSL_CAFILE": str(unknown)}


def nobody_there(site: Site) -> dict[str, str]:
    nobody = f"{HOST}:{free_port()}"
    url = f"postgresql://{USER}:{PASSWORD}@{nobody}/metrics"
    return {**site.login(), "DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": nobody}


def keys_for_certificates(site: Site) -> dict[str, str]:
    key = site.credentials.key
    return {
        **all_right_by_files(site),
        "DATABASE_URL": site.database_url(ca=key),
        "KAFKA_SSL_CAFILE": str(key),
    }


def failing_token_provider(site: Site) -> dict[str, str]:
    site.credentials.subject.write_text("")
    provider = site.credentials.environment(site.kafka, "OAUTHBEARER")
    return {**provider, "DATABASE_URL": site.database_url(WRONG_PASSWORD)}


def garbled(site: Site) -> dict[str, str]:
    """A password with an unencoded slash, and a password in the place of the user."""
    url = site.database_url(f"{PASSWORD}/{PASSWORD}")
    return {**site.login(), "DATABASE_URL": url, "KAFKA_SASL_MECHANISM": PASSWORD}


RIGHT: list[Callable[[Site], dict[str, str]]] = [all_right, all_right_by_files]
WRONG: list[Callable[[Site], dict[str, str]]] = [
    wrong_passwords,
    unknown_authority,
    nobody_there,
    keys_for_certificates,
    failing_token_provider,
    garbled,
]

WAITED_OUT = [wrong_passwords, unknown_authority, nobody_there, failing_token_provider]
"""Faults during which a worker stays up."""


@pytest.fixture
async def site(
    secured_kafka: SecuredKafka,
    secured_postgres: SecuredPostgres,
    credentials: Credentials,
    authorities: Authorities,
) -> AsyncIterator[Site]:
    await secured_kafka.be_right()
    await secured_postgres.change()
    servers = secured_kafka.server.bootstrap_servers
    async with new_database(secured_postgres.server, TEMPLATE) as database_url:
        settings = worker_settings(
            servers, await create_topic(servers), database_url, kafka_enable_idempotence=True
        )
        yield Site(secured_kafka, secured_postgres, credentials, authorities, settings)


def command_of(site: Site, tmp_path: Path, environment: dict[str, str], log_format: str) -> CommandLine:
    logging = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": log_format}
    own = {"HTTP_PORT": str(free_port()), "OUTBOX_PATH": str(tmp_path / "outbox/events.db")}
    return CommandLine(tmp_path, environment_of(site.settings) | own | environment | logging)


async def run(command: CommandLine, arguments: list[str], stdin: bytes) -> tuple[int | None, str]:
    """Run a command to its end, or kill it once it logs that it waits or serves.

    Returns:
        The exit code, or None for a command that was killed; and its whole output.
    """
    (command.directory / "stdin").write_bytes(stdin)
    printed = command.directory / "printed"
    with printed.open("wb") as output, (command.directory / "stdin").open("rb") as source:
        process = await command.create_process(
            PROGRAM, *arguments, settings={}, stdin=source, stdout=output, stderr=output
        )
    ending = asyncio.ensure_future(process.wait())
    await eventually(
        lambda: ending.done() or re.search("not_ready|the (page|gateway) is at", printed.read_text()),
        deadline_seconds=SECONDS_MAX,
    )
    if not ending.done():
        process.kill()
        await ending
        waits = "not_ready" in printed.read_text()
        return None if waits else 0, printed.read_text()
    return process.returncode, printed.read_text()


@pytest.mark.parametrize("situation", [*RIGHT, *WRONG], ids=lambda one: one.__name__)
async def test_no_command_prints_a_secret(
    situation: Callable[[Site], dict[str, str]], site: Site, tmp_path: Path
) -> None:
    command = command_of(site, tmp_path, situation(site), "console")
    await run(command, ["publish", "-", "--outbox"], EVENT)  # an event for `outbox flush`
    for name, (arguments, stdin) in COMMANDS.items():
        code, printed = await run(command, [*name.split(), *arguments], stdin)
        assert not site.printed(printed), name
        if name not in {"settings", "mcp"}:  # they ask no server by themselves, and miss some of the faults
            assert (code != 0) == (situation in WRONG or name in WITHOUT_SUCCESS), (name, printed)


@pytest.mark.parametrize("situation", WRONG, ids=lambda one: one.__name__)
async def test_no_worker_logs_a_secret(
    situation: Callable[[Site], dict[str, str]], site: Site, tmp_path: Path
) -> None:
    command = command_of(site, tmp_path, situation(site), "json")
    _, printed = await run(command, ["consume"], b"")

    assert printed
    assert not site.printed(printed)


async def test_a_worker_that_writes_logs_no_secret(site: Site, tmp_path: Path) -> None:
    for situation in RIGHT:
        command = command_of(site, tmp_path, situation(site), "json")
        (await command.run("publish", "-", stdin=an_event().to_json())).succeeded()
        consumed = (await command.run("consume", "--until-caught-up")).succeeded()

        assert "batch_written" in consumed.stderr
        assert not site.printed(consumed.stdout.decode() + consumed.stderr)


async def test_no_exported_span_holds_a_secret(site: Site, tmp_path: Path) -> None:
    for situation in RIGHT:
        with collecting() as collector:
            token = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{PASSWORD}"}
            environment = situation(site) | collector.environment | token
            command = command_of(site, tmp_path, environment, "json")
            (await command.run("publish", "-", stdin=an_event().to_json())).succeeded()
            consumed = (await command.run("consume", "--until-caught-up")).succeeded()

        assert {headers["authorization"] for headers in collector.headers} == {f"Bearer {PASSWORD}"}
        assert {span.name.split()[0] for span in collector.spans} >= {"process", "write", "commit"}
        assert not site.printed(b"".join(collector.bodies).decode(errors="replace"))
        assert not site.printed(consumed.stdout.decode() + consumed.stderr)


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{PASSWORD}:{PASSWORD}@{HOST}:1/{PASSWORD}"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": PASSWORD},
        {"OTEL_EXPORTER_OTLP_HEADERS": PASSWORD},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": PASSWORD},
        {"OTEL_EXPORTER_OTLP_CERTIFICATE": PASSWORD},
    ],
    ids=str,
)
async def test_a_fault_of_the_collector_is_reported_without_its_secrets(
    site: Site, tmp_path: Path, variables: dict[str, str]
) -> None:
    environment = all_right(site) | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://{HOST}:1"} | variables
    command = command_of(site, tmp_path, environment, "json")
    (await command.run("publish", "-", stdin=an_event().to_json())).succeeded()
    consumed = (await command.run("consume", "--until-caught-up")).succeeded()

    assert "spans_not_exported" in consumed.stderr
    assert not site.printed(consumed.stdout.decode() + consumed.stderr)


@pytest.mark.parametrize("situation", [*RIGHT, *WAITED_OUT], ids=lambda one: one.__name__)
async def test_no_answer_by_http_holds_a_secret(
    situation: Callable[[Site], dict[str, str]], site: Site, tmp_path: Path
) -> None:
    scraper = Scraper(free_port())
    environment = situation(site) | {"HTTP_PORT": str(scraper.port)}

    async with command_of(site, tmp_path, environment, "json").worker() as worker:
        await worker.wait_for_event("http_started")
        await worker.wait_for_event("reading_from" if situation in RIGHT else "not_ready")
        requests = [
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX: {PASSWORD}\r\n\r\n".encode()
            for path in ("/livez", "/readyz", "/metrics", *PAGE_PATHS, f"/{PASSWORD}", f"/metrics?{PASSWORD}")
            for method in ("GET", "POST")
        ]
        answers = [(await scraper.send(request)).decode() for request in requests]

    assert all(answers)
    assert not site.printed("\n".join(answers))


def test_settings_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    login = {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": USER, "KAFKA_SASL_PASSWORD": PASSWORD}
    url = {"DATABASE_URL": f"postgresql://{USER}:{PASSWORD}@{HOST}/metrics"}
    for name, text in {**login, **url, "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}.items():
        monkeypatch.setenv(name, text)
    settings = load(WorkerSettings)
    shown = [repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())]
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", PASSWORD)
    with pytest.raises(InvalidSettingError) as caught:
        load(WorkerSettings)

    assert not [text for text in [*shown, *traceback.format_exception(caught.value)] if MARKER in text]
