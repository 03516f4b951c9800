"""Replay, verify, backfill and status, on each available broker."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pattern_metrics.consumer.kafka.topic import WHOLE_TOPIC, Slice
from pattern_metrics.consumer.operations.backfill import BackfillRules, backfill, store_quality_metrics
from pattern_metrics.consumer.operations.files.recognition import read_measurements
from pattern_metrics.consumer.operations.measurement_files import MeasurementSource
from pattern_metrics.consumer.operations.replay import replay
from pattern_metrics.consumer.operations.status import read_status
from pattern_metrics.consumer.operations.verification import check_table, compare_with_topic
from pattern_metrics.consumer.postgres.shadow import ShadowLostError, ShadowStore
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.pattern_scored import Measurement
from tests.support.command import SECONDS_MAX
from tests.support.kafka import Broker
from tests.support.pipeline import (
    BASE_TIME,
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
from tests.support.waiting import eventually

ROWS = "SELECT pattern_id, xmin::text, updated_at FROM pattern_quality_metrics ORDER BY 1"


def ignore(*_: object) -> None:
    """Ignore the progress."""


async def run_replay(
    settings: WorkerSettings, which: Slice = WHOLE_TOPIC, *, dry_run: bool = False
) -> Accounting:
    async with asyncio.timeout(SECONDS_MAX):
        return await replay(settings, which, dry_run=dry_run, advance=ignore)


async def findings(settings: WorkerSettings) -> dict[str, int]:
    async with asyncio.timeout(SECONDS_MAX):
        return (await compare_with_topic(settings, ignore)).counts


async def test_damage_is_seen_counted_by_a_dry_run_and_fixed_by_a_replay(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for(batch_max_records=7)  # several batches, in which the same patterns come again
    events = [an_event(number % 20, seconds=number) for number in range(60)]
    async with ScorePublisher(settings) as publisher:
        await publisher.publish_many(events)
    await send(settings, [b"poison"])
    await catch_up(settings)
    assert await findings(settings) == {}
    await execute(
        settings,
        """
        DELETE FROM pattern_quality_metrics WHERE pattern_id < '00000000-0000-0000-0000-000000000003';
        UPDATE pattern_quality_metrics SET measurement_timestamp = '2020-01-01', quality_score = 0
        WHERE pattern_id > '00000000-0000-0000-0000-000000000010';
        UPDATE pattern_quality_metrics SET quality_score = 0.123
        WHERE pattern_id = '00000000-0000-0000-0000-00000000000a'
        """,
    )
    damaged = await fetch(settings, ROWS)

    assert await findings(settings) == {"missing": 3, "older": 3, "different": 1}
    would_be = await run_replay(settings, dry_run=True)
    assert await fetch(settings, ROWS) == damaged
    assert await run_replay(settings) == would_be
    assert would_be.read == 61
    assert would_be.applied >= 6
    assert await findings(settings) == {"different": 1}
    await execute(settings, "DELETE FROM pattern_quality_metrics WHERE quality_score = 0.123")
    await run_replay(settings)
    assert await findings(settings) == {}
    assert await table(settings) == expected_table(events)
    assert await run_replay(settings) == Accounting(superseded=60, dead_letters=1)


async def test_a_dry_run_writes_no_dead_letter_either(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    await send(settings, [b"poison", an_event(1).to_json()])

    assert await run_replay(settings, dry_run=True) == Accounting(applied=1, dead_letters=1)
    assert await dead_letters(settings) == []
    assert await table(settings) == {}


async def test_a_slice_holds_exactly_its_records(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    async with producing(settings) as producer:
        for number in range(10):
            await producer.send_and_wait(
                settings.kafka_topic,
                an_event(number).to_json(),
                key=str(an_event(number).pattern_id).encode(),
                partition=number % 2,
                timestamp_ms=int((start + timedelta(minutes=number)).timestamp() * 1000),
            )

    async def replayed(which: Slice = WHOLE_TOPIC, pattern_id: UUID | None = None) -> set[int]:
        await execute(settings, "TRUNCATE pattern_quality_metrics")
        await replay(settings, which, dry_run=False, advance=ignore, pattern_id=pattern_id)
        return {pattern_id.int for pattern_id in await table(settings)}

    assert await replayed(Slice(partition=1)) == {1, 3, 5, 7, 9}
    assert await replayed(Slice(from_offset=3)) == {6, 7, 8, 9}
    assert await replayed(Slice(partition=0, from_offset=4)) == {8}
    assert await replayed(Slice(from_offset=1000)) == set()
    since, until = start + timedelta(minutes=3), start + timedelta(minutes=6)
    assert await replayed(Slice(since=since, until=until)) == {3, 4, 5}
    assert await replayed(Slice(since=start + timedelta(days=1))) == set()
    assert await replayed(pattern_id=an_event(7).pattern_id) == {7}


async def test_a_replay_of_a_pattern_takes_its_records_whatever_their_keys(
    settings_for: SettingsFactory,
) -> None:
    """The consumer needs no key, so a slice by key alone could restore an older measurement."""
    settings, pattern = settings_for(), an_event(1).pattern_id
    keys = [str(pattern).encode(), None, str(pattern).upper().encode(), b"another"]
    events = [an_event(1, seconds=number, score=number / 10) for number in range(len(keys))]
    async with producing(settings) as producer:
        for key, event in zip(keys, events, strict=True):
            await producer.send_and_wait(settings.kafka_topic, event.to_json(), key=key)
    await send(settings, [an_event(2).to_json()])

    accounting = await replay(settings, WHOLE_TOPIC, dry_run=False, advance=ignore, pattern_id=pattern)

    assert accounting.read == len(events)
    assert await table(settings) == expected_table(events)


async def test_a_replay_touches_no_groups_offsets(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    await send(settings, [an_event(number).to_json() for number in range(5)])
    await catch_up(settings)
    await send(settings, [an_event(number).to_json() for number in range(5, 8)])

    await run_replay(settings)

    progress = await fetch(settings, "SELECT next_offset FROM ingest_progress WHERE partition = 0")
    assert [row["next_offset"] for row in progress] == [5]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.kafka_group_id,
        enable_auto_commit=False,
    )
    async with consumer:
        assert await consumer.committed(TopicPartition(settings.kafka_topic, 0)) == 5


async def test_replay_and_verify_hold_while_a_worker_writes(settings_for: SettingsFactory) -> None:
    settings = settings_for(batch_max_records=50)
    stop = asyncio.Event()

    async def publish() -> None:
        async with ScorePublisher(settings) as publisher:
            seconds = 0
            while not stop.is_set():
                seconds += 1
                await publisher.publish_many([an_event(number, seconds=seconds) for number in range(30)])
                # No faster than the worker, so that the topic does not grow beyond what the test needs.
                await eventually(lambda: worker.accounting.read >= 30 * seconds or stop.is_set())  # noqa: B023

    async with running(settings) as worker:
        publishing = asyncio.create_task(publish())
        try:
            await eventually(lambda: worker.accounting.read > 300)
            found = await findings(settings)
            assert found.keys() <= {"newer", "absent_in_topic"}, found  # written since it began
            accounting = await run_replay(settings)
            assert accounting.read > 300
            assert accounting.dead_letters == 0
        finally:
            stop.set()
            await publishing


async def test_of_two_contents_of_one_event_the_first_stays_until_its_row_is_deleted(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    first, second = (an_event(1, event=7, score=score) for score in (0.1, 0.2))
    await send(settings, [second.to_json()], partition=1)
    await catch_up(settings)
    await send(settings, [first.to_json()], partition=0)  # a verification and a replay read it first
    await catch_up(settings)

    comparison = await compare_with_topic(settings, ignore)
    replayed = await run_replay(settings)
    unchanged = await table(settings)
    await execute(settings, "TRUNCATE pattern_quality_metrics")
    await run_replay(settings)

    assert comparison.counts == {"different": 1}
    assert "deleting the rows that are different, then pattern-metrics replay (which alone" in str(
        comparison.check(strict=False)
    )
    assert replayed == Accounting(superseded=2)
    assert unchanged == expected_table([second])
    assert await table(settings) == expected_table([first])
    assert await findings(settings) == {}


async def test_rows_that_the_topic_does_not_explain_fail_a_check_only_when_asked(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    await send(settings, [an_event(1, seconds=1).to_json()])
    await catch_up(settings)
    await store_quality_metrics(
        settings.database_url.get_secret_value(), [an_event(1, seconds=2), an_event(2)]
    )

    comparison = await compare_with_topic(settings, ignore)

    assert comparison.counts == {"newer": 1, "absent_in_topic": 1}
    assert comparison.check(strict=False).passed
    assert not comparison.check(strict=True).passed


async def test_a_record_that_is_a_dead_letter_is_not_folded(settings_for: SettingsFactory) -> None:
    """It was measured by a clock ahead of ours. At the time of the verification, that moment has come."""
    settings = settings_for(max_clock_skew_seconds=0)
    ahead = an_event(1, measurement_timestamp=datetime.now(UTC) + timedelta(hours=1))
    await send(settings, [an_event(2).to_json(), ahead.to_json()])
    await catch_up(settings)
    later = settings.model_copy(update={"max_clock_skew_seconds": 7200})

    assert await findings(later) == {}


async def test_a_replay_marks_the_dead_letters_that_it_stores_and_no_others(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    check = "ALTER TABLE pattern_quality_metrics {} CONSTRAINT limits {}"
    await execute(settings, check.format("ADD", "CHECK (quality_score < 0.1)"))
    await send(settings, [*(an_event(n, score=n / 10).to_json() for n in range(1, 5)), b"poison"])
    await catch_up(settings)
    await execute(
        settings, "UPDATE dead_letters SET status = 'discarded', resolved_at = now() WHERE \"offset\" = 0"
    )
    await execute(settings, check.format("DROP", ""))
    await execute(settings, check.format("ADD", "CHECK (quality_score <> 0.4)"))
    letters = 'SELECT "offset", status, xmin::text FROM dead_letters ORDER BY 1'

    before = await fetch(settings, letters)
    await run_replay(settings, dry_run=True)
    assert await fetch(settings, letters) == before
    await run_replay(settings)
    after = await fetch(settings, letters)
    await run_replay(settings)

    statuses = [row["status"] for row in after]
    assert statuses == ["discarded", "redriven", "redriven", "open", "open"]
    assert await fetch(settings, letters) == after
    assert await findings(settings) == {"absent_in_topic": 1}  # the discarded record is not folded


async def test_an_event_that_the_group_has_not_read_yet_is_not_missing(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    await send(settings, [an_event(1).to_json()])
    await catch_up(settings)
    await send(settings, [an_event(2).to_json()])

    assert await findings(settings) == {}


async def test_a_broken_table_fails_its_check_and_names_the_command_that_mends_it(
    settings_for: SettingsFactory,
) -> None:
    settings = settings_for()
    assert all(check.passed for check in await check_table(settings))
    await execute(
        settings,
        """
        ALTER TABLE pattern_quality_metrics DROP CONSTRAINT pattern_quality_metrics_pattern_id_unique;
        INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence)
        SELECT '00000000-0000-0000-0000-000000000001', 0.5, 0.5 FROM generate_series(1, 2)
        """,
    )

    failed = {check.name: check.mend for check in await check_table(settings) if not check.passed}

    assert failed.keys() >= {"the constraint of 014 is there", "no pattern occurs twice"}
    assert all(mend.endswith("pattern-metrics migrate up") for mend in failed.values())


async def test_a_column_that_nothing_fills_is_named_by_the_check(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    await execute(settings, "ALTER TABLE pattern_quality_metrics ADD COLUMN owner text NOT NULL")

    [failed] = [check for check in await check_table(settings) if not check.passed]

    assert failed.name == "a second insert of a pattern updates its row"
    assert 'null value in column "owner"' in str(failed)
    assert "migrate up" not in str(failed)


def source(text: str) -> MeasurementSource:
    return MeasurementSource("m.jsonl", 1, read_measurements(io.BytesIO(text.encode())))


def rules(**changes: object) -> BackfillRules:
    return BackfillRules(accepted_until=lambda now: now, **changes)  # type: ignore[arg-type]


async def run_backfill(
    database_url: str, of: MeasurementSource, by: BackfillRules, *, dry_run: bool = False
) -> Accounting:
    refused: list[int] = []
    store = ShadowStore(database_url, loads_rows=True) if dry_run else Store(database_url)
    report = await backfill(store, of, by, lambda line, _: refused.append(line))
    assert len(refused) <= report.accounting.dead_letters
    return report.accounting


async def test_a_backfill_run_twice_leaves_the_same_ten_rows(migrated_database_url: str) -> None:
    older = [an_event(number, seconds=1, score=0.1) for number in range(10)]
    newer = [an_event(number, seconds=2, score=0.9) for number in range(10)]
    text = "\n".join(event.to_json().decode() for event in [*newer, *older])

    assert await run_backfill(migrated_database_url, source(text), rules(limit=10)) == Accounting(applied=10)
    assert await run_backfill(migrated_database_url, source(text), rules(limit=10)) == Accounting(
        superseded=10
    )
    assert await run_backfill(migrated_database_url, source(text), rules(batch_records=3)) == Accounting(
        superseded=20
    )


async def test_a_backfill_reports_each_line_correctly(migrated_database_url: str) -> None:
    bad = json.dumps({**json.loads(an_event(1).to_json()), "event_id": 7})
    text = "\n".join([an_event(1).to_json().decode(), "", "nonsense", bad, an_event(2).to_json().decode()])

    dry = await run_backfill(migrated_database_url, source(text), rules(), dry_run=True)
    first = await run_backfill(migrated_database_url, source(text), rules())
    again = await run_backfill(migrated_database_url, source(text), rules())

    assert dry == first == Accounting(applied=2, dead_letters=2)
    assert again == Accounting(superseded=2, dead_letters=2)


async def test_csv_is_read_by_the_same_rules(migrated_database_url: str) -> None:
    header = "pattern_id,quality_score,confidence,measurement_timestamp,version,metadata"
    text = "\ufeff" + "\r\n".join(
        [
            header,
            f'{an_event(1).pattern_id},0.5,1,2026-01-01T00:00:00Z,,"{{""name"": ""a,b""}}"',
            f"{an_event(2).pattern_id},half,1,2026-01-01T00:00:00Z,,",
            f"{an_event(3).pattern_id},0.5,0.1,2026-01-01T00:00:00Z,2.0,",
        ]
    )

    by = rules(min_confidence=0.5)
    assert await run_backfill(migrated_database_url, source(text), by) == Accounting(
        applied=1, dead_letters=1
    )


async def test_an_agent_without_kafka_stores_by_the_same_law(migrated_database_url: str) -> None:
    measurement = Measurement(
        pattern_id=an_event(1).pattern_id, quality_score=0.5, confidence=1.0, measurement_timestamp=BASE_TIME
    )

    assert await store_quality_metrics(migrated_database_url, [measurement]) == Accounting(applied=1)
    assert await store_quality_metrics(migrated_database_url, [measurement]) == Accounting(superseded=1)
    older = an_event(1, seconds=-1)
    assert await store_quality_metrics(migrated_database_url, [older]) == Accounting(superseded=1)


async def test_a_shadow_does_not_outlive_its_connection_unnoticed(migrated_database_url: str) -> None:
    store = ShadowStore(migrated_database_url, loads_rows=True)
    async with store.transaction():
        pass
    store.terminate()

    with pytest.raises(ShadowLostError):
        async with store.transaction():
            pass


async def test_status_counts_what_is_there(settings_for: SettingsFactory, broker: Broker) -> None:
    settings = settings_for()
    await send(settings, [an_event(1).to_json(), b"poison", b"\xff"])
    before = await read_status(settings)
    await catch_up(settings)
    after = await read_status(settings)

    assert (before.patterns, before.last_write) == (0, None)
    assert all(partition.next_offset is None for partition in before.partitions)
    if broker.name != "embedded":  # the embedded broker reports the last batch's beginning as the log's end
        assert before.lag == 3
    assert (after.patterns, after.lag, after.gaps) == (1, 0, {})
    assert after.dead_letters == {"invalid_json": 1, "invalid_utf8": 1}
    assert after.revision.up_to_date
    numbers = after.as_dict()
    assert numbers.keys() >= {"lag", "patterns", "dead_letters", "gaps", "partitions"}
    assert numbers["dead_letters"] == 2
