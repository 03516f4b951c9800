"""A right that an ACL denies is reported with the setting and the grant, and used once it is granted."""

from enum import IntEnum
from pathlib import Path

import pytest
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.security.conftest import (
    STRANGER,
    Credentials,
    SecuredKafka,
    assert_check_refuses,
    publish,
    wait_until_written,
)
from tests.support.command import CommandLine, environment_of
from tests.support.kafka import administering


class Resource(IntEnum):
    """The object of a right, by Kafka's own numbers."""

    TOPIC = 2
    GROUP = 3


class Operation(IntEnum):
    """The operation of a right, by Kafka's own numbers."""

    READ = 3
    DESCRIBE = 8


Right = tuple[Resource, Operation]

RIGHTS: set[Right] = {(Resource.TOPIC, Operation.READ), (Resource.GROUP, Operation.READ)}
"""All rights that the worker needs. In Kafka, READ includes DESCRIBE."""

_LITERAL, _ALLOW = 3, 3


async def grant(settings: WorkerSettings, rights: set[Right]) -> None:
    names = {Resource.TOPIC: settings.kafka_topic, Resource.GROUP: settings.kafka_group_id}
    async with administering(settings.kafka_bootstrap_servers) as admin:
        for resource, operation in rights:
            wanted = (resource, names[resource], _LITERAL, f"User:{STRANGER}", "*", operation, _ALLOW)
            response = await admin._send_request(CreateAclsRequest(*wanted))
            assert [code for code, _ in response.creation_responses] == [0]


async def revoke(settings: WorkerSettings, rights: set[Right]) -> None:
    names = {Resource.TOPIC: settings.kafka_topic, Resource.GROUP: settings.kafka_group_id}
    async with administering(settings.kafka_bootstrap_servers) as admin:
        for resource, operation in rights:
            unwanted = (resource, names[resource], _LITERAL, f"User:{STRANGER}", "*", operation, _ALLOW)
            response = await admin._send_request(DeleteAclsRequest(*unwanted))
            [(code, _, found)] = response.filter_responses
            assert (code, len(found)) == (0, 1)


@pytest.fixture
def command(
    secured_kafka: SecuredKafka, credentials: Credentials, kafka_settings: WorkerSettings, tmp_path: Path
) -> CommandLine:
    """The command, for a login without any right."""
    environment = credentials.environment(secured_kafka, "SCRAM-SHA-256", STRANGER)
    return CommandLine(tmp_path, environment_of(kafka_settings) | environment)


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        ({(Resource.GROUP, Operation.READ)}, ["KAFKA_TOPIC", "DESCRIBE and READ"]),
        (
            {(Resource.GROUP, Operation.READ), (Resource.TOPIC, Operation.DESCRIBE)},
            ["KAFKA_TOPIC", "DESCRIBE and READ"],
        ),
        ({(Resource.TOPIC, Operation.READ)}, ["KAFKA_GROUP_ID", "READ"]),
        (
            {(Resource.TOPIC, Operation.READ), (Resource.GROUP, Operation.DESCRIBE)},
            ["KAFKA_GROUP_ID", "READ"],
        ),
    ],
    ids=["topic", "reading the topic", "group", "reading the group"],
)
async def test_a_denied_right_is_reported_once_and_used_once_it_is_granted(
    granted: set[Right],
    expected: list[str],
    command: CommandLine,
    kafka_settings: WorkerSettings,
) -> None:
    await grant(kafka_settings, granted)
    event = await publish(kafka_settings)
    for words in expected:
        await assert_check_refuses(command, words)

    async with command.worker() as worker:
        first = await worker.wait_for_event("not_ready", component="kafka")
        await grant(kafka_settings, RIGHTS)
        await wait_until_written(kafka_settings, event)
        assert [words for words in expected if words in first["hint"]] == expected
        assert worker.is_running
        assert worker.events("not_ready") == [first]


@pytest.mark.parametrize(
    ("revoked", "expected"), [(Resource.TOPIC, "KAFKA_TOPIC"), (Resource.GROUP, "KAFKA_GROUP_ID")], ids=str
)
async def test_a_right_revoked_under_a_running_worker_is_reported_and_used_once_granted(
    revoked: Resource,
    expected: str,
    command: CommandLine,
    kafka_settings: WorkerSettings,
) -> None:
    await grant(kafka_settings, RIGHTS)

    async with command.worker() as worker:
        await worker.wait_for_event("reading_from", count=3)
        await revoke(kafka_settings, {(revoked, Operation.READ)})
        first = await worker.wait_for_event("not_ready", component="kafka")
        event = await publish(kafka_settings)
        await grant(kafka_settings, {(revoked, Operation.READ)})
        await wait_until_written(kafka_settings, event)
        assert expected in first["hint"]
        assert worker.is_running
        assert len(worker.events("worker_started")) == 1
