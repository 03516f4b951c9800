"""The OpenAPI document of the gateway, against the gateway."""

from pathlib import Path

import pytest

from pattern_metrics.consumer.gateway import bodies, openapi
from pattern_metrics.consumer.settings import GatewaySettings
from tests.support.gateway import TOKEN, running_gateway, tokens_in
from tests.support.openapi import check_openapi


async def test_the_gateway_answers_as_its_document_says(
    on_a_broker: GatewaySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bodies, openapi):  # so that too many events are few
        monkeypatch.setattr(module, "EVENTS_MAX", 5)
    async with running_gateway(on_a_broker, tokens_in(tmp_path)) as agent:
        await agent.wait_until_ready()
        await check_openapi(agent.port, tmp_path, f"--header=Authorization: Bearer {TOKEN}")
