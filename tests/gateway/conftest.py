import pytest

from pattern_metrics.consumer.settings import GatewaySettings
from tests.support.kafka import Broker, create_topic


@pytest.fixture
def nowhere() -> GatewaySettings:
    """The settings of a gateway whose broker is away."""
    return GatewaySettings(kafka_bootstrap_servers="127.0.0.1:1")


@pytest.fixture
async def on_a_broker(embedded_broker: Broker) -> GatewaySettings:
    """The settings of a gateway with a topic of its own."""
    return GatewaySettings(
        kafka_bootstrap_servers=embedded_broker.bootstrap_servers,
        kafka_topic=await create_topic(embedded_broker.bootstrap_servers),
        kafka_enable_idempotence=False,
    )
