"""One batch, one transaction: on each available PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose
from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.postgres.connection import connected
from pattern_metrics.consumer.postgres.store import ProgressLostError, Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import decode_batch
from pattern_metrics.consumer.records.offsets import NO_TOPIC_ID, OffsetRange, Progress, Start
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.batches import FUTURE, a_batch, costs_next_to_no_wal, write
from tests.support.events import TopicRecord
from tests.support.pipeline import BASE_TIME, an_event
from tests.support.waiting import eventually


@pytest.fixture
async def store(any_migrated_database_url: str) -> AsyncIterator[Store]:
    store = Store(any_migrated_database_url)
    yield store
    await store.close()


async def test_an_older_measurement_that_arrives_later_changes_no_row(store: Store, database: Any) -> None:
    await write(store, a_batch([an_event(1, seconds=10, score=0.9)]))

    accounting = await write(store, a_batch([an_event(1, seconds=9, score=0.1)]))

    assert accounting == Accounting(superseded=1)
    assert await database.fetchval("SELECT quality_score FROM pattern_quality_metrics") == 0.9


async def test_a_row_without_an_event_id_yields_to_any_event_of_the_same_instant(
    store: Store, database: Any
) -> None:
    await database.execute(
        "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, measurement_timestamp) "
        "VALUES ($1, 0.1, 1, $2)",
        an_event(1).pattern_id,
        BASE_TIME,
    )

    accounting = await write(store, a_batch([an_event(1, event=1, score=0.9)]))

    assert accounting == Accounting(applied=1)


@pytest.mark.parametrize("updates_first", [False, True])
async def test_a_batch_that_changes_nothing_writes_no_row_and_next_to_no_wal(
    store: Store, database: Any, updates_first: bool
) -> None:
    batch = a_batch(an_event(pattern, event=pattern) for pattern in range(2000))
    await write(store, batch)
    accountings = set[Accounting]()

    async def write_again() -> None:
        store.updates_first = updates_first  # the store turns this off after a batch without newer events
        accountings.add(await write(store, batch))

    rows = "SELECT pattern_id, xmin::text, ctid::text, updated_at FROM pattern_quality_metrics ORDER BY 1"
    before = await database.fetch(rows)

    assert await costs_next_to_no_wal(write_again, 2000, database)
    assert accountings == {Accounting(superseded=2000)}
    assert await database.fetch(rows) == before


async def test_a_constraint_that_is_deferred_to_the_commit_refuses_its_row_alone_too(
    store: Store, database: Any
) -> None:
    await database.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.version = 'banned' THEN RAISE EXCEPTION 'banned' USING ERRCODE = '23514'; END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON pattern_quality_metrics
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()
        """
    )
    events = [an_event(pattern, version="banned" if pattern == 5 else "1") for pattern in range(10)]

    assert await write(store, a_batch(events)) == Accounting(applied=9, dead_letters=1)
    assert await database.fetchval("SELECT count(*) FROM pattern_quality_metrics") == 9


async def test_a_row_that_a_constraint_refuses_becomes_the_only_dead_letter(
    store: Store, database: Any
) -> None:
    await database.execute(
        "ALTER TABLE pattern_quality_metrics ADD CONSTRAINT house_rule CHECK (version <> 'banned')"
    )
    events = [
        an_event(pattern, version="banned" if pattern in {3, 50, 51, 99} else "1") for pattern in range(100)
    ]
    batch = a_batch([*events, b"not json"])

    accounting = await write(store, batch)

    letters = await database.fetch('SELECT "offset", reason, detail, value FROM dead_letters ORDER BY 1')
    assert accounting == Accounting(applied=96, dead_letters=5)
    assert [(letter["offset"], letter["reason"]) for letter in letters] == [
        (3, RejectReason.REFUSED_BY_DATABASE),
        (50, RejectReason.REFUSED_BY_DATABASE),
        (51, RejectReason.REFUSED_BY_DATABASE),
        (99, RejectReason.REFUSED_BY_DATABASE),
        (100, RejectReason.INVALID_JSON),
    ]
    assert letters[0]["value"] == events[3].to_json()
    assert "house_rule" in letters[0]["detail"]
    assert await database.fetchval("SELECT count(*) FROM pattern_quality_metrics") == 96


