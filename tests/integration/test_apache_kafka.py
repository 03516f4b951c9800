"""Behaviour that only Apache Kafka itself shows: retention, transactions, compaction, recreated topics."""

import asyncio
import itertools
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from functools import partial

import asyncpg
import pytest
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.kafka.broker import require_topic
from pattern_metrics.consumer.kafka.clients import create_reader
from pattern_metrics.consumer.kafka.topic import WHOLE_TOPIC
from pattern_metrics.consumer.kafka.watch import StalledError, Watch
from pattern_metrics.consumer.operations.replay import replay
from pattern_metrics.consumer.operations.status import read_status
from pattern_metrics.consumer.operations.verification import compare_with_topic
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.offsets import NO_TOPIC_ID, OffsetRange, Progress, Start
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.worker.progress import Known, Written, settle
from pattern_metrics.consumer.worker.worker import Worker
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import PatternScored
from pattern_metrics.schemas.settings.timing import Timing
from tests.support.kafka import ApacheKafka, administering, create_topic
from tests.support.pipeline import (
    an_event,
    catch_up,
    dead_letters,
    execute,
    expected_table,
    fetch,
    producing,
    running,
    send,
    table,
    worker_settings,
)
from tests.support.topics import (
    COMPACTED,
    KEPT,
    commit_group,
    configure,
    delete_records_before,
    readable,
    recreate_topic,
)
from tests.support.waiting import eventually, hold


@pytest.fixture
async def settings(own_apache_kafka: ApacheKafka, migrated_database_url: str) -> WorkerSettings:
    topic = await create_topic(own_apache_kafka.bootstrap_servers, partitions=1)
    return worker_settings(own_apache_kafka.bootstrap_servers, topic, migrated_database_url)


async def publish(settings: WorkerSettings, numbers: range) -> None:
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many([an_event(number) for number in numbers])


async def gaps(settings: WorkerSettings) -> list[tuple[int, int]]:
    rows = await fetch(settings, "SELECT first_offset, last_offset FROM ingest_gaps ORDER BY 1")
    return [tuple(row) for row in rows]


async def test_records_that_retention_removed_before_they_were_read_are_a_recorded_gap(
    settings: WorkerSettings,
) -> None:
    await publish(settings, range(10))
    await catch_up(settings)
    await publish(settings, range(10, 30))
    await delete_records_before(settings, 20)

    assert await catch_up(settings) == Accounting(applied=10)
    assert await gaps(settings) == [(10, 19)]
    assert await catch_up(settings) == Accounting()
    assert await gaps(settings) == [(10, 19)]


async def test_a_group_that_never_read_has_no_gap_where_the_log_begins_late(settings: WorkerSettings) -> None:
    await publish(settings, range(10))
    await delete_records_before(settings, 4)

    assert await catch_up(settings) == Accounting(applied=6)
    assert await gaps(settings) == []


async def test_retention_that_overtakes_a_running_worker_is_a_gap_too(settings: WorkerSettings) -> None:
    """A lock delays the worker while the broker removes records that it has not fetched yet."""
    settings = settings.model_copy(update={"batch_max_records": 1})
    # More than the client prefetches, so that it asks the broker again after the records are removed.
    large = {"filler": "x" * 60_000}
    await send(settings, [an_event(number, metadata=large).to_json() for number in range(60)])
    blocker = await asyncpg.connect(settings.database_url.get_secret_value())
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("LOCK TABLE pattern_quality_metrics IN ACCESS EXCLUSIVE MODE")
    try:
        async with running(settings) as worker:
            await eventually(lambda: _waits_for_a_lock(settings))
            await delete_records_before(settings, 55)
            await transaction.rollback()
            await eventually(lambda: _progress_is(settings, 60))
    finally:
        await blocker.close()

    [(first, last)] = await gaps(settings)
    assert last == 54
    assert worker.accounting == Accounting(applied=first + 5)


async def test_the_gap_after_a_lost_position_begins_at_a_restored_databases_progress(
    settings: WorkerSettings,
) -> None:
    partition = TopicPartition(settings.kafka_topic, 0)
    store = Store(settings.database_url.get_secret_value())
    async with store.transaction() as transaction:
        await transaction.begin_at(settings.kafka_group_id, {partition: Start(4)})

    known = Known({settings.kafka_topic: NO_TOPIC_ID}, {partition: 20}, {partition: 10})
    written = Written({partition: Progress(4)}, {})
    starts = await settle(store, settings.kafka_group_id, known, written, {partition: 10})
    await store.close()

    assert starts == {partition: Start(20, OffsetRange(4, 20))}
    assert await gaps(settings) == [(4, 19)]


async def _waits_for_a_lock(settings: WorkerSettings) -> bool:
    return bool(await fetch(settings, "SELECT 1 FROM pg_locks WHERE NOT granted"))


async def _progress_is(settings: WorkerSettings, offset: int) -> bool:
    rows = await fetch(settings, "SELECT next_offset FROM ingest_progress")
    return [row["next_offset"] for row in rows] == [offset]


