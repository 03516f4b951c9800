"""Servers that require authentication, and the credentials for them."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from pattern_metrics.consumer.demo.embedded import HOST, PostgresServer, free_port
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.certificates import Authority, Certificate
from tests.support.command import SECONDS_MAX, CommandLine
from tests.support.kafka import ApacheKafka, Listener, create_topic, missing, require_apache
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.postgres import started, system_binaries
from tests.support.waiting import eventually

USER = "worker"
STRANGER = "stranger"
"""A user without any right, unless a test grants one."""

PASSWORD = "right-hunter2"
WRONG_PASSWORD = "wrong-hunter2"

_MODULES = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class Authorities:
    """An authority that everybody trusts, and one that nobody knows."""

    known: Authority
    unknown: Authority


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    directory = tmp_path_factory.mktemp("authorities")
    return Authorities(Authority(directory / "known"), Authority(directory / "unknown"))


# Kafka


class SecuredKafka:
    """Apache Kafka with TLS, mutual TLS, every SASL mechanism, and ACLs."""

    def __init__(self, directory: Path, authorities: Authorities) -> None:
        self._authorities = authorities
        self._is_changed = False
        self._keystore = directory / "broker.pem"
        self._truststore = directory / "clients.pem"
        self._write(authorities.known.sign("broker"), authorities.known)
        tls = {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(self._keystore)}
        trust = {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(self._truststore)}
        self._sasl = {
            **tls,
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "scram-sha-256.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
            "scram-sha-512.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
            "oauthbearer.sasl.jaas.config": f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";',
        }
        self.server = ApacheKafka(
            {
                "TLS": Listener("SSL", tls),
                "MUTUAL": Listener("SSL", {**tls, **trust, "ssl.client.auth": "required"}),
                "MISNAMED": Listener("SSL", tls, advertised_host="localhost"),
                "DETOUR": Listener("SSL", tls, advertised_port=free_port()),
                "SASL": self._sasl_listener(PASSWORD),
            },
            {
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": f"User:ANONYMOUS;User:{USER};User:CN={USER}",
            },
            {USER: PASSWORD, STRANGER: PASSWORD},
        )

    def _sasl_listener(self, password: str) -> Listener:
        plain = f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{password}";'
        return Listener("SASL_SSL", {**self._sasl, "plain.sasl.jaas.config": plain})

    async def be_right(self) -> None:
        """Undo the changes of the previous test."""
        if self._is_changed:
            await self.restart()

    def _write(self, certificate: Certificate, trusted: Authority) -> None:
        self._keystore.write_text(certificate.keystore)
        shutil.copy(trusted.certificate, self._truststore)

    async def restart(
        self,
        certificate: Certificate | None = None,
        trusted: Authority | None = None,
        password: str = PASSWORD,
    ) -> None:
        """Restart it with another certificate, authority for clients, or password for PLAIN."""
        self._is_changed = certificate is not None or password != PASSWORD
        known = self._authorities.known
        self._write(certificate or known.sign("broker"), trusted or known)
        self.server.listeners["SASL"] = self._sasl_listener(password)
        await asyncio.to_thread(self.server.stop)
        await asyncio.to_thread(self.server.start)

    def refused_logins(self) -> int:
        """Return the number of refused logins so far, from its own log."""
        return (self.server.directory / "log").read_text(errors="replace").count("Failed authentication with")


@pytest.fixture(scope="session")
def secured_kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authorities: Authorities
) -> Iterator[SecuredKafka]:
    require_apache(request)
    kafka = SecuredKafka(tmp_path_factory.mktemp("kafka"), authorities)
    with kafka.server:
        yield kafka


_TOKEN_PROVIDER = """
import base64, json, time
from pathlib import Path
from aiokafka.abc import AbstractTokenProvider