async def test_however_many_rows_are_refused_the_statements_are_few(store: Store, database: Any) -> None:
    """Bisecting took several statements per refused row, and delayed its partitions for minutes."""
    await database.execute("ALTER TABLE pattern_quality_metrics ADD CHECK (version <> 'banned')")
    events = [an_event(pattern, version="banned" if pattern % 3 else "1") for pattern in range(3000)]

    queries = list[str]()
    async with store.transaction() as transaction:
        with transaction.connection.query_logger(lambda query: queries.append(query.query)):
            accounting, dead = await store_batch(transaction, a_batch(events))
            await transaction.insert_dead_letters(dead)

    assert accounting == Accounting(applied=1000, dead_letters=2000)
    assert len(queries) < 60, queries


async def test_a_row_that_a_trigger_leaves_out_is_not_counted_as_applied(store: Store, database: Any) -> None:
    await database.execute(
        """
        CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.quality_score < 0.2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER leave_out BEFORE INSERT OR UPDATE ON pattern_quality_metrics
        FOR EACH ROW EXECUTE FUNCTION leave_out()
        """
    )

    accounting = await write(store, a_batch([an_event(1, score=0.1), an_event(2, score=0.8)]))

    assert accounting == Accounting(applied=1, superseded=1)


async def test_a_trigger_of_the_operator_that_raises_refuses_its_row_alone(
    store: Store, database: Any
) -> None:
    await database.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.quality_score < 0.2 THEN RAISE EXCEPTION 'too poor'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON pattern_quality_metrics
        FOR EACH ROW EXECUTE FUNCTION refuse()
        """
    )

    accounting = await write(store, a_batch([an_event(1, score=0.1), an_event(2, score=0.8)]))

    assert accounting == Accounting(applied=1, dead_letters=1)


@pytest.mark.parametrize(
    "errcode", ["ZZ001", "PM999", "38000", "P0004", "21000", "2F005", "H0001", "EM001", "01000", "02000"]
)
async def test_an_sqlstate_of_the_operators_own_refuses_its_row_alone(
    store: Store, database: Any, errcode: str
) -> None:
    await database.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.quality_score < 0.2 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{errcode}'; END IF;
        RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON pattern_quality_metrics
        FOR EACH ROW EXECUTE FUNCTION refuse()
        """
    )

    accounting = await write(store, a_batch([an_event(1, score=0.1), an_event(2, score=0.8)]))

    assert accounting == Accounting(applied=1, dead_letters=1)


@pytest.mark.parametrize("column", ["measurement_timestamp", "event_id"])
async def test_a_null_that_others_wrote_counts_as_the_smallest_and_pins_no_row(
    store: Store, database: Any, column: str
) -> None:
    await write(store, a_batch([an_event(1, event=5)]))
    await database.execute(
        f"""
        ALTER TABLE pattern_quality_metrics ALTER COLUMN {column} DROP NOT NULL;
        UPDATE pattern_quality_metrics SET {column} = NULL
        """
    )

    assert await write(store, a_batch([an_event(1, event=1)])) == Accounting(applied=1)
    assert await write(store, a_batch([an_event(1, event=1)])) == Accounting(superseded=1)


