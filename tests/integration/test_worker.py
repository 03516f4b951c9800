"""The worker in this process, with each available broker."""

import json
import random
import uuid
from functools import partial

import asyncpg
import pytest
from pydantic import SecretStr

from pattern_metrics.consumer.faults.diagnosis import diagnose_beyond_rows
from pattern_metrics.consumer.faults.driver import RefusedSessionError
from pattern_metrics.consumer.postgres import connection
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.worker.worker import Worker
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE
from pattern_metrics.schemas.settings.timing import Timing
from tests.support.kafka import administering
from tests.support.pipeline import (
    SettingsFactory,
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
)
from tests.support.scraping import Answer
from tests.support.waiting import eventually


async def test_the_table_is_the_fold_of_what_was_published_in_any_order(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for(batch_max_records=97)
    chance = random.Random(7)
    events = [
        an_event(
            chance.randrange(40),
            seconds=chance.randrange(20),
            event=chance.randrange(5),
            score=chance.random(),
        )
        for _ in range(1500)
    ]
    # An id names one measurement, so its content is the same in each record.
    events = list({(event.pattern_id, event.order): event for event in events}.values()) * 2
    chance.shuffle(events)

    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many(events)
    accounting = await catch_up(settings)

    assert await table(settings) == expected_table(events)
    assert accounting.read == len(events)
    assert accounting.applied + accounting.superseded == len(events)


async def test_a_replay_by_a_fresh_group_changes_and_writes_nothing(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many([an_event(pattern) for pattern in range(100)])
    await send(settings, [b"poison"])
    await catch_up(settings)
    rows = "SELECT pattern_id, xmin::text, updated_at FROM pattern_quality_metrics ORDER BY 1"
    before = await fetch(settings, rows)

    replay = settings.model_copy(update={"kafka_group_id": f"replay-{uuid.uuid4()}"})
    accounting = await catch_up(replay)

    assert accounting == Accounting(applied=0, superseded=100, dead_letters=1)
    assert await fetch(settings, rows) == before
    assert len(await dead_letters(settings)) == 1


async def test_the_same_group_reads_nothing_twice(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many([an_event(pattern) for pattern in range(10)])

    assert await catch_up(settings) == Accounting(applied=10)
    assert await catch_up(settings) == Accounting()


async def test_a_worker_that_stops_is_no_member_of_its_group(settings_for: SettingsFactory) -> None:
    """Otherwise the next worker would wait until the session of the first one expires."""
    settings = settings_for()
    await send(settings, [an_event().to_json()])

    await catch_up(settings)

    async with administering(settings.kafka_bootstrap_servers) as admin:
        [described] = await admin.describe_consumer_groups([settings.kafka_group_id])
        [(error, group, _, _, _, members, *_)] = described.groups
    assert (error, group, members) == (0, settings.kafka_group_id, [])


async def test_a_lone_record_is_written_by_a_running_worker_at_once(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    async with running(settings), ScorePublisher(settings) as publisher:
        for pattern in range(3):
            event = an_event(pattern)
            await publisher.publish(event)
            await eventually(partial(_is_stored, settings, event.pattern_id))


async def _is_stored(settings: WorkerSettings, pattern_id: uuid.UUID) -> bool:
    return pattern_id in await table(settings)


async def test_structured_mode_and_the_schema_registry_prefix_are_read(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    structured, prefixed = an_event(1), an_event(2)
    envelope = {
        "specversion": "1.0",
        "id": "x",
        "source": "/x",
        "type": EVENT_TYPE,
        "data": json.loads(structured.to_json()),
    }
    async with producing(settings) as producer:
        await producer.send_and_wait(
            settings.kafka_topic,
            json.dumps(envelope).encode(),
            headers=[("content-type", b"application/cloudevents+json; charset=utf-8")],
        )
        await producer.send_and_wait(settings.kafka_topic, b"\0\0\0\0\x2a" + prefixed.to_json())

    assert await catch_up(settings) == Accounting(applied=2)
    assert await table(settings) == expected_table([structured, prefixed])


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_is_read(settings_for: SettingsFactory, compression: str) -> None:
    settings = settings_for()
    async with producing(settings, compression_type=compression) as producer:
        await producer.send_and_wait(settings.kafka_topic, an_event(1).to_json())

    assert await catch_up(settings) == Accounting(applied=1)


async def test_the_breaker_stops_exactly_at_its_limit_and_a_valid_record_resets_it(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for(dead_letter_max_consecutive=3)
    await send(settings, [b"1", b"2", an_event(1).to_json(), b"3", b"4", b"5", b"6", an_event(2).to_json()])

    accounting = await catch_up(settings)

    assert accounting == Accounting(applied=1, dead_letters=5)
    progress = await fetch(settings, "SELECT next_offset FROM ingest_progress WHERE partition = 0")
    assert [row["next_offset"] for row in progress] == [6]
    mended = settings.model_copy(update={"dead_letter_max_consecutive": 100})
    assert await catch_up(mended) == Accounting(applied=1, dead_letters=1)


async def test_the_breaker_counts_what_only_the_database_refuses(settings_for: SettingsFactory) -> None:
    settings = settings_for(dead_letter_max_consecutive=5, batch_max_records=2)
    await execute(settings, "ALTER TABLE pattern_quality_metrics ADD CHECK (quality_score > 0.5)")
    await send(settings, [an_event(number, score=0.9 * (number == 3)).to_json() for number in range(40)])

    accounting = await catch_up(settings)

    assert accounting.applied == 1
    assert 3 + 5 <= accounting.dead_letters < 3 + 5 + 3 * 2  # two more batches may be in flight by then


async def test_an_open_breaker_keeps_the_worker_in_its_group_and_not_ready(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for(dead_letter_max_consecutive=2)
    await send(settings, [b"1", b"2", b"3"])

    async with running(settings) as worker:
        await eventually(lambda: "breaker" in worker.health.conditions)

    assert worker.accounting == Accounting(dead_letters=2)


REFUSE = """
CREATE FUNCTION refuse() RETURNS {kind} LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = '{sqlstate}'; END $$;
CREATE {what} EXECUTE FUNCTION refuse();
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'pattern-metrics' AND datname = current_database()
"""
BEYOND_THE_ROWS = [
    (
        "trigger",
        "23514",
        "CONSTRAINT TRIGGER refuse AFTER UPDATE ON ingest_progress "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
    ),
    ("trigger", "P0001", "TRIGGER refuse BEFORE INSERT ON dead_letters FOR EACH ROW"),
    ("trigger", "XX000", "TRIGGER refuse BEFORE INSERT ON pattern_quality_metrics FOR EACH ROW"),
    ("event_trigger", "P0001", "EVENT TRIGGER refuse ON login"),
]

HINTS = {
    diagnose_beyond_rows(error).hint
    for error in (asyncpg.RaiseError(), asyncpg.InternalServerError(), RefusedSessionError())
}


def _is_accounted_for(worker: Worker, number: int) -> bool:
    return worker.accounting == Accounting(applied=number, dead_letters=number)


async def test_a_refusal_outside_of_rows_is_waited_out_until_somebody_fixes_it(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    owner = await asyncpg.connect(settings.database_url.get_secret_value())
    async with running(settings) as worker:
        await eventually(lambda: worker.health.is_assigned)
        for number, (kind, sqlstate, what) in enumerate(BEYOND_THE_ROWS, start=1):
            await owner.execute(REFUSE.format(kind=kind, sqlstate=sqlstate, what=what))
            await send(settings, [an_event(number).to_json(), b"poison"])
            await eventually(lambda: worker.health.conditions.get("postgresql") in HINTS)
            await owner.execute("DROP FUNCTION refuse CASCADE")
            await eventually(partial(_is_accounted_for, worker, number))
            assert not worker.health.conditions
    await owner.close()


def _assigned(worker: Worker) -> float:
    return Answer(200, {}, worker.metrics.render({})).samples["pattern_metrics_assigned_partitions", ()]


async def test_a_worker_shows_how_many_partitions_the_group_has_given_it(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    async with running(settings) as one:
        await eventually(lambda: _assigned(one) == 3)
        async with running(settings) as other:
            await eventually(lambda: {_assigned(one), _assigned(other)} == {1, 2})
        assert _assigned(other) == 0
        await eventually(lambda: _assigned(one) == 3)


async def test_a_revoked_right_is_reported_and_used_once_it_is_granted_again(
    settings_for: SettingsFactory,
) -> None:
    login = f"worker_{uuid.uuid4().hex}"
    owners = settings_for()
    await execute(owners, f"CREATE ROLE {login} LOGIN IN ROLE pattern_metrics_worker")
    address = owners.database_url.get_secret_value().replace("postgres@", f"{login}@")
    event = an_event(1)
    async with running(owners.model_copy(update={"database_url": SecretStr(address)})) as worker:
        await eventually(lambda: worker.health.is_assigned)
        await execute(owners, f"REVOKE pattern_metrics_worker FROM {login}")
        await send(owners, [event.to_json()])
        await eventually(lambda: "lacks a right" in worker.health.conditions.get("postgresql", ""))
        await execute(owners, f"GRANT pattern_metrics_worker TO {login}")
        await eventually(partial(_is_stored, owners, event.pattern_id))
    await execute(owners, f"DROP ROLE {login}")


SLOW = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON pattern_quality_metrics FOR EACH ROW EXECUTE FUNCTION be_slow();
"""
WRITTEN = """
SELECT (SELECT count(*) FROM pattern_quality_metrics) + (SELECT count(*) FROM dead_letters) AS records,
       coalesce((SELECT sum(next_offset) FROM ingest_progress), 0) AS progress
"""


async def test_a_batch_that_takes_the_database_too_long_is_written_in_parts(
    settings_for: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for()
    monkeypatch.setitem(connection.SERVER_SETTINGS, "statement_timeout", "1s")
    await execute(settings, SLOW)
    values = [b"poison" if number % 8 == 0 else an_event(number).to_json() for number in range(64)]
    async with producing(settings) as producer:
        for number, value in enumerate(values):
            await producer.send(settings.kafka_topic, value, partition=number % 2)

    sizes = set[int]()

    async def is_written() -> bool:
        [row] = await fetch(settings, WRITTEN)
        assert row["records"] == row["progress"]
        sizes.add(row["records"])
        return len(values) in sizes

    slowly = Timing(quick=0.0)  # no write counts as quick
    async with running(settings, timing=slowly) as worker:
        await eventually(is_written, deadline_seconds=60)
        await eventually(lambda: not worker.health.conditions)

    assert len(sizes) > 2
    assert worker.accounting == Accounting(applied=56, dead_letters=8)


LIMITED = """
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET transaction_timeout = %L', current_database(), '500ms');
END $$
"""


async def test_a_transaction_timeout_of_the_database_ends_no_batch(settings_for: SettingsFactory) -> None:
    """PostgreSQL 17 can end the session of a long transaction, in the middle of any batch."""
    settings = settings_for()
    await execute(settings, SLOW + LIMITED)
    events = [an_event(number) for number in range(30)]
    await send(settings, [event.to_json() for event in events])

    async with running(settings) as worker:
        await eventually(lambda: worker.accounting == Accounting(applied=len(events)))

    assert await table(settings) == expected_table(events)


FIRST = [an_event(pattern) for pattern in range(50)]
"""The events in the backup."""

SECOND = [an_event(pattern) for pattern in range(50, 90)]
"""The events that the backup lacks."""


async def test_a_restored_database_is_caught_up_although_the_group_is_ahead_of_it(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    async with ScorePublisher(settings) as publisher:
        await _publish_and_back_up(publisher, settings)
        await publisher.publish_many(SECOND)
        await catch_up(settings)
    assert len(await table(settings)) == 90
    await _go_back_in_time(settings)

    accounting = await catch_up(settings)

    assert accounting == Accounting(applied=40)
    assert await table(settings) == expected_table(FIRST + SECOND)


async def test_a_database_that_is_restored_under_a_running_worker_is_caught_up(
    settings_for: SettingsFactory,
) -> None:
    """The worker's next batch must not be written past the hole."""
    settings = settings_for()
    third = [an_event(pattern) for pattern in range(90, 95)]
    async with ScorePublisher(settings) as publisher:
        await _publish_and_back_up(publisher, settings)
        async with running(settings):
            await publisher.publish_many(SECOND)
            await eventually(lambda: _count_is(settings, 90))
            await _go_back_in_time(settings)
            await publisher.publish_many(third)
            await eventually(lambda: _count_is(settings, 95))

    assert await table(settings) == expected_table(FIRST + SECOND + third)


async def test_a_database_that_is_restored_under_an_idle_worker_is_caught_up(
    settings_for: SettingsFactory,
) -> None:
    """Nothing is published any more, so no batch reveals the restore."""
    settings = settings_for()
    async with ScorePublisher(settings) as publisher:
        await _publish_and_back_up(publisher, settings)
        async with running(settings):
            await publisher.publish_many(SECOND)
            await eventually(lambda: _count_is(settings, 90))
            await _go_back_in_time(settings)
            await eventually(lambda: _count_is(settings, 90))

    assert await table(settings) == expected_table(FIRST + SECOND)


async def _publish_and_back_up(publisher: ScorePublisher, settings: WorkerSettings) -> None:
    await publisher.publish_many(FIRST)
    await catch_up(settings)
    await execute(settings, "CREATE TABLE backup AS TABLE ingest_progress")


async def _go_back_in_time(settings: WorkerSettings) -> None:
    await execute(
        settings,
        """
        BEGIN;
        DELETE FROM pattern_quality_metrics WHERE pattern_id >= '00000000-0000-0000-0000-000000000032';
        DELETE FROM ingest_progress;
        INSERT INTO ingest_progress TABLE backup;
        COMMIT
        """,
    )


async def _count_is(settings: WorkerSettings, count: int) -> bool:
    return len(await table(settings)) == count


async def test_an_empty_new_database_is_filled_although_the_group_has_committed(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many([an_event(pattern) for pattern in range(20)])
    await catch_up(settings)
    await execute(settings, "TRUNCATE pattern_quality_metrics, ingest_progress")

    assert await catch_up(settings) == Accounting(applied=20)


async def test_a_batch_waits_to_fill_if_it_is_configured_to(settings_for: SettingsFactory) -> None:
    settings = settings_for(batch_max_wait_ms=60_000, batch_max_records=30)
    async with ScorePublisher(settings) as publisher, running(settings) as worker:
        await publisher.publish_many([an_event(pattern) for pattern in range(20)])
        await publisher.publish_many([an_event(pattern) for pattern in range(20, 30)])
        await eventually(lambda: worker.accounting.read == 30)

    batches = await fetch(settings, "SELECT DISTINCT updated_at FROM pattern_quality_metrics")
    assert len(batches) == 1