def encoded(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

class Tokens(AbstractTokenProvider):
    async def token(self):
        subject = Path(__file__).with_name("subject").read_text()
        if not subject:
            raise RuntimeError("hunter2")
        claims = {"sub": subject, "iat": time.time() - 1, "exp": time.time() + 60}
        return f"{encoded({'alg': 'none'})}.{encoded(claims) if subject != 'garbage' else subject}."
"""


class Credentials:
    """A client's files, which a test may replace. They are correct at first."""

    def __init__(self, directory: Path, authorities: Authorities) -> None:
        directory.mkdir()
        self.directory = directory
        self.ca, self._own = directory / "ca.pem", directory / "own"
        self.password = directory / "password"
        self.subject = directory / "subject"
        (directory / "tokens.py").write_text(_TOKEN_PROVIDER)
        self.mend(authorities)

    @property
    def key(self) -> Path:
        return self._own / "tls.key"

    def mend(self, authorities: Authorities) -> None:
        self.trust(authorities.known)
        self.use(authorities.known.sign(USER))
        self._replace(self.password, f"{PASSWORD}\n")
        self._replace(self.subject, USER)

    def trust(self, authority: Authority) -> None:
        self._replace(self.ca, authority.certificate.read_text())

    def use(self, certificate: Certificate) -> None:
        """Replace certificate and key together, as Kubernetes does: by a symbolic link."""
        version = Path(tempfile.mkdtemp(dir=self.directory))
        shutil.copy(certificate.certificate, version / "tls.crt")
        shutil.copy(certificate.key, version / "tls.key")
        (version / "link").symlink_to(version)
        (version / "link").replace(self._own)

    def _replace(self, path: Path, text: str) -> None:
        new = self.directory / "new"
        new.write_text(text)
        new.replace(path)

    def environment(self, kafka: SecuredKafka, way: str, user: str = USER) -> dict[str, str]:
        """Return the settings of one way in: TLS, MUTUAL, MISNAMED, DETOUR, or a SASL mechanism."""
        sasl = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": way}
        tls = {"KAFKA_SECURITY_PROTOCOL": "SSL"}
        own = {
            "KAFKA_SSL_CERTFILE": str(self._own / "tls.crt"),
            "KAFKA_SSL_KEYFILE": str(self.key),
        }
        login = {"KAFKA_SASL_USERNAME": user, "KAFKA_SASL_PASSWORD_FILE": str(self.password)}
        hook = {
            "KAFKA_SASL_OAUTH_TOKEN_PROVIDER": "tokens:Tokens",
            "PYTHONPATH": str(self.directory),
        }
        ways = {
            "TLS": tls,
            "MISNAMED": tls,
            "DETOUR": tls,
            "MUTUAL": {**tls, **own},
            "OAUTHBEARER": {**sasl, **hook},
        }
        listener = way if way in kafka.server.listeners else "SASL"  # one listener for all mechanisms
        return {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.server.bootstrap_servers_of(listener),
            "KAFKA_SSL_CAFILE": str(self.ca),
            **ways.get(way, {**sasl, **login}),
        }


@pytest.fixture
def credentials(tmp_path: Path, authorities: Authorities) -> Credentials:
    return Credentials(tmp_path / "credentials", authorities)


@pytest.fixture
async def kafka_settings(secured_kafka: SecuredKafka, migrated_database_url: str) -> WorkerSettings:
    """The settings of the listener without security, which the test itself uses to publish."""
    await secured_kafka.be_right()
    bootstrap_servers = secured_kafka.server.bootstrap_servers
    topic = await create_topic(bootstrap_servers)
    return worker_settings(bootstrap_servers, topic, migrated_database_url, kafka_enable_idempotence=True)


# PostgreSQL


class SecuredPostgres:
    """PostgreSQL that accepts its user `worker` by TLS and SCRAM only."""

    def __init__(self, server: PostgresServer, authorities: Authorities) -> None:
        self.server = server
        self._authorities = authorities
        self._data = server.directory / "data"

    async def begin(self) -> None:
        hba = f"hostssl all {USER} {HOST}/32 scram-sha-256\nhost all postgres {HOST}/32 trust\n"
        (self._data / "pg_hba.conf").write_text(hba)
        await self.execute(f"CREATE ROLE {USER} SUPERUSER LOGIN")
        await self.execute("ALTER SYSTEM SET ssl = on")
        await self.change()

    async def change(self, certificate: Certificate | None = None, password: str = PASSWORD) -> None:
        """Give it another certificate or password, for later sessions."""
        used = certificate or self._authorities.known.sign("postgresql")
        for source, name in ((used.certificate, "server.crt"), (used.key, "server.key")):
            target = self._data / name
            shutil.copy(source, target)
            owner = self._data.stat()
            os.chown(target, owner.st_uid, owner.st_gid)
            target.chmod(0o600)
        await self.execute(f"ALTER ROLE {USER} PASSWORD '{password}'")
        await self.execute("SELECT pg_reload_conf()")

    async def end_sessions(self) -> None:
        """End all sessions, so that every client reconnects."""
        await self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'")

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.server.dsn())
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def refused_logins(self) -> int:
        """Return the number of refused logins so far, from its own log."""
        return (self.server.directory / "log").read_text(errors="replace").count("authentication failed")


@pytest.fixture(scope="session")
def secured_postgres(pytestconfig: pytest.Config, authorities: Authorities) -> Iterator[SecuredPostgres]:
    """The system's PostgreSQL, because the wheel's is built without TLS."""
    if system_binaries() is None:
        missing("PostgreSQL with TLS needs the system's")
    with started(pytestconfig, is_of_system=True) as server:
        postgres = SecuredPostgres(server, authorities)
        asyncio.run(postgres.begin())
        yield postgres


# Checks that all tests share


async def publish(settings: WorkerSettings) -> PatternScored:
    async with ScorePublisher(settings) as publisher:
        await publisher.publish(event := an_event())
    return event


async def wait_until_written(settings: WorkerSettings, event: PatternScored) -> None:
    """Wait for the row. A client may have to be rebuilt before."""

    async def is_written() -> bool:
        return await table(settings) == expected_table([event])

    await eventually(is_written, deadline_seconds=2 * SECONDS_MAX)


async def assert_check_refuses(command: CommandLine, expected: str) -> None:
    checked = await command.run("consume", "--check")

    assert expected in checked.stderr
    assert len(checked.stderr.splitlines()) == 1, checked.stderr
    assert "hunter2" not in checked.stderr
    assert checked.code == 2
