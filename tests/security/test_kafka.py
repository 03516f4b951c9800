"""Kafka by TLS, mutual TLS and SASL: failures are reported, and fixed without a restart."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.security.conftest import (
    PASSWORD,
    USER,
    WRONG_PASSWORD,
    Authorities,
    Credentials,
    SecuredKafka,
    assert_check_refuses,
    publish,
    wait_until_written,
)
from tests.support.certificates import encrypted
from tests.support.command import CommandLine, WorkerProcess, environment_of
from tests.support.pipeline import an_event, expected_table, table

WAYS = ("TLS", "MUTUAL", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

UNREACHABLE = "not reachable; waiting for it"

LINES_MAX = 15
LOGINS_MAX = 30
"""Logins in half a minute, by a worker that waits up to ten seconds between two attempts."""
LOGINS_OF_A_SESSION_MAX = 200
"""Logins by a client that was built before, until a silence of ten seconds is noticed."""


@dataclass(frozen=True)
class Scene:
    """The broker, the client's files, and the authorities."""

    kafka: SecuredKafka
    credentials: Credentials
    authorities: Authorities
    settings: WorkerSettings
    directory: Path

    def command(self, way: str) -> CommandLine:
        """Return the command, with one way in."""
        environment = environment_of(self.settings) | self.credentials.environment(self.kafka, way)
        return CommandLine(self.directory, environment)


@pytest.fixture
def scene(
    secured_kafka: SecuredKafka,
    credentials: Credentials,
    authorities: Authorities,
    kafka_settings: WorkerSettings,
    tmp_path: Path,
) -> Scene:
    return Scene(secured_kafka, credentials, authorities, kafka_settings, tmp_path)


@pytest.mark.parametrize("way", WAYS)
async def test_events_come_through_each_secured_listener(way: str, scene: Scene) -> None:
    command, event = scene.command(way), an_event()

    (await command.run("consume", "--check")).succeeded()
    (await command.run("publish", "-", stdin=event.to_json())).succeeded()
    (await command.run("consume", "--until-caught-up")).succeeded()
    (await command.run("status")).succeeded()

    assert await table(scene.settings) == expected_table([event])


# Faults of the client, which are fixed there


@dataclass(frozen=True)
class Fault:
    """One fault, and the report of it."""

    way: str
    hint: str
    spoil: Callable[[Scene], object]


def of_password(way: str) -> Fault:
    hint = "the login was refused: check the user and the password"
    return Fault(way, hint, lambda scene: scene.credentials.password.write_text(WRONG_PASSWORD))


