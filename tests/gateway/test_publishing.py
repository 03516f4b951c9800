"""Events that agents send over HTTP, in the topic and in the table."""

import asyncio
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, PatternScored
from tests.support.command import SECONDS_MAX
from tests.support.gateway import TOKEN, gateway_settings, running_gateway, tokens_in
from tests.support.kafka import Broker
from tests.support.pipeline import SettingsFactory, an_event, catch_up, expected_table, table
from tests.support.waiting import eventually


@pytest.fixture
def settings(broker: Broker, settings_for: SettingsFactory) -> WorkerSettings:
    return settings_for(kafka_enable_idempotence=broker.name != "embedded")


def joined(events: Iterable[PatternScored]) -> bytes:
    return b"[%b]" % b",".join(event.to_json() for event in events)


def cloud_event(event: PatternScored) -> dict[str, object]:
    data = json.loads(event.to_json())
    return {"specversion": "1.0", "id": "1", "source": "me", "type": EVENT_TYPE, "data": data}


async def sources(settings: WorkerSettings) -> list[dict[str, bytes]]:
    """Return the headers of each record of the topic."""
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        partitions = [TopicPartition(settings.kafka_topic, number) for number in range(3)]
        consumer.assign(partitions)
        found = list[dict[str, bytes]]()
        while len(found) < 12:
            records = await consumer.getmany(timeout_ms=1000)
            found += [dict(record.headers) for some in records.values() for record in some]
        return found


async def test_every_form_of_an_event_reaches_the_table(settings: WorkerSettings, tmp_path: Path) -> None:
    events = [an_event(number, seconds=number) for number in range(12)]
    async with running_gateway(gateway_settings(settings), tokens_in(tmp_path), TOKEN) as agent:
        await agent.wait_until_ready()
        answers = [
            await agent.post(events[0].to_json()),
            await agent.post(joined(events[1:3])),
            await agent.post(b"[]"),
            await agent.post(
                events[3].to_json(), f"ce-type: {EVENT_TYPE}", "ce-specversion: 1.0", "ce-id: 7"
            ),
            await agent.post(
                b"\n".join(event.to_json() for event in events[4:6]), content_type="application/x-ndjson"
            ),
            await agent.post(events[6].to_json() + b"\n", content_type="application/jsonl"),
            await agent.post(
                json.dumps(cloud_event(events[7])).encode(), content_type="application/cloudevents+json"
            ),
            await agent.post(
                json.dumps([cloud_event(event) for event in events[8:10]]).encode(),
                content_type="application/cloudevents-batch+json",
            ),
            await agent.post(gzip.compress(joined(events[10:12])), "Content-Encoding: gzip"),
        ]
        foreign = await agent.post(events[0].to_json(), "ce-type: other")
        samples = await agent.samples()

    assert [answer.status for answer in answers] == [200] * len(answers), answers
    results = [result for answer in answers for result in answer.json["results"]]
    assert [UUID(result["event_id"]) for result in results] == [event.event_id for event in events]
    assert len({(result["partition"], result["offset"]) for result in results}) == len(events)
    assert (foreign.status, foreign.json["results"][0]["reason"]) == (422, "other_type")
    assert samples[("pattern_metrics_gateway_events_total", ("accepted",))] == len(events)
    assert {one["ce_source"] for one in await sources(settings)} == {b"ci/lint"}
    await catch_up(settings)
    assert await table(settings) == expected_table(events)


async def test_valid_events_are_published_beside_refused_ones_and_a_repeat_adds_nothing(
    settings: WorkerSettings,
) -> None:
    good = [json.loads(an_event(number).to_json()) for number in range(3)]
    del good[2]["event_id"]
    bad = [1, {}, {**good[0], "quality_score": 2}]
    body = json.dumps([bad[0], good[0], bad[1], good[1], bad[2], good[2]]).encode()
    async with running_gateway(gateway_settings(settings)) as agent:
        await agent.wait_until_ready()
        first, second = await agent.post(body), await agent.post(body)

    assert first.status == second.status == 422
    results = first.json["results"]
    assert [one["index"] for one in results] == list(range(6))
    reasons = [one.get("reason") for one in results]
    assert reasons == ["not_an_object", None, "missing_field", None, "out_of_range", None]
    assert [one["event_id"] for one in results] == [one["event_id"] for one in second.json["results"]]
    accounting = await catch_up(settings)
    assert (accounting.read, accounting.dead_letters) == (6, 0)
    assert {event_id for _, event_id, _ in (await table(settings)).values()} == {
        UUID(one["event_id"]) for one in results if one["event_id"]
    }


async def test_while_the_broker_is_away_the_outbox_takes_events_and_another_run_delivers_them(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    events = [an_event(number) for number in range(3)]
    path = tmp_path / "outbox"
    away = gateway_settings(settings, outbox_path=path, kafka_bootstrap_servers="127.0.0.1:1")
    async with running_gateway(away) as agent:
        stored = await agent.post(joined(events))
        partly = await agent.post(joined(events[:1])[:-1] + b",{}]")
        readiness = await agent.ask("/readyz")
        samples = await agent.samples()

    assert (stored.status, stored.json["durable"], stored.json["accepted"]) == (202, "local", 3)
    assert (partly.status, partly.json["durable"]) == (422, "local")
    assert readiness.status == 200
    assert samples[("pattern_metrics_outbox_events", ())] == 4
    async with running_gateway(gateway_settings(settings, outbox_path=path)) as agent:
        file = OutboxFile(path)
        await eventually(
            lambda: asyncio.to_thread(lambda: file.status().events == 0), deadline_seconds=SECONDS_MAX
        )
        file.close()
        direct = await agent.post(an_event(9).to_json())
    assert (direct.status, direct.json["durable"]) == (200, "kafka")
    await catch_up(settings)
    assert await table(settings) == expected_table([*events, an_event(9, event=0)]) | {
        UUID(int=9): (await table(settings))[UUID(int=9)]
    }
