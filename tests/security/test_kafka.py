"""Kafka by TLS, mutual TLS and SASL: what fails is told, and mended without a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumer.settings import WorkerSettings
from publisher import ScorePublisher
from schemas.pattern_scored import PatternScored
from tests.security.conftest import (
    PASSWORD,
    STRANGER,
    USER,
    WRONG_PASSWORD,
    Authorities,
    Credentials,
    SecuredKafka,
)
from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess, environment_of
from tests.support.kafka import create_topic
from tests.support.pipeline import an_event, expected_table, table, worker_settings
from tests.support.waiting import eventually

WAYS = ("TLS", "MUTUAL", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

UNREACHABLE = "not reachable; waiting for it"
LINES_MAX = 15
REBUILD_SECONDS_MAX = 2 * SECONDS_MAX


@pytest.fixture
async def settings(secured_kafka: SecuredKafka, migrated_database_url: str) -> WorkerSettings:
    """Of the listener without security, by which the test itself publishes."""
    topic = await create_topic(secured_kafka.server.bootstrap_servers)
    return worker_settings(
        secured_kafka.server.bootstrap_servers, topic, migrated_database_url, kafka_enable_idempotence=True
    )


@pytest.fixture
def command(tmp_path: Path, settings: WorkerSettings) -> CommandLine:
    return CommandLine(tmp_path, environment_of(settings))


async def publish(settings: WorkerSettings) -> PatternScored:
    async with ScorePublisher(settings) as publisher:
        await publisher.publish(event := an_event())
    return event


async def wait_until_written(settings: WorkerSettings, *events: PatternScored) -> None:
    async def is_written() -> bool:
        return await table(settings) == expected_table(events)

    await eventually(is_written, deadline_seconds=REBUILD_SECONDS_MAX)


@pytest.mark.parametrize("way", WAYS)
async def test_events_come_through_each_secured_listener(
    way: str,
    secured_kafka: SecuredKafka,
    credentials: Credentials,
    settings: WorkerSettings,
    command: CommandLine,
) -> None:
    secured = CommandLine(
        command.directory, {**command.environment, **credentials.environment(secured_kafka, way)}
    )
    event = an_event()

    (await secured.run("consume", "--check")).succeeded()
    (await secured.run("publish", "-", stdin=event.to_json())).succeeded()
    (await secured.run("consume", "--until-caught-up")).succeeded()
    (await secured.run("status")).succeeded()

    assert await table(settings) == expected_table([event])


# What is wrong with the client, and is mended there


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, how it is told, and how it is mended."""

    way: str
    told: str
    spoil: Callable[[Credentials, Authorities], object]
    mend: Callable[[Credentials, Authorities], object]


def of_password(way: str) -> Fault:
    return Fault(
        way,
        "the login was refused: check the user and the password",
        lambda credentials, _: credentials.password.write_text(WRONG_PASSWORD),
        lambda credentials, _: credentials.password.write_text(PASSWORD),
    )


def of_own_certificate(told: str, spoil: Callable[[Credentials, Authorities], object]) -> Fault:
    return Fault("MUTUAL", told, spoil, lambda credentials, known: credentials.use(known.known.sign(USER)))


def of_token(told: str, subject: str) -> Fault:
    return Fault(
        "OAUTHBEARER",
        told,
        lambda credentials, _: credentials.subject.write_text(subject),
        lambda credentials, _: credentials.subject.write_text(USER),
    )


FAULTS = {
    "wrong password of PLAIN": of_password("PLAIN"),
    "wrong password of SCRAM-SHA-256": of_password("SCRAM-SHA-256"),
    "wrong password of SCRAM-SHA-512": of_password("SCRAM-SHA-512"),
    "token refused": of_token("the login was refused", "garbage"),
    "token provider failed": of_token("KAFKA_SASL_OAUTH_TOKEN_PROVIDER gave no token", ""),
    "unknown CA": Fault(
        "TLS",
        "unknown CA: check KAFKA_SSL_CAFILE",
        lambda credentials, known: credentials.trust(known.unknown),
        lambda credentials, known: credentials.trust(known.known),
    ),
    "own certificate expired": of_own_certificate(
        "refused our certificate (expired",
        lambda credentials, known: credentials.use(known.known.sign(USER, is_expired=True)),
    ),
    "own certificate of an unknown CA": of_own_certificate(
        "a CA unknown to it): check KAFKA_SSL_CERTFILE",
        lambda credentials, known: credentials.use(known.unknown.sign(USER)),
    ),
}


