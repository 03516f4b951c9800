import pytest

from pattern_metrics.consumer.gateway.delivery import hint_of
from pattern_metrics.publisher.outbox.place import OutboxError
from pattern_metrics.schemas.settings.kafka import SettingFileError


@pytest.mark.parametrize("kind", [OutboxError, SettingFileError])
def test_a_client_learns_no_path_of_the_gateways_machine(kind: type[Exception]) -> None:
    assert "/etc/secret" not in hint_of(kind("KAFKA_SSL_CAFILE /etc/secret/ca.pem: cannot be read"))
