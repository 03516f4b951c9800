"""A database of the previous release, with all that a worker leaves in it, is migrated and works on."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from pattern_metrics.consumer.kafka.broker import topic_id
from pattern_metrics.consumer.operations.migration import migrate_up
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.offsets import NO_TOPIC_ID
from tests.support.kafka import ApacheKafka, create_topic
from tests.support.pipeline import (
    an_event,
    catch_up,
    dead_letters,
    execute,
    expected_table,
    fetch,
    send,
    table,
    worker_settings,
)

PREVIOUS = "019"
"""The last revision of release 0.1.0."""

LEFT_BEHIND = """
INSERT INTO pattern_quality_metrics
    (pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata)
SELECT pattern_id, event_id, 0.5, 0.9, measurement_timestamp, '1.0.0', '{{"name": "before"}}'
FROM (VALUES {rows}) AS written (pattern_id, event_id, measurement_timestamp);
INSERT INTO pattern_quality_history
    (pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata)
SELECT pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata
FROM pattern_quality_metrics;
INSERT INTO dead_letters (topic, partition, "offset", record_timestamp, key, value, headers, reason, detail)
VALUES ('{topic}', 0, 10, 1, NULL, 'poison', '[]', 'invalid_json', 'as it was');
INSERT INTO ingest_progress (consumer_group, topic, partition, next_offset, topic_id)
VALUES ('{group}', '{topic}', 0, 11, '{topic_id}');
INSERT INTO ingest_progress (consumer_group, topic, partition, next_offset)
VALUES ('of a broker that gives topics no ID', '{topic}', 0, 7);
INSERT INTO ingest_gaps (consumer_group, topic, partition, first_offset, last_offset)
VALUES ('{group}', '{topic}', 0, 3, 4);
"""


async def test_a_database_of_the_previous_release_continues_where_it_was(
    apache_kafka: ApacheKafka, database_url: str
) -> None:
    servers = apache_kafka.bootstrap_servers
    topic = await create_topic(servers, partitions=1)
    settings = worker_settings(servers, topic, database_url, history_enabled=True)
    before = [an_event(number, seconds=number) for number in range(10)]
    after = [an_event(number, seconds=100) for number in range(5, 15)]
    await send(settings, [*(event.to_json() for event in before), b"poison"])
    await migrate_up(database_url, PREVIOUS)
    rows = ", ".join(
        f"('{one.pattern_id}'::uuid, '{one.event_id}'::uuid, '{one.measurement_timestamp}'::timestamptz)"
        for one in before
    )
    of_topic, group = await topic_id(settings), settings.kafka_group_id
    await execute(settings, LEFT_BEHIND.format(rows=rows, topic=topic, group=group, topic_id=of_topic))
    async with AIOKafkaConsumer(
        bootstrap_servers=servers, group_id=group, enable_auto_commit=False
    ) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.commit({TopicPartition(topic, 0): 11})
    await send(settings, [event.to_json() for event in after])

    await migrate_up(database_url)
    accounting = await catch_up(settings)

    assert accounting == Accounting(applied=len(after))
    assert await table(settings) == expected_table(before + after)
    assert await dead_letters(settings) == [(b"poison", "invalid_json")]
    progress = await fetch(
        settings, "SELECT topic_id, next_offset, leader_epoch FROM ingest_progress ORDER BY next_offset"
    )
    assert list(map(tuple, progress)) == [(NO_TOPIC_ID, 7, None), (of_topic, len(before) + 1 + len(after), 0)]
    [gap] = await fetch(settings, "SELECT first_offset, last_offset, reason FROM ingest_gaps")
    assert tuple(gap) == (3, 4, "retention")
    history = await fetch(settings, "SELECT count(*) AS rows FROM pattern_quality_history")
    assert history[0]["rows"] == len(before) + len(after)