async def assert_check_refuses(command: CommandLine, told: str) -> None:
    checked = await command.run("consume", "--check")

    assert told in checked.stderr
    assert len(checked.stderr.splitlines()) == 1, checked.stderr
    assert "hunter2" not in checked.stderr
    assert checked.code == 2


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_client_is_told_once_and_mended_without_a_restart(
    name: str,
    secured_kafka: SecuredKafka,
    credentials: Credentials,
    authorities: Authorities,
    settings: WorkerSettings,
    command: CommandLine,
) -> None:
    fault = FAULTS[name]
    event = await publish(settings)
    secured = CommandLine(
        command.directory, {**command.environment, **credentials.environment(secured_kafka, fault.way)}
    )
    fault.spoil(credentials, authorities)
    await assert_check_refuses(secured, fault.told)

    async with secured.worker() as worker:
        told = await worker.wait_for_event("not_ready", component="kafka")
        fault.mend(credentials, authorities)
        await wait_until_written(settings, event)
        assert fault.told in told["hint"]
        assert worker.is_running
        assert worker.events("not_ready") == [told]
        assert len(worker.events("recovered", component="kafka")) == 1


# What is wrong with the broker, and is mended there


@pytest.mark.parametrize(
    ("host", "is_expired", "told"),
    [
        ("DNS:elsewhere.example", False, "is for another host name"),
        ("IP:127.0.0.1", True, "has expired: renew it"),
    ],
    ids=["wrong host name", "expired"],
)
async def test_a_wrong_certificate_of_the_broker_is_told_and_used_once_it_is_replaced(
    host: str,
    is_expired: bool,
    told: str,
    secured_kafka: SecuredKafka,
    credentials: Credentials,
    authorities: Authorities,
    settings: WorkerSettings,
    command: CommandLine,
) -> None:
    secured = CommandLine(
        command.directory, {**command.environment, **credentials.environment(secured_kafka, "TLS")}
    )
    event = await publish(settings)
    try:
        await secured_kafka.begin_anew(authorities.known.sign("broker", host=host, is_expired=is_expired))
        await assert_check_refuses(secured, told)
        async with secured.worker() as worker:
            first = await worker.wait_for_event("not_ready", component="kafka")
            await secured_kafka.begin_anew()
            await wait_until_written(settings, event)
            assert told in first["hint"]
            assert worker.is_running
            assert {line["hint"] for line in worker.events("not_ready")} <= {first["hint"], UNREACHABLE}
    finally:
        await secured_kafka.begin_anew()


# What is replaced while the worker runs


async def rotate_password(
    secured_kafka: SecuredKafka, credentials: Credentials, _: Authorities, worker: WorkerProcess
) -> None:
    credentials.password.write_text("rotated")
    await secured_kafka.begin_anew(password="rotated")


async def rotate_password_late(
    secured_kafka: SecuredKafka, credentials: Credentials, _: Authorities, worker: WorkerProcess
) -> None:
    before = secured_kafka.refused_logins()
    await secured_kafka.begin_anew(password="rotated")
    told = await worker.wait_for_event("not_ready", component="kafka", error="SaslAuthenticationFailed")
    assert "the login was refused" in told["hint"]
    print("REFUSED", secured_kafka.refused_logins() - before)
    credentials.password.write_text("rotated")


async def rotate_authority(
    secured_kafka: SecuredKafka, credentials: Credentials, authorities: Authorities, worker: WorkerProcess
) -> None:
    credentials.trust(authorities.unknown)
    credentials.use(authorities.unknown.sign(USER))
    await secured_kafka.begin_anew(authorities.unknown.sign("broker"), authorities.unknown)


Rotation = Callable[[SecuredKafka, Credentials, Authorities, WorkerProcess], Awaitable[None]]


@pytest.mark.parametrize(
    ("way", "rotate"),
    [("PLAIN", rotate_password), ("PLAIN", rotate_password_late), ("MUTUAL", rotate_authority)],
    ids=["password", "password too late", "certificates and CA"],
)
async def test_what_was_rotated_is_used_without_a_restart(
    way: str,
    rotate: Rotation,
    secured_kafka: SecuredKafka,
    credentials: Credentials,
    authorities: Authorities,
    settings: WorkerSettings,
    command: CommandLine,
) -> None:
    secured = CommandLine(
        command.directory, {**command.environment, **credentials.environment(secured_kafka, way)}
    )
    try:
        async with secured.worker() as worker:
            await worker.wait_for_event("reading_from", count=3)
            await rotate(secured_kafka, credentials, authorities, worker)
            await wait_until_written(settings, await publish(settings))
            assert worker.is_running
            print(worker.log.read_text())
    finally:
        await secured_kafka.begin_anew()


async def test_a_refused_login_is_no_storm(
    secured_kafka: SecuredKafka, credentials: Credentials, command: CommandLine
) -> None:
    credentials.password.write_text(WRONG_PASSWORD)
    secured = CommandLine(
        command.directory,
        {**command.environment, **credentials.environment(secured_kafka, "SCRAM-SHA-512")},
    )
    before = secured_kafka.refused_logins()

    async with secured.worker() as worker:
        await worker.wait_for_event("not_ready", count=2)  # the reminder, after half a minute
        print("ATTEMPTS", secured_kafka.refused_logins() - before)
        assert 2 <= secured_kafka.refused_logins() - before <= 30
        assert len(worker.events()) <= LINES_MAX