@pytest.mark.parametrize(
    ("time", "fate"),
    [
        ("infinity", Accounting(superseded=1)),
        ("294276-12-31Z", Accounting(superseded=1)),
        ("0044-03-15 12:00Z BC", Accounting(applied=1)),
        ("-infinity", Accounting(applied=1)),
    ],
)
async def test_a_time_of_a_row_that_python_cannot_hold_is_compared_as_what_it_is(
    store: Store, database: Any, time: str, fate: Accounting
) -> None:
    await write(store, a_batch([an_event(1)]))
    await database.execute(f"UPDATE pattern_quality_metrics SET measurement_timestamp = '{time}'")

    assert await write(store, a_batch([an_event(1, seconds=1), an_event(2)])) == fate + Accounting(applied=1)


async def test_if_the_latest_event_of_a_pattern_is_refused_the_next_latest_is_stored(
    store: Store, database: Any
) -> None:
    await database.execute(
        "ALTER TABLE pattern_quality_metrics ADD CONSTRAINT house_rule CHECK (version <> 'banned')"
    )
    events = [
        an_event(1, seconds=1, score=0.1),
        an_event(1, seconds=2, score=0.2),
        an_event(1, seconds=3, version="banned"),
        an_event(1, seconds=4, version="banned"),
        an_event(2, seconds=1),
    ]

    accounting = await write(store, a_batch(events))

    assert accounting == Accounting(applied=2, superseded=1, dead_letters=2)
    assert (
        await database.fetchval(
            "SELECT quality_score FROM pattern_quality_metrics WHERE pattern_id = $1", events[0].pattern_id
        )
        == 0.2
    )


async def test_a_dead_letter_keeps_its_exact_bytes_and_a_replay_adds_none(
    store: Store, database: Any
) -> None:
    record = TopicRecord(
        b"\x00\xff poison \x00",
        key=b"\xfe\x00",
        headers=(("plain", b"text"), ("bin\0ary", b"\xff\x00"), ("plain", None), ("\\xff", b"")),
        offset=7,
        topic="t",
    )
    batch = decode_batch([record], accepted_until=FUTURE)

    for _ in range(2):
        assert await write(store, batch) == Accounting(dead_letters=1)

    [letter] = await database.fetch("SELECT * FROM dead_letters")
    assert (letter["key"], letter["value"]) == (record.key, record.value)
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("t", 0, 7)
    assert letter["record_timestamp"] == record.timestamp
    assert "text" in letter["headers"]
    assert "ff00" in letter["headers"]


async def test_a_topic_recreated_under_the_same_name_hides_no_dead_letter(
    store: Store, database: Any
) -> None:
    for timestamp in (1, 2):
        record = TopicRecord(b"poison", timestamp=timestamp)
        await write(store, decode_batch([record], accepted_until=FUTURE))

    assert await database.fetchval("SELECT count(*) FROM dead_letters") == 2


async def test_progress_moves_with_the_batch_or_not_at_all(store: Store, database: Any) -> None:
    async with store.transaction() as transaction:
        await transaction.begin_at("g", {("t", 0): Start(0)})

    async def write_half() -> None:
        async with store.transaction() as transaction:
            await store_batch(transaction, a_batch([an_event(1)]))
            await transaction.advance_progress("g", {("t", 0): OffsetRange(0, 1)})
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await write_half()

    assert await database.fetchval("SELECT next_offset FROM ingest_progress") == 0
    assert await database.fetchval("SELECT count(*) FROM pattern_quality_metrics") == 0


async def test_a_batch_is_refused_where_the_database_lacks_what_lies_before_it(
    store: Store, database: Any
) -> None:
    """After a restore, or a failover with loss, nothing must be written past the hole."""
    async with store.transaction() as transaction:
        await transaction.begin_at("g", {("t", 0): Start(10), ("t", 1): Start(10)})

    async def write_from(start: int) -> None:
        async with store.transaction() as transaction:
            await store_batch(transaction, a_batch([an_event(1)]))
            await transaction.advance_progress("g", {("t", 1): OffsetRange(start, start + 1)})

    with pytest.raises(ProgressLostError):
        await write_from(11)
    assert await database.fetchval("SELECT count(*) FROM pattern_quality_metrics") == 0
    await write_from(10)
    await database.execute("DELETE FROM ingest_progress")
    with pytest.raises(ProgressLostError):
        await write_from(11)


