"""The README's example on a real broker."""

import asyncio
import runpy
from pathlib import Path
from typing import Final

import pytest

import pattern_metrics
from pattern_metrics import Published, PublishError, ScorePublisher
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.pattern_retired import PatternEvent
from tests.support.pipeline import catch_up, fetch

AGENT: Final = Path(__file__).parents[2] / "examples" / "agent.py"


class Forgetful(ScorePublisher):
    """Loses the acknowledgement of each event's first delivery."""

    def __init__(self) -> None:
        super().__init__()
        self.delivered = list[PatternEvent]()

    async def publish(self, event: PatternEvent) -> Published:
        published = await super().publish(event)
        self.delivered.append(event)
        if self.delivered.count(event) == 1:
            raise PublishError([event], TimeoutError("the acknowledgement was lost"))
        return published


async def test_a_retry_of_the_agent_is_no_second_measurement(
    real_settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", real_settings.kafka_bootstrap_servers)
    monkeypatch.setenv("KAFKA_TOPIC", real_settings.kafka_topic)
    monkeypatch.setattr(pattern_metrics, "ScorePublisher", Forgetful)

    await asyncio.to_thread(runpy.run_path, str(AGENT), run_name="__main__")

    assert await catch_up(real_settings) == Accounting(applied=2, superseded=2)
    names = await fetch(real_settings, "SELECT name FROM pattern_quality_current ORDER BY name")
    assert [row["name"] for row in names] == ["shop.cart:Cart.add", "shop.cart:total"]