async def test_a_group_reset_to_an_earlier_offset_reads_again_from_there(settings: WorkerSettings) -> None:
    await publish(settings, range(10))
    await catch_up(settings)
    await commit_group(settings, 4)

    assert await catch_up(settings) == Accounting(superseded=6)


async def test_an_offset_beyond_the_end_means_another_log_read_from_its_beginning(
    settings: WorkerSettings,
) -> None:
    """Without a leader epoch, as with a broker that gives none."""
    await publish(settings, range(10))
    await catch_up(settings)
    await commit_group(settings, 500)
    await execute(settings, "UPDATE ingest_progress SET next_offset = 500, leader_epoch = NULL")

    assert await catch_up(settings) == Accounting(superseded=10)
    assert await catch_up(settings) == Accounting()


async def test_a_topic_recreated_under_its_name_is_read_from_its_beginning(settings: WorkerSettings) -> None:
    await publish(settings, range(10))
    await send(settings, [b"poison"])
    await catch_up(settings)
    await recreate_topic(settings, partitions=1)
    await publish(settings, range(20, 24))
    await send(settings, [b"other poison"])

    assert await catch_up(settings) == Accounting(applied=4, dead_letters=1)
    assert [value for value, _ in await dead_letters(settings)] == [b"other poison", b"poison"]


async def test_aborted_transactions_and_their_markers_are_neither_read_nor_counted(
    settings: WorkerSettings,
) -> None:
    kept, dropped = (
        [an_event(number) for number in range(5)],
        [an_event(number) for number in range(100, 105)],
    )
    async with producing(settings, transactional_id=settings.kafka_topic) as producer:
        for events, commits in (
            (kept[:2], True),
            (dropped[:3], False),
            (kept[2:], True),
            (dropped[3:], False),
        ):
            await producer.begin_transaction()
            for event in events:
                await producer.send_and_wait(settings.kafka_topic, event.to_json())
            await (producer.commit_transaction() if commits else producer.abort_transaction())

    assert await catch_up(settings) == Accounting(applied=5)
    assert (await read_status(settings)).lag == 0
    assert await table(settings) == expected_table(kept)
    assert await catch_up(settings) == Accounting()
    await _no_count_is_confused(settings, 5)


async def test_transactions_under_a_running_worker_are_no_database_that_went_back(
    settings: WorkerSettings,
) -> None:
    """A marker follows each transaction, and the next batch begins after it."""
    with structlog.testing.capture_logs() as logs:
        async with (
            running(settings) as worker,
            producing(settings, transactional_id=settings.kafka_topic) as producer,
        ):
            for number in range(5):
                await producer.begin_transaction()
                await producer.send_and_wait(settings.kafka_topic, an_event(number).to_json())
                await producer.commit_transaction()
                await eventually(partial(_has_read, worker, number + 1))

    assert "database_went_back" not in {log["event"] for log in logs}
    rows = await fetch(settings, "SELECT next_offset FROM ingest_progress")
    assert [row["next_offset"] for row in rows] == [10]


async def test_an_aborted_transaction_at_the_end_of_the_log_leaves_no_lag(settings: WorkerSettings) -> None:
    """Its records are never delivered, and the worker before them has nothing to read."""
    async with (
        running(settings) as worker,
        producing(settings, transactional_id=settings.kafka_topic) as producer,
    ):
        await send(settings, [an_event(1).to_json()])
        await eventually(partial(_has_read, worker, 1))
        await producer.begin_transaction()
        await producer.send_and_wait(settings.kafka_topic, an_event(2).to_json())
        await producer.abort_transaction()
        await eventually(lambda: _progress_is(settings, 3))

    assert (await read_status(settings)).lag == 0


def _has_read(worker: Worker, count: int) -> bool:
    return worker.accounting.read == count


async def test_an_open_transaction_holds_nothing_up_and_its_end_is_read(settings: WorkerSettings) -> None:
    events = [an_event(number) for number in range(3)]
    async with producing(settings, transactional_id=settings.kafka_topic) as producer:
        await send(settings, [events[0].to_json()])
        await producer.begin_transaction()
        await producer.send_and_wait(settings.kafka_topic, events[1].to_json())
        await send(settings, [events[2].to_json()])
        first = await catch_up(settings)
        await producer.commit_transaction()

    assert first == Accounting(applied=1)
    assert await catch_up(settings) == Accounting(applied=2)
    assert await table(settings) == expected_table(events)


async def test_a_compacted_topic_with_holes_between_its_offsets_is_read_to_its_end(
    settings: WorkerSettings,
) -> None:
    await recreate_topic(settings, partitions=1, configs=COMPACTED)
    latest: dict[int, PatternScored] = {}
    seconds = itertools.count()
    async with producing(settings) as producer:

        async def write_until_compacted() -> bool:
            for number in range(5):
                event = latest[number] = an_event(number, seconds=next(seconds))
                await producer.send_and_wait(settings.kafka_topic, event.to_json(), key=b"%d" % number)
            count, end = await readable(settings)
            return count < end

        await eventually(write_until_compacted, poll_seconds=0.2, deadline_seconds=60)
    await configure(settings, KEPT)

    accounting = await catch_up(settings)

    assert accounting.read == accounting.applied + accounting.superseded > 0
    assert await table(settings) == expected_table(latest.values())
    assert await catch_up(settings) == Accounting()
    await _no_count_is_confused(settings, accounting.read)