async def test_a_batch_is_refused_if_the_database_went_back_to_an_earlier_topic(
    store: Store,
) -> None:
    """Its progress may be beyond the batch, but says nothing about this topic."""
    old, new = uuid4(), uuid4()

    async def write(offsets: OffsetRange) -> None:
        async with store.transaction() as transaction:
            await transaction.advance_progress("g", {("t", 0): offsets})

    async def begin_at(offset: int, topic_id: UUID) -> None:
        async with store.transaction() as transaction:
            await transaction.begin_at("g", {("t", 0): Start(offset)}, topic_id)

    await begin_at(100, old)
    with pytest.raises(ProgressLostError):
        await write(OffsetRange(5, 9, new))
    await begin_at(5, new)
    await write(OffsetRange(5, 9, new, leader_epoch=3))
    await begin_at(7, NO_TOPIC_ID)  # like a worker whose broker gives topics no ID

    async with store.transaction() as transaction:
        assert await transaction.progress("g", "t", new) == {("t", 0): Progress(9, 3)}
        assert await transaction.progress("g", "t", old) == {("t", 0): Progress(100)}
        assert await transaction.progress("g", "t", NO_TOPIC_ID) == {("t", 0): Progress(7)}
        assert await transaction.known_by_another_id("g", "t", uuid4()) == {("t", 0)}
        assert await transaction.known_by_another_id("g", "t", NO_TOPIC_ID) == set()
        assert await transaction.known_by_another_id("another", "t", new) == set()


async def test_a_worker_that_lost_its_partition_does_not_set_the_progress_back(
    store: Store, database: Any
) -> None:
    async with store.transaction() as transaction:
        await transaction.begin_at("g", {("t", 0): Start(0)})
    for offsets in (OffsetRange(0, 100), OffsetRange(0, 50)):
        async with store.transaction() as transaction:
            await transaction.advance_progress("g", {("t", 0): offsets})

    assert await database.fetchval("SELECT next_offset FROM ingest_progress") == 100


async def test_a_gap_that_is_noticed_again_grows_and_is_not_counted_twice(
    store: Store, database: Any
) -> None:
    for beginning in (500, 520, 510):
        async with store.transaction() as transaction:
            await transaction.begin_at("g", {("t", 0): Start(beginning, OffsetRange(100, beginning))})

    rows = await database.fetch("SELECT first_offset, last_offset FROM ingest_gaps")
    assert [tuple(row) for row in rows] == [(100, 519)]


async def test_two_writers_of_the_same_patterns_neither_deadlock_nor_let_a_row_go_back(
    any_migrated_database_url: str, database: Any
) -> None:
    await database.execute(
        """
        CREATE TABLE went_back (pattern_id uuid);
        CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (NEW.measurement_timestamp, NEW.event_id) <= (OLD.measurement_timestamp, OLD.event_id) THEN
                INSERT INTO went_back VALUES (NEW.pattern_id);
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER watch AFTER UPDATE ON pattern_quality_metrics FOR EACH ROW EXECUTE FUNCTION watch()
        """
    )

    async def write_all(direction: int) -> Accounting:
        store, total = Store(any_migrated_database_url), Accounting()
        for step in range(20)[::direction]:
            patterns = range(300)[::direction]
            total += await write(
                store, a_batch(an_event(pattern, seconds=step, event=step) for pattern in patterns)
            )
        await store.close()
        return total

    up, down = await asyncio.gather(write_all(1), write_all(-1))

    assert (up + down).read == 2 * 20 * 300
    assert await database.fetchval("SELECT count(*) FROM went_back") == 0
    assert await database.fetchval("SELECT min(measurement_timestamp) FROM pattern_quality_metrics") == (
        an_event(1, seconds=19).measurement_timestamp
    )


