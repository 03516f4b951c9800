"""KAFKA_TOPIC may name several topics: one worker and one table, with progress, gaps and letters by topic."""

import pytest

from pattern_metrics.consumer.kafka.topic import WHOLE_TOPIC
from pattern_metrics.consumer.operations.replay import replay
from pattern_metrics.consumer.operations.status import read_status
from pattern_metrics.consumer.operations.verification import compare_with_topic
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.worker.worker import Worker
from pattern_metrics.publisher.client import ScorePublisher
from tests.support.kafka import ApacheKafka, create_topic
from tests.support.pipeline import (
    an_event,
    catch_up,
    expected_table,
    fetch,
    running,
    send,
    table,
    worker_settings,
)
from tests.support.topics import recreate_topic
from tests.support.waiting import eventually

EVENTS = [an_event(number % 5, seconds=number) for number in range(20)]


@pytest.fixture
async def settings(own_apache_kafka: ApacheKafka, migrated_database_url: str) -> WorkerSettings:
    servers = own_apache_kafka.bootstrap_servers
    topics = [await create_topic(servers, partitions=count) for count in (1, 2)]
    settings = worker_settings(servers, ", ".join(topics), migrated_database_url)
    for number, one in enumerate(settings.each_topic()):
        await send(one, [event.to_json() for event in EVENTS[number::2]])
        await send(one, [b"poison"])
    return settings


async def test_one_worker_reads_all_topics_into_one_table(settings: WorkerSettings) -> None:
    accounting = await catch_up(settings)

    assert accounting.read == len(EVENTS) + 2
    assert await table(settings) == expected_table(EVENTS)
    rows = await fetch(settings, "SELECT topic, sum(next_offset) AS next FROM ingest_progress GROUP BY topic")
    assert {row["topic"]: row["next"] for row in rows} == dict.fromkeys(settings.kafka_topics, 11)
    letters = await fetch(settings, "SELECT topic FROM dead_letters")
    assert {row["topic"] for row in letters} == set(settings.kafka_topics)
    assert await catch_up(settings) == Accounting()


async def test_replay_status_and_verification_know_each_topic(settings: WorkerSettings) -> None:
    await catch_up(settings)

    replayed = await replay(settings, WHOLE_TOPIC, dry_run=False, advance=lambda _done, _total: None)
    status = await read_status(settings)
    comparison = await compare_with_topic(settings, lambda _done, _total: None)

    assert (replayed.read, replayed.applied) == (len(EVENTS) + 2, 0)
    assert [(one.topic, one.partition) for one in status.partitions] == sorted(
        [(settings.kafka_topics[0], 0), *((settings.kafka_topics[1], number) for number in (0, 1))]
    )
    assert status.lag == 0
    assert comparison.check(strict=True).passed
    assert comparison.check_progress().passed


async def test_one_topic_that_is_recreated_is_read_again_and_the_other_goes_on(
    settings: WorkerSettings,
) -> None:
    first, second = settings.each_topic()
    later = [an_event(number, seconds=100) for number in range(5)]
    async with running(settings) as worker:
        await eventually(lambda: _has_read(worker, len(EVENTS) + 2))
        await recreate_topic(first, partitions=1)
        await send(first, [event.to_json() for event in later[:3]])
        await send(second, [event.to_json() for event in later[3:]])
        await eventually(lambda: _has(settings, expected_table(EVENTS + later)), deadline_seconds=90)


async def test_a_publisher_needs_one_topic(settings: WorkerSettings) -> None:
    with pytest.raises(ValueError, match="KAFKA_TOPIC names several topics"):
        ScorePublisher(settings)


async def _has_read(worker: Worker, records: int) -> bool:
    return worker.accounting.read == records


async def _has(settings: WorkerSettings, expected: object) -> bool:
    return await table(settings) == expected
