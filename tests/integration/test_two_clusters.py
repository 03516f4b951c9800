"""Two clusters with one topic name, one group name and one database, as while a cluster is replaced."""

import asyncio
import re
from functools import partial
from pathlib import Path

import pytest
import structlog
from aiokafka.admin import NewTopic

from pattern_metrics.consumer.kafka.broker import topic_id
from pattern_metrics.consumer.operations.skip import skip
from pattern_metrics.consumer.operations.status import read_status
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.kafka import Broker, administering, create_topic
from tests.support.pipeline import (
    an_event,
    catch_up,
    execute,
    expected_table,
    fetch,
    running,
    send,
    table,
    worker_settings,
)
from tests.support.waiting import eventually

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "move-to-another-cluster.md"


@pytest.fixture
async def old(embedded_broker: Broker, migrated_database_url: str) -> WorkerSettings:
    """The workers of the cluster that goes."""
    topic = await create_topic(embedded_broker.bootstrap_servers, partitions=1)
    return worker_settings(
        embedded_broker.bootstrap_servers, topic, migrated_database_url, batch_max_records=7
    )


@pytest.fixture
async def new(apache_kafka: Broker, old: WorkerSettings) -> WorkerSettings:
    """The workers of the cluster that comes: no other setting is different."""
    async with administering(apache_kafka.bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(old.kafka_topic, 1, 1)])
    return old.model_copy(update={"kafka_bootstrap_servers": apache_kafka.bootstrap_servers})


async def test_the_workers_of_both_finish_and_none_throws_the_other_back(
    old: WorkerSettings, new: WorkerSettings
) -> None:
    before = [an_event(number, seconds=1) for number in range(200)]
    after = [an_event(number, seconds=2) for number in range(150, 400)]
    with structlog.testing.capture_logs() as logs:
        async with running(old), running(new):
            for settings in (old, new):
                await eventually(partial(_has_written, settings, 0))
            await asyncio.gather(
                send(old, [event.to_json() for event in before]),
                send(new, [event.to_json() for event in after]),
            )
            for settings, events in ((old, before), (new, after)):
                await eventually(partial(_has_written, settings, len(events)))

    warnings = [log["event"] for log in logs if log["log_level"] == "warning"]
    assert warnings == ["new_topic_id"]  # by the worker that was the second to begin
    assert await table(old) == expected_table(before + after)
    assert await fetch(old, "SELECT FROM ingest_gaps") == []
    for settings, events in ((old, before), (new, after)):
        [partition] = (await read_status(settings)).partitions
        assert partition.next_offset == len(events)
        assert await catch_up(settings) == Accounting()

    [prune] = re.findall("```sql\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), re.DOTALL)
    *_, delete = prune.split("\n\n")
    await execute(old, delete.replace("ID OF THE OLD TOPIC", str(await topic_id(old))))
    [left] = await fetch(old, "SELECT topic_id FROM ingest_progress")
    assert left["topic_id"] == await topic_id(new)


async def test_a_group_whose_offsets_came_along_goes_on_there_by_a_skip(
    old: WorkerSettings, new: WorkerSettings
) -> None:
    """The table has the mirrored records already. Without the skip they would be read again."""
    events = [an_event(number) for number in range(10)]
    await send(old, [event.to_json() for event in events])
    await catch_up(old)
    await send(new, [event.to_json() for event in events])

    [skipped] = await skip(new, "latest", "moved to another cluster")

    assert (skipped.first_offset, skipped.next_offset) == (0, 10)
    await send(new, [an_event(20).to_json()])
    assert await catch_up(new) == Accounting(applied=1)


async def _has_written(settings: WorkerSettings, offset: int) -> bool:
    rows = await fetch(
        settings, "SELECT next_offset FROM ingest_progress WHERE topic_id = $1", await topic_id(settings)
    )
    return [row["next_offset"] for row in rows] == [offset]