FAULTS = {
    "wrong password of PLAIN": of_password("PLAIN"),
    "wrong password of SCRAM-SHA-256": of_password("SCRAM-SHA-256"),
    "wrong password of SCRAM-SHA-512": of_password("SCRAM-SHA-512"),
    "token refused": Fault(
        "OAUTHBEARER",
        "the login was refused: check the user and the password or token",
        lambda scene: scene.credentials.subject.write_text("garbage"),
    ),
    "token provider failed": Fault(
        "OAUTHBEARER",
        "KAFKA_SASL_OAUTH_TOKEN_PROVIDER gave no token",
        lambda scene: scene.credentials.subject.write_text(""),
    ),
    "unknown CA": Fault(
        "TLS",
        "signed by an unknown CA: check KAFKA_SSL_CAFILE",
        lambda scene: scene.credentials.trust(scene.authorities.unknown),
    ),
    "own certificate expired": Fault(
        "MUTUAL",
        "refused our certificate (expired",
        lambda scene: scene.credentials.use(scene.authorities.known.sign(USER, is_expired=True)),
    ),
    "own certificate of an unknown CA": Fault(
        "MUTUAL",
        "a CA unknown to it): check KAFKA_SSL_CERTFILE",
        lambda scene: scene.credentials.use(scene.authorities.unknown.sign(USER)),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_client_is_reported_once_and_fixed_without_a_restart(
    name: str, scene: Scene
) -> None:
    fault, command = FAULTS[name], scene.command(FAULTS[name].way)
    event = await publish(scene.settings)
    fault.spoil(scene)
    await assert_check_refuses(command, fault.hint)

    async with command.worker() as worker:
        reported = await worker.wait_for_event("not_ready", component="kafka")
        scene.credentials.mend(scene.authorities)
        await wait_until_written(scene.settings, event)
        assert fault.hint in reported["hint"]
        assert worker.is_running
        assert worker.events("not_ready") == [reported]
        assert len(worker.events("recovered", component="kafka")) == 1


async def test_a_client_without_a_certificate_is_reported_to_have_one(scene: Scene) -> None:
    mutual = scene.kafka.server.bootstrap_servers_of("MUTUAL")
    environment = {**scene.command("TLS").environment, "KAFKA_BOOTSTRAP_SERVERS": mutual}

    await assert_check_refuses(CommandLine(scene.directory, environment), "set KAFKA_SSL_CERTFILE")


async def test_a_name_that_only_the_broker_advertises_is_checked_too(scene: Scene) -> None:
    await assert_check_refuses(scene.command("MISNAMED"), "for another host name")


# Faults of the broker, which are fixed there


@pytest.mark.parametrize(
    ("host", "is_expired", "expected"),
    [
        ("DNS:elsewhere.example", False, "is for another host name"),
        ("IP:127.0.0.1", True, "has expired: renew it"),
    ],
    ids=["wrong host name", "expired"],
)
async def test_a_wrong_broker_certificate_is_reported_until_it_is_replaced(
    host: str, is_expired: bool, expected: str, scene: Scene
) -> None:
    command, event = scene.command("TLS"), await publish(scene.settings)
    wrong = scene.authorities.known.sign("broker", host=host, is_expired=is_expired)
    await scene.kafka.restart(wrong)
    await assert_check_refuses(command, expected)

    async with command.worker() as worker:
        first = await worker.wait_for_event("not_ready", component="kafka")
        await scene.kafka.restart()
        await wait_until_written(scene.settings, event)
        assert expected in first["hint"]
        assert worker.is_running
        assert {line["hint"] for line in worker.events("not_ready")} <= {first["hint"], UNREACHABLE}


# Files that are replaced while the worker runs


async def rotate_password(scene: Scene, _: WorkerProcess) -> None:
    scene.credentials.password.write_text("rotated")
    await scene.kafka.restart(password="rotated")


async def rotate_password_late(scene: Scene, worker: WorkerProcess) -> None:
    before = scene.kafka.refused_logins()
    await scene.kafka.restart(password="rotated")
    await worker.wait_for_event("not_ready", component="kafka", error="SaslAuthenticationFailed")
    assert scene.kafka.refused_logins() - before <= LOGINS_OF_A_SESSION_MAX
    scene.credentials.password.write_text("rotated")


async def rotate_authority(scene: Scene, _: WorkerProcess) -> None:
    new = scene.authorities.unknown
    scene.credentials.trust(new)
    scene.credentials.use(new.sign(USER))
    await scene.kafka.restart(new.sign("broker"), trusted=new)


@pytest.mark.parametrize(
    ("way", "rotate"),
    [("PLAIN", rotate_password), ("PLAIN", rotate_password_late), ("MUTUAL", rotate_authority)],
    ids=["password", "password too late", "certificates and CA"],
)
async def test_rotated_files_are_used_without_a_restart(
    way: str, rotate: Callable[[Scene, WorkerProcess], Awaitable[None]], scene: Scene
) -> None:
    async with scene.command(way).worker() as worker:
        await worker.wait_for_event("reading_from", count=3)
        await rotate(scene, worker)
        await wait_until_written(scene.settings, await publish(scene.settings))
        assert worker.is_running


async def test_a_refused_login_is_no_storm(scene: Scene) -> None:
    scene.credentials.password.write_text(WRONG_PASSWORD)
    before = scene.kafka.refused_logins()

    async with scene.command("SCRAM-SHA-512").worker() as worker:
        await worker.wait_for_event("not_ready", count=2)  # the reminder, after half a minute
        assert 2 <= scene.kafka.refused_logins() - before <= LOGINS_MAX
        assert len(worker.events()) <= LINES_MAX


@pytest.mark.parametrize("is_apart", [True, False], ids=["key file", "one file"])
async def test_an_encrypted_key_is_refused_and_nothing_is_read_for_it(
    is_apart: bool, scene: Scene, tmp_path: Path
) -> None:
    certificate = scene.authorities.known.sign(USER)
    key, both = encrypted(certificate.key, PASSWORD), tmp_path / "both.pem"
    both.write_text(key.read_text() + certificate.certificate.read_text())
    files = {"KAFKA_SSL_CERTFILE": certificate.certificate, "KAFKA_SSL_KEYFILE": key}
    used = files if is_apart else {"KAFKA_SSL_CERTFILE": both}
    environment = {**scene.command("TLS").environment, **{name: str(path) for name, path in used.items()}}
    command = CommandLine(tmp_path, environment)
    name = "KAFKA_SSL_KEYFILE" if is_apart else "KAFKA_SSL_CERTFILE"

    for arguments in (["publish", "-"], ["consume", "--check"], ["consume"], ["topic", "create"]):
        refused = await command.run(*arguments, stdin=PASSWORD.encode() + b"\n")
        assert refused.stderr == f"error: {name}: the key is encrypted: decrypt it with openssl pkey\n"
        assert (refused.code, refused.stdout) == (2, b"")
