"""A group that is moved on Apache Kafka: by its offset alone, which is not followed, and by `skip`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import structlog

from pattern_metrics.consumer.kafka.topic import InvalidSliceError
from pattern_metrics.consumer.operations import skip as skip_module
from pattern_metrics.consumer.operations.skip import Skip, SkipRefusedError, UnusableTargetError, skip
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.kafka import Broker, create_topic
from tests.support.pipeline import (
    an_event,
    catch_up,
    committed_offsets,
    fetch,
    progress,
    running,
    send,
    table,
    worker_settings,
)
from tests.support.topics import commit_group, delete_records_before
from tests.support.waiting import eventually


@pytest.fixture
async def settings(apache_kafka: Broker, migrated_database_url: str) -> WorkerSettings:
    topic = await create_topic(apache_kafka.bootstrap_servers)
    return worker_settings(apache_kafka.bootstrap_servers, topic, migrated_database_url)


async def publish(settings: WorkerSettings, numbers: range) -> None:
    await send(settings, [an_event(number).to_json() for number in numbers])


async def state(settings: WorkerSettings) -> tuple[Any, ...]:
    """Everything that a skip moves."""
    gaps = await fetch(
        settings, "SELECT partition, first_offset, last_offset, reason FROM ingest_gaps ORDER BY 1, 2"
    )
    return [tuple(gap) for gap in gaps], await progress(settings), await committed_offsets(settings)


@pytest.mark.parametrize("offset", [pytest.param(20, id="the end"), pytest.param(500, id="beyond the end")])
async def test_a_group_offset_that_is_ahead_is_reported_once_and_not_followed(
    settings: WorkerSettings, offset: int
) -> None:
    await publish(settings, range(10))
    await catch_up(settings)
    await publish(settings, range(10, 20 if offset == 20 else 10))
    await commit_group(settings, offset)

    with structlog.testing.capture_logs() as logs:
        read = (await catch_up(settings)).read + (await catch_up(settings)).read

    [warning] = [log for log in logs if log["log_level"] == "warning"]
    assert warning["event"] == "group_offset_not_followed"
    assert (warning["group_offset"], warning["written_to"]) == (offset, 10)
    assert "pattern-metrics skip" in warning["hint"]
    assert len(await table(settings)) == 10 + read
    assert (await committed_offsets(settings))[0] == 10 + read
    assert read == (10 if offset == 20 else 0)


async def test_a_skip_records_the_gap_and_moves_group_and_progress(settings: WorkerSettings) -> None:
    await publish(settings, range(10))
    await catch_up(settings)
    await publish(settings, range(10, 30))
    before = await state(settings)

    shown = await skip(settings, "latest", "a broken scorer", dry_run=True)
    assert await state(settings) == before
    skipped = await skip(settings, "latest", "a broken scorer")
    await publish(settings, range(30, 32))

    assert shown == skipped == [Skip(settings.kafka_topic, 0, 10, 30)]
    gaps, _, committed = await state(settings)
    assert gaps == [(0, 10, 29, "skipped: a broken scorer")]
    assert committed[0] == 30
    assert await catch_up(settings) == Accounting(applied=2)
    assert await skip(settings, "latest", "nothing is left") == []


async def test_a_skip_of_a_new_group_begins_at_the_first_offset_in_the_topic(
    settings: WorkerSettings,
) -> None:
    await publish(settings, range(10))
    await delete_records_before(settings, 2)

    [skipped] = await skip(settings, 6, "only from here on", partition=0)

    assert (skipped.first_offset, skipped.next_offset) == (2, 6)
    assert await catch_up(settings) == Accounting(applied=4)


async def test_a_skip_keeps_the_gap_that_retention_left_before_it(settings: WorkerSettings) -> None:
    await publish(settings, range(10))
    await catch_up(settings)
    await publish(settings, range(10, 20))
    await delete_records_before(settings, 15)

    await skip(settings, 18, "broken", partition=0)

    gaps, written, committed = await state(settings)
    assert gaps == [(0, 10, 14, "retention"), (0, 15, 17, "skipped: broken")]
    assert (written[0], committed[0]) == (18, 18)


async def test_a_skip_to_a_time_leaves_what_was_written_since(settings: WorkerSettings) -> None:
    await publish(settings, range(4))
    since = datetime.now(UTC)
    await eventually(lambda: datetime.now(UTC) > since + timedelta(milliseconds=2))
    since = datetime.now(UTC)
    await publish(settings, range(4, 6))

    [skipped] = await skip(settings, since, "old")

    assert skipped.offsets == 4
    assert await skip(settings, since - timedelta(days=1), "older") == []
    assert await catch_up(settings) == Accounting(applied=2)


async def test_a_target_that_does_not_fit_is_refused_and_nothing_is_moved(settings: WorkerSettings) -> None:
    await publish(settings, range(4))

    for arguments, error, message in (
        ({"to": 5, "partition": 0}, UnusableTargetError, "ends at 4"),
        ({"to": 2}, UnusableTargetError, "--partition"),
        ({"to": "latest", "topic": "another"}, UnusableTargetError, "is not a topic of KAFKA_TOPIC"),
        ({"to": "latest", "partition": 9}, InvalidSliceError, "has no partition 9"),
    ):
        with pytest.raises(error, match=message):
            await skip(settings, because="never", **arguments)
    assert await state(settings) == ([], {}, {})


async def test_a_skip_is_refused_while_the_group_has_members(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a worker starts in between: the broker refuses the offset, and the database keeps nothing."""

    async def nobody(_: WorkerSettings) -> list[str]:
        return []

    async with running(settings) as worker:
        await send(settings, [an_event(99).to_json()])
        await eventually(lambda: worker.accounting.read == 1)
        with pytest.raises(SkipRefusedError, match=r"has 1 members .*: stop its workers"):
            await skip(settings, "latest", "never")
        monkeypatch.setattr(skip_module, "group_members", nobody)
        async with blocked(settings):
            await publish(settings, range(4))
            with pytest.raises(SkipRefusedError, match="members by now: stop its workers"):
                await skip(settings, "latest", "never")
        await eventually(lambda: worker.accounting.read == 5)

    gaps, written, committed = await state(settings)
    assert (gaps, written[0], committed[0]) == ([], 5, 5)


@asynccontextmanager
async def blocked(settings: WorkerSettings) -> AsyncIterator[None]:
    """Hold the worker up while it writes."""
    blocker = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE pattern_quality_metrics IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await blocker.close()
