import pytest

from pattern_metrics.consumer.settings import GatewaySettings


@pytest.fixture
def nowhere() -> GatewaySettings:
    """The settings of a gateway whose broker is away."""
    return GatewaySettings(kafka_bootstrap_servers="127.0.0.1:1")
