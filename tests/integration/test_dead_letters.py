"""The outcome of dead letters: on real PostgreSQL, and on a real broker if the topic matters."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from itertools import product

import asyncpg
import pytest

from pattern_metrics.consumer.dead_letters import redrive as dead_letters
from pattern_metrics.consumer.dead_letters.letters import discard
from pattern_metrics.consumer.dead_letters.redrive import redrive
from pattern_metrics.consumer.dead_letters.selection import Coordinates, Selection
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.operations.verification import compare_with_topic
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import decode_batch
from pattern_metrics.schemas.pattern_retired import parse_either
from tests.support.batches import write
from tests.support.events import NOW
from tests.support.letters import (
    ACCEPTED_UNTIL,
    a_record,
    add_letters,
    connected,
    letters,
    rows,
    run_redrive,
    run_sql,
    statuses,
)
from tests.support.pipeline import (
    SettingsFactory,
    an_event,
    catch_up,
    execute,
    expected_table,
    fetch,
    send,
    table,
)
from tests.support.waiting import eventually


async def test_letters_that_are_valid_now_are_stored_and_the_others_get_todays_reason(
    any_migrated_database_url: str,
) -> None:
    url = any_migrated_database_url
    newest = an_event(1, seconds=2)
    await add_letters(
        url,
        [
            a_record(0, newest.to_json()),
            a_record(1, an_event(1, seconds=1).to_json()),
            a_record(2, b"nonsense"),
            a_record(3, None, key=b"k"),
            a_record(4, an_event(2).to_json()),
        ],
    )

    assert await run_redrive(url) == Accounting(applied=2, superseded=1, dead_letters=2)

    found = await letters(url)
    assert [letter.status for letter in found] == ["redriven", "redriven", "open", "open", "redriven"]
    assert [letter.reason for letter in found[2:4]] == ["invalid_json", "tombstone"]
    assert "as it was" not in {letter.detail for letter in found[2:4]}
    assert all((letter.resolved_at is None) == (letter.status == "open") for letter in found)
    stored = await rows(url, "SELECT pattern_id, event_id FROM pattern_quality_metrics ORDER BY pattern_id")
    assert stored[0] == (newest.pattern_id, newest.event_id)
    assert len(stored) == 2
    assert await run_redrive(url) == Accounting(dead_letters=2)
    assert await letters(url) == found


async def test_a_letter_that_is_refused_as_before_costs_no_write(migrated_database_url: str) -> None:
    await add_letters(migrated_database_url, [a_record(0, b"nonsense"), a_record(1, b"[]")])
    await run_redrive(migrated_database_url)
    versions = "SELECT xmin::text, * FROM dead_letters"
    before = await rows(migrated_database_url, versions)

    assert await run_redrive(migrated_database_url) == Accounting(dead_letters=2)

    # A row that is only locked keeps its xmin.
    assert await rows(migrated_database_url, versions) == before


async def test_a_letter_that_the_database_refuses_stays_open_until_it_is_fixed(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    await run_sql(url, "ALTER TABLE pattern_quality_metrics ADD CONSTRAINT rule CHECK (quality_score < 0.9)")
    await add_letters(url, [a_record(n, an_event(n, score=n / 10).to_json()) for n in range(11)])

    assert await run_redrive(url) == Accounting(applied=9, dead_letters=2)
    assert {letter.detail for letter in await letters(url, Selection())} != {"as it was"}
    await run_sql(url, "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT rule")
    assert await run_redrive(url) == Accounting(applied=2)
    assert set((await statuses(url)).values()) == {"redriven"}


async def test_headers_come_back_as_far_as_decoding_needs_them(migrated_database_url: str) -> None:
    envelope = json.dumps({"specversion": "1.0", "data": json.loads(an_event(1).to_json())}).encode()
    headers = (("Content-Type", b"application/cloudevents+json"), ("raw", b"\xff\0"), ("none", None))
    await add_letters(migrated_database_url, [a_record(0, envelope, headers=headers)])

    assert (await letters(migrated_database_url))[0].record.headers == list(headers)
    assert await run_redrive(migrated_database_url) == Accounting(applied=1)


async def test_a_line_of_a_backfill_is_decoded_by_the_rules_of_a_file(migrated_database_url: str) -> None:
    fields = json.loads(an_event(1).to_json())
    del fields["event_id"]
    line = json.dumps(fields).encode()
    await add_letters(
        migrated_database_url,
        [a_record(1, line, "file:scores.jsonl"), a_record(2, b"{", "file:scores.jsonl"), a_record(1, line)],
    )

    assert await run_redrive(migrated_database_url) == Accounting(applied=1, dead_letters=2)
    event = parse_either(line, accepted_until=ACCEPTED_UNTIL, is_line=True)
    assert await rows(migrated_database_url, "SELECT event_id FROM pattern_quality_metrics") == [
        (event.event_id,)
    ]


@pytest.mark.parametrize(("bytes_max", "pages"), [(1, 16), (10**9, 6)])
async def test_pages_leave_no_letter_out_and_take_none_twice(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch, bytes_max: int, pages: int
) -> None:
    monkeypatch.setattr(dead_letters, "PAGE_LETTERS_MAX", 3)
    monkeypatch.setattr(dead_letters, "PAGE_BYTES_MAX", bytes_max)
    records = [
        a_record(
            offset,
            b"{}" if offset == 2 else an_event(place * 4 + offset).to_json(),
            topic,
            partition=partition,
        )
        for place, (topic, partition) in enumerate(product(("a", "b"), (0, 1)))
        for offset in range(4)
    ]
    await add_letters(migrated_database_url, records)

    steps = list[int]()

    accounting = await redrive(
        Store(migrated_database_url),
        Selection(),
        accepted_until=lambda _: ACCEPTED_UNTIL,
        advance=lambda done, _total: steps.append(done),
    )

    assert accounting == Accounting(applied=12, dead_letters=4)
    assert (len(steps), steps[-1]) == (pages, len(records))


async def test_two_redrives_at_once_share_the_letters(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "PAGE_LETTERS_MAX", 7)
    count = 200
    await add_letters(migrated_database_url, [a_record(n, an_event(n % 50).to_json()) for n in range(count)])

    first, second = await asyncio.gather(*(run_redrive(migrated_database_url) for _ in range(2)))

    total = first + second
    assert total.read == count
    assert set((await statuses(migrated_database_url)).values()) == {"redriven"}
    assert await rows(migrated_database_url, "SELECT count(*) FROM pattern_quality_metrics") == [(50,)]


async def test_redrive_skips_letters_that_another_one_locked_and_discard_waits(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    await add_letters(url, [a_record(n, an_event(n).to_json()) for n in range(2)])
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with connected(url) as other:
        async with other.transaction():
            await other.execute('SELECT FROM dead_letters WHERE "offset" = 0 FOR UPDATE')
            assert await run_redrive(url) == Accounting(applied=1)
            discarding = asyncio.create_task(discard(url, Selection(), "late"))

            async def is_waiting() -> bool:
                return await rows(url, waiting) == [(1,)]

            await eventually(is_waiting)
            await other.execute(
                "UPDATE dead_letters SET status = 'redriven', resolved_at = now() WHERE \"offset\" = 0"
            )
        assert await discarding == 0
    assert await statuses(url) == {0: "redriven", 1: "redriven"}


async def test_a_redrive_beside_a_worker_with_the_same_records_ends_with_the_fold(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker still refuses half of them, and so meets letters that are being marked."""
    url = migrated_database_url
    monkeypatch.setattr(dead_letters, "PAGE_LETTERS_MAX", 7)
    events = [an_event(number % 20, seconds=number % 2 * 3600 + number) for number in range(300)]
    records = [a_record(offset, event.to_json()) for offset, event in enumerate(events)]
    await add_letters(url, records)

    async def replay() -> None:
        store = Store(url)
        for start in range(0, len(records), 11):
            batch = decode_batch(records[start : start + 11], accepted_until=NOW + timedelta(seconds=1800))
            async with store.transaction() as transaction:
                await store_batch(transaction, batch)
        await store.close()

    accounting, *_ = await asyncio.gather(run_redrive(url), replay(), replay())

    assert accounting.read == len(records)
    assert accounting.dead_letters == 0
    assert set((await statuses(url)).values()) == {"redriven"}
    stored = await rows(
        url, "SELECT pattern_id, measurement_timestamp, event_id, quality_score FROM pattern_quality_metrics"
    )
    assert {row[0]: row[1:] for row in stored} == expected_table(events)


