"""The publisher's promise to agents: each event is acknowledged, or named as not acknowledged."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from opentelemetry import trace

from pattern_metrics.publisher.client import BlockingScorePublisher, PublishError, ScorePublisher
from pattern_metrics.schemas.dead_letter import InvalidEventError
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.support.kafka import ApacheKafka, Broker, create_topic
from tests.support.pipeline import SettingsFactory, an_event, catch_up, expected_table, table


async def test_an_event_travels_as_the_contract_says(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    event = an_event(0xABCDEF)
    async with ScorePublisher(settings, source="/agents/7") as publisher:
        await publisher.publish(event)

    consumer = AIOKafkaConsumer(
        settings.kafka_topic, bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    async with consumer:
        record = await consumer.getone()
    assert record.key == b"00000000-0000-0000-0000-000000abcdef"
    assert json.loads(record.value) == json.loads(event.to_json())
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": str(event.event_id).encode(),
        "ce_source": b"/agents/7",
        "ce_type": b"pattern.scored.v1",
        "ce_time": b"2026-01-01T00:00:00+00:00",
        "content-type": b"application/json",
    }


@pytest.mark.parametrize("is_blocking", [False, True], ids=["asynchronous", "blocking"])
async def test_events_published_inside_a_span_carry_its_context(
    settings_for: SettingsFactory, is_blocking: bool
) -> None:
    settings = settings_for()
    state = trace.TraceState([("vendor", "value")])
    around = trace.SpanContext(0xA, 0xB, is_remote=False, trace_flags=trace.TraceFlags(1), trace_state=state)

    def publish() -> None:
        with BlockingScorePublisher(settings) as publisher:
            publisher.publish(an_event(2))

    async with ScorePublisher(settings) as agent:
        with trace.use_span(trace.NonRecordingSpan(around)):
            await (asyncio.to_thread(publish) if is_blocking else agent.publish(an_event(2)))
        await agent.publish(an_event(1))

    consumer = AIOKafkaConsumer(
        settings.kafka_topic, bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    async with consumer:
        records = [await consumer.getone(), await consumer.getone()]
    headers = {record.key[-1:]: dict(record.headers) for record in records}
    assert headers[b"2"].keys() - headers[b"1"].keys() == {"traceparent", "tracestate"}
    assert headers[b"2"]["traceparent"] == f"00-{0xA:032x}-{0xB:016x}-01".encode()
    assert headers[b"2"]["tracestate"] == b"vendor=value"


async def test_a_measurement_in_the_future_is_refused_before_anything_is_sent(
    settings_for: SettingsFactory,
) -> None:
    """For example a local time that was labelled UTC: the agent gets the error at once."""
    settings = settings_for()
    ahead = an_event(2, measurement_timestamp=datetime.now(UTC) + timedelta(hours=1))
    async with ScorePublisher(settings) as agent:
        with pytest.raises(InvalidEventError, match="timestamp_in_future: measurement_timestamp lies after"):
            await agent.publish_many([an_event(1), ahead])
        await agent.publish(
            last := an_event(3, measurement_timestamp=datetime.now(UTC) + timedelta(minutes=4))
        )

    await catch_up(settings)
    assert await table(settings) == expected_table([last])


async def test_an_agent_that_is_not_asynchronous_publishes_too(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    events = [an_event(pattern) for pattern in range(10)]

    def publish() -> None:
        with BlockingScorePublisher(settings) as publisher:
            publisher.publish(events[0])
            publisher.publish_many(events[1:])

    await asyncio.to_thread(publish)

    await catch_up(settings)
    assert await table(settings) == expected_table(events)


async def test_one_pattern_lives_in_one_partition(settings_for: SettingsFactory, broker: Broker) -> None:
    settings = settings_for()
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many(
            [an_event(pattern, seconds=n) for n in range(5) for pattern in range(30)]
        )

    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        partitions = [TopicPartition(settings.kafka_topic, number) for number in range(3)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        homes: dict[bytes, set[int]] = {}
        read = 0
        while read < 150:
            for partition, records in (await consumer.getmany(timeout_ms=1000)).items():
                read += len(records)
                for record in records:
                    homes.setdefault(record.key, set()).add(partition.partition)
    assert all(len(home) == 1 for home in homes.values())
    assert len(set.union(*homes.values())) > 1


async def test_events_that_are_not_acknowledged_are_named_and_may_be_published_again(
    own_apache_kafka: ApacheKafka,
) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=own_apache_kafka.bootstrap_servers,
        kafka_topic=await create_topic(own_apache_kafka.bootstrap_servers),
    )
    events = [an_event(number) for number in range(50)]
    async with ScorePublisher(settings, delivery_seconds=3) as agent:
        await agent.publish_many(events[:10])
        await asyncio.to_thread(own_apache_kafka.kill)
        with pytest.raises(PublishError) as failure:
            await agent.publish_many(events[10:])
        await asyncio.to_thread(own_apache_kafka.start)
        await agent.publish_many(failure.value.unacknowledged)

    assert list(failure.value.unacknowledged) == events[10:]
    assert str(events[10].event_id) in str(failure.value)
    assert await _ids_in(settings) == {str(event.event_id) for event in events}


async def _ids_in(settings: KafkaSettings) -> set[str]:
    consumer = AIOKafkaConsumer(
        settings.kafka_topic, bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    ids: set[str] = set()
    async with consumer:
        while records := await consumer.getmany(timeout_ms=3000):
            ids |= {json.loads(record.value)["event_id"] for part in records.values() for record in part}
    return ids


async def test_no_broker_is_an_error_when_the_publisher_is_entered_and_not_a_hang() -> None:
    with pytest.raises(PublishError, match="Connect call failed") as raised:
        async with ScorePublisher(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"), delivery_seconds=1):
            pass
    assert isinstance(raised.value.__cause__, KafkaConnectionError)


def test_the_blocking_publisher_ends_its_thread_where_no_broker_is_reachable() -> None:
    with (
        pytest.raises(PublishError, match="Connect call failed"),
        BlockingScorePublisher(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"), delivery_seconds=1),
    ):
        pass


async def test_leaving_the_block_waits_for_what_other_tasks_have_in_flight(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    async with ScorePublisher(settings) as agent:
        task = asyncio.create_task(agent.publish_many([an_event(number) for number in range(20)]))
        await asyncio.wait({task}, timeout=0)  # it has begun

    await task
    assert (await catch_up(settings)).applied == 20


def test_a_blocking_publisher_outside_its_block_is_an_error_and_not_a_hang() -> None:
    with pytest.raises(RuntimeError, match="with"):
        BlockingScorePublisher(KafkaSettings()).publish(an_event(1))
