"""The broker is killed in the middle of a batch, and the agent sends the same batch again."""

import asyncio
import gzip
import json
from collections.abc import Iterable
from datetime import timedelta

import pytest

from pattern_metrics.consumer.gateway import delivery, gateway
from tests.support.gateway import gateway_settings, running_gateway
from tests.support.kafka import ApacheKafka, create_topic
from tests.support.pipeline import BASE_TIME, catch_up, fetch, worker_settings
from tests.support.scraping import Answer
from tests.support.waiting import eventually

BATCHES, EVENTS = 2, 2_000
"""One batch has room at a time, so that the other one has not begun when the first one is written."""


def batch(number: int) -> bytes:
    """Return measurements of one pattern each. Half of them have no id of their own."""
    places = range(number * EVENTS, (number + 1) * EVENTS)
    return json.dumps(
        [
            {
                **({"event_id": f"{place:032x}"} if place % 2 else {}),
                "pattern_id": f"{place:032x}",
                "quality_score": place / (BATCHES * EVENTS),
                "confidence": 0.9,
                "measurement_timestamp": (BASE_TIME + timedelta(seconds=place)).isoformat(),
            }
            for place in places
        ]
    ).encode()


def ids(answers: Iterable[Answer]) -> list[str]:
    return [result["event_id"] for answer in answers for result in answer.json["results"]]


async def test_a_batch_that_is_repeated_after_the_broker_was_killed_counts_once(
    own_apache_kafka: ApacheKafka, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "ACKNOWLEDGED_SECONDS", 2.0)
    monkeypatch.setattr(gateway, "DECODED_EVENTS_MAX", EVENTS)
    topic = await create_topic(own_apache_kafka.bootstrap_servers)
    settings = worker_settings(
        own_apache_kafka.bootstrap_servers, topic, migrated_database_url, history_enabled=True
    )
    bodies = [gzip.compress(batch(number), 1) for number in range(BATCHES)]
    log = own_apache_kafka.directory / "data"

    def is_being_written() -> bool:
        return any(file.stat().st_size for file in log.glob(f"{topic}-*/*.log"))

    async with running_gateway(gateway_settings(settings, kafka_enable_idempotence=True)) as agent:
        await agent.wait_until_ready()
        first = [asyncio.create_task(agent.post(body, "Content-Encoding: gzip")) for body in bodies]
        await eventually(is_being_written, poll_seconds=0.001)
        own_apache_kafka.kill()
        answers = await asyncio.gather(*first)
        await asyncio.to_thread(own_apache_kafka.start)
        await agent.wait_until_ready()
        repeated = [await agent.post(body, "Content-Encoding: gzip") for body in bodies]

    assert answers[-1].status == 503
    assert [answer.status for answer in repeated] == [200] * BATCHES
    assert ids(answers) == ids(repeated)
    accounting = await catch_up(settings)
    assert accounting.read > BATCHES * EVENTS, "nothing was in the topic before it was sent again"
    assert accounting.dead_letters == 0
    for relation in ("pattern_quality_metrics", "pattern_quality_history"):
        [counted] = await fetch(
            settings,
            "SELECT count(*), count(DISTINCT pattern_id) AS patterns, sum(quality_score) AS scores "
            f"FROM {relation}",
        )
        assert (counted["count"], counted["patterns"]) == (BATCHES * EVENTS, BATCHES * EVENTS)
        assert counted["scores"] == pytest.approx((BATCHES * EVENTS - 1) / 2)
    rows = await fetch(settings, "SELECT event_id FROM pattern_quality_metrics ORDER BY pattern_id")
    assert [str(row["event_id"]) for row in rows] == ids(repeated)