LOCK_OLD = f"SELECT 1 FROM pattern_quality_metrics WHERE pattern_id = '{an_event(2).pattern_id}' FOR UPDATE"
INSERT_NEW = f"""
INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, measurement_timestamp)
VALUES ('{an_event(1).pattern_id}', 0.1, 1, '{BASE_TIME}')
"""


@pytest.mark.parametrize(
    ("updates_first", "first", "second"),
    [
        pytest.param(False, LOCK_OLD, INSERT_NEW, id="asks first"),
        pytest.param(True, INSERT_NEW, LOCK_OLD, id="updates first"),
    ],
)
async def test_a_writer_in_whose_way_another_stands_steps_back_before_the_two_deadlock(
    store: Store, database: Any, any_migrated_database_url: str, updates_first: bool, first: str, second: str
) -> None:
    """The other writer takes the old pattern and the new one in the opposite order."""
    await write(store, a_batch([an_event(2)]))
    store.updates_first = updates_first
    newer = a_batch([an_event(1, seconds=5), an_event(2, seconds=5)])
    async with connected(any_migrated_database_url) as other:
        await other.execute("SET deadlock_timeout = '30s'")  # on a slow machine, too, it is not the victim
        begun = other.transaction()
        await begun.start()
        await other.execute(first)
        writing = asyncio.create_task(write(store, newer))
        waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"
        await eventually(lambda: database.fetchval(waits))
        await other.execute(second)
        await begun.commit()

    assert await writing == Accounting(applied=2)
    assert await database.fetchval("SELECT min(measurement_timestamp) FROM pattern_quality_metrics") == (
        an_event(1, seconds=5).measurement_timestamp
    )


async def test_a_batch_updates_first_only_if_the_last_one_updated_every_row(
    store: Store,
) -> None:
    async def is_next_after(*events: PatternScored) -> bool:
        await write(store, a_batch(events))
        return store.updates_first

    assert not await is_next_after(an_event(1), an_event(2))
    assert await is_next_after(an_event(1, seconds=1), an_event(2, seconds=1))
    assert await is_next_after(an_event(1, seconds=2))
    assert not await is_next_after(an_event(1, seconds=3), an_event(3))
    assert await is_next_after(an_event(3, seconds=3))
    assert not await is_next_after(an_event(1, seconds=1), an_event(2, seconds=4))
    assert not await is_next_after(an_event(1, seconds=6), an_event(4))


async def test_a_table_that_takes_no_copy_takes_its_rows_nevertheless(
    any_migrated_database_url: str, database: Any
) -> None:
    login = f"writer_{uuid4().hex[:8]}"
    await database.execute(
        f"""
        CREATE ROLE {login} LOGIN;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {login};
        ALTER TABLE pattern_quality_metrics ENABLE ROW LEVEL SECURITY;
        CREATE POLICY everything ON pattern_quality_metrics TO {login} USING (true) WITH CHECK (true)
        """
    )
    store = Store(any_migrated_database_url.replace("postgres@", f"{login}@"))
    try:
        assert await write(store, a_batch([an_event(1), an_event(2)])) == Accounting(applied=2)
    finally:
        await store.close()
        await database.execute(f"DROP OWNED BY {login}; DROP ROLE {login}")


async def test_a_connection_that_the_server_ended_is_replaced_by_the_next_transaction(
    store: Store, database: Any
) -> None:
    await write(store, a_batch([an_event(1)]))
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'pattern-metrics' AND datname = current_database()"
    )

    try:
        accounting = await write(store, a_batch([an_event(2)]))
    except Exception as failure:  # noqa: BLE001 - the error, if any, depends on what asyncpg has noticed
        assert diagnose(failure).fault is Fault.TRANSIENT  # noqa: PT017
        accounting = await write(store, a_batch([an_event(2)]))
    assert accounting == Accounting(applied=1)