async def test_a_page_that_fails_is_undone_and_the_pages_before_it_stay(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = migrated_database_url
    monkeypatch.setattr(dead_letters, "PAGE_LETTERS_MAX", 2)
    await add_letters(url, [a_record(n, an_event(n).to_json()) for n in range(6)])
    await run_sql(
        url,
        """
        CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';
        CREATE TRIGGER hang_up BEFORE UPDATE ON dead_letters
            FOR EACH ROW WHEN (NEW."offset" = 3) EXECUTE FUNCTION hang_up();
        """,
    )

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await run_redrive(url)

    assert await statuses(url) == dict.fromkeys((0, 1), "redriven") | dict.fromkeys(range(2, 6), "open")
    assert await rows(url, "SELECT count(*) FROM pattern_quality_metrics") == [(2,)]
    await run_sql(url, "DROP TRIGGER hang_up ON dead_letters")
    assert await run_redrive(url) == Accounting(applied=4)


async def test_a_dead_letter_of_the_topic_is_redriven_and_a_replay_changes_nothing(
    settings_for: SettingsFactory,
) -> None:
    """End to end: refused by a wrong clock, and accepted an hour later."""
    settings = settings_for(max_clock_skew_seconds=0)
    url = settings.database_url.get_secret_value()
    ahead = an_event(1, measurement_timestamp=datetime.now(UTC) + timedelta(hours=1))
    await send(settings, [an_event(1).to_json(), ahead.to_json(), b"poison", None])
    assert await catch_up(settings) == Accounting(applied=1, dead_letters=3)

    accepted_until = datetime.now(UTC) + timedelta(hours=2)
    selection = Selection(topic=settings.kafka_topic)
    accounting = await redrive(
        Store(url), selection, accepted_until=lambda _: accepted_until, advance=lambda _done, _total: None
    )
    replay = settings.model_copy(update={"kafka_group_id": str(uuid.uuid4())})
    replayed = await catch_up(replay)

    assert accounting == Accounting(applied=1, dead_letters=2)
    assert {key: row[1] for key, row in (await table(settings)).items()} == {ahead.pattern_id: ahead.event_id}
    assert replayed == Accounting(superseded=1, dead_letters=3)
    found = await fetch(settings, 'SELECT reason, status FROM dead_letters ORDER BY "offset"')
    assert [tuple(row) for row in found] == [
        ("timestamp_in_future", "redriven"),
        ("invalid_json", "open"),
        ("tombstone", "open"),
    ]


async def test_a_redriven_record_is_part_of_the_fold_again(settings_for: SettingsFactory) -> None:
    settings = settings_for()
    await execute(
        settings, "ALTER TABLE pattern_quality_metrics ADD CONSTRAINT r CHECK (quality_score < 0.9)"
    )
    await send(settings, [an_event(1, score=0.95).to_json(), an_event(2, score=0.95).to_json()])
    await catch_up(settings)
    await execute(settings, "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT r")
    url = settings.database_url.get_secret_value()
    await discard(url, Selection(coordinates=[Coordinates(settings.kafka_topic, 0, 1)]), "not wanted")
    await run_redrive(url)

    comparison = await compare_with_topic(settings, lambda _done, _total: None)

    assert comparison.counts == {}
    assert comparison.accounting == Accounting(applied=1, dead_letters=1)


async def test_an_earlier_worker_still_stores_and_finds_dead_letters(
    migrated_database_url: str,
) -> None:
    """Its INSERT names no column of 016. A resolved letter is not opened again."""
    url = migrated_database_url
    await add_letters(url, [a_record(0, an_event(1).to_json()), a_record(1, b"nonsense")])
    await run_redrive(url)
    await discard(url, Selection(), "noise")
    before = await letters(url)
    records = [a_record(0, an_event(1).to_json()), a_record(1, b"nonsense")]

    store = Store(url)
    await write(store, decode_batch(records, accepted_until=ACCEPTED_UNTIL))
    await store.close()
    await add_letters(url, records)

    assert await letters(url) == before
    assert [letter.status for letter in before] == ["redriven", "discarded"]
