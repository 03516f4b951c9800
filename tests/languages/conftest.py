import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import worker_settings


@pytest.fixture
async def settings(apache_kafka: Broker, migrated_database_url: str) -> WorkerSettings:
    topic = await create_topic(apache_kafka.bootstrap_servers)
    return worker_settings(apache_kafka.bootstrap_servers, topic, migrated_database_url)
