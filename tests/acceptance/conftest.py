"""The command on this test's own topic, group and database."""

from pathlib import Path

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import CommandLine, environment_of
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import SettingsFactory, worker_settings


@pytest.fixture
def settings(broker: Broker, settings_for: SettingsFactory) -> WorkerSettings:
    """The settings on each available broker. Only the embedded one lacks the idempotent producer."""
    return settings_for(kafka_enable_idempotence=broker.name != "embedded")


@pytest.fixture
def command(tmp_path: Path, settings: WorkerSettings) -> CommandLine:
    return CommandLine(tmp_path, environment_of(settings))


@pytest.fixture
def database_command(tmp_path: Path, migrated_database_url: str) -> CommandLine:
    """For commands that need no Kafka: none is running."""
    return CommandLine(
        tmp_path, {"DATABASE_URL": migrated_database_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    )


@pytest.fixture
def real_broker(request: pytest.FixtureRequest) -> Broker:
    """A real broker, for tests that take long on the embedded one: it notices late that members left."""
    match request.config.getoption("--kafka"):
        case "embedded":
            pytest.skip("needs Apache Kafka: --kafka=apache")
        case "auto" | "apache":
            broker: Broker = request.getfixturevalue("apache_kafka")
            return broker
        case address:
            return Broker("external", address)


@pytest.fixture
async def real_settings(real_broker: Broker, migrated_database_url: str) -> WorkerSettings:
    topic = await create_topic(real_broker.bootstrap_servers)
    return worker_settings(
        real_broker.bootstrap_servers, topic, migrated_database_url, kafka_enable_idempotence=True
    )


@pytest.fixture
def real_command(tmp_path: Path, real_settings: WorkerSettings) -> CommandLine:
    return CommandLine(tmp_path, environment_of(real_settings))