async def _no_count_is_confused(settings: WorkerSettings, records: int) -> None:
    comparison = await compare_with_topic(settings, lambda *_: None)
    replayed = await replay(settings, WHOLE_TOPIC, dry_run=False, advance=lambda *_: None)
    assert (comparison.accounting.read, comparison.counts) == (records, {})
    assert replayed == Accounting(superseded=records)


_WRITE_A_BAD_HEADER_NAME = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class NotUtf8(str):
    def encode(self, *_):
        return b"na\\xffme"

async def main(servers, topic, *values):
    producer = AIOKafkaProducer(bootstrap_servers=servers, compression_type="lz4")
    await producer.start()
    for value in values:
        await producer.send_and_wait(topic, value.encode(), headers=[(NotUtf8("x"), b"1")])
    await producer.stop()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_header_name_that_is_not_utf8_stops_no_partition(settings: WorkerSettings) -> None:
    """Clients such as librdkafka can write such a name. aiokafka itself would never get past it."""
    events = [an_event(number) for number in range(3)]
    await send(settings, [events[0].to_json()])
    arguments = [
        settings.kafka_bootstrap_servers,
        settings.kafka_topic,
        events[1].to_json().decode(),
        "poison",
    ]
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _WRITE_A_BAD_HEADER_NAME, *arguments],
        check=True,
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},  # only its Python encoder calls `encode`
    )
    await send(settings, [events[2].to_json()])

    assert await catch_up(settings) == Accounting(applied=3, dead_letters=1)
    [letter] = await fetch(settings, "SELECT value, headers FROM dead_letters")
    assert letter["value"] == b"poison"
    assert "na\\\\xffme" in letter["headers"]


async def test_a_stranger_in_the_group_is_reported_and_waited_out(settings: WorkerSettings) -> None:
    event = an_event(1)
    stranger = AIOKafkaConsumer(
        settings.kafka_topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.kafka_group_id,
        partition_assignment_strategy=(StickyPartitionAssignor,),
    )
    await send(settings, [event.to_json()])
    async with AsyncExitStack() as staying:
        await staying.enter_async_context(stranger)
        async with running(settings) as worker:
            await eventually(lambda: "KAFKA_GROUP_ID" in worker.health.conditions.get("kafka", ""))
            await staying.aclose()
            await eventually(lambda: worker.accounting.read == 1)
            assert not worker.health.conditions


async def test_records_that_the_breaker_left_are_read_once_the_cause_is_fixed(
    own_apache_kafka: ApacheKafka, settings: WorkerSettings
) -> None:
    """The client fetches partitions in a random order."""
    topic = await create_topic(own_apache_kafka.bootstrap_servers, partitions=3)
    for partition in range(3):
        await send(settings.model_copy(update={"kafka_topic": topic}), [b"poison"] * 10, partition)

    for attempt in range(5):
        group = {"kafka_topic": topic, "kafka_group_id": f"{topic}-{attempt}"}
        opened = await catch_up(settings.model_copy(update=group | {"dead_letter_max_consecutive": 15}))
        await catch_up(settings.model_copy(update=group))
        letters = await dead_letters(settings)
        await execute(settings, "TRUNCATE dead_letters")

        assert opened == Accounting(dead_letters=15)
        assert len(letters) == 30


async def test_partitions_that_are_added_while_the_worker_runs_are_read_too(settings: WorkerSettings) -> None:
    async with running(settings):
        await publish(settings, range(5))
        async with administering(settings.kafka_bootstrap_servers) as admin:
            await admin.create_partitions({settings.kafka_topic: NewPartitions(3)})
        await eventually(lambda: _has_partitions(settings, 3))
        await send(settings, [an_event(6).to_json()], partition=2)
        await eventually(lambda: _is_stored(settings, 6), deadline_seconds=90)


async def test_a_record_that_comes_after_a_long_silence_is_no_stall(
    settings: WorkerSettings,
) -> None:
    """A worker is stalled if it has had lag for the whole time, not if it only had no record."""
    partition = TopicPartition(settings.kafka_topic, 0)
    async with create_reader(settings) as consumer:
        consumer.assign([partition])
        consumer.seek(partition, 0)
        watch = Watch(settings, consumer, Health(), Timing(silence=1, stall=4))
        await hold(4.5)
        await watch.look_for_a_stall([partition])

        await send(settings, [an_event().to_json()])
        await hold(1.5)
        await watch.look_for_a_stall([partition])

        await hold(4.5)
        with pytest.raises(StalledError):
            await watch.look_for_a_stall([partition])


async def _has_partitions(settings: WorkerSettings, count: int) -> bool:
    return await require_topic(settings) == count


async def _is_stored(settings: WorkerSettings, number: int) -> bool:
    return an_event(number).pattern_id in await table(settings)
