"""The table is the fold: after any history, PostgreSQL holds what the pure core computes.

Each test runs its examples in one event loop on one database, whose tables are emptied before each example.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import decode_batch
from pattern_metrics.consumer.records.folding import by_pattern, fold
from pattern_metrics.consumer.records.record import Record
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.events import (
    ACCEPTED_UNTIL,
    FEW_IDS,
    FEW_PATTERNS,
    FEW_TIMES,
    TopicRecord,
    accepted,
    as_scored,
    colliding_events,
    events,
    measurement,
    value,
)
from tests.support.hostile import HOSTILE

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

REFUSED_VERSION = "refused by a constraint"
REFUSED_ID = FEW_IDS[2]

READ_TABLE = """
    SELECT pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata::text
    FROM pattern_quality_metrics ORDER BY pattern_id
"""
# `xmax` shows that a row was locked only, which costs WAL too.
READ_ROW_VERSIONS = (
    "SELECT pattern_id, xmin::text, xmax::text FROM pattern_quality_metrics ORDER BY pattern_id"
)


@contextmanager
def open_database(
    url: str, setup: str = "SELECT"
) -> Iterator[tuple[Callable[[Coroutine[Any, Any, None]], None], Connection, Store, Store]]:
    """Yield a function that runs a coroutine, a connection for checks, and two stores."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url))
        stores = Store(url), Store(url)
        try:
            runner.run(connection.execute(setup))
            yield runner.run, connection, *stores
        finally:
            for store in stores:
                runner.run(store.close())
            runner.run(connection.close())


async def empty_tables(connection: Connection, old_rows: dict[UUID, datetime]) -> None:
    """Empty the tables, and insert rows from before events had ids."""
    await connection.execute("TRUNCATE pattern_quality_metrics, dead_letters")
    for pattern, time in old_rows.items():
        row = old_event(pattern, time)
        await connection.execute(
            "INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, "
            "measurement_timestamp, metadata) VALUES ($1, $2, $3, $4, $5)",
            *(pattern, row.quality_score, row.confidence, time, row.metadata_json.decode()),
        )


def old_event(pattern: UUID, time: datetime) -> PatternScored:
    """Return the event that such a row counts as: it has the smallest id."""
    return measurement(pattern, time, FEW_IDS[0])


async def ingest(store: Store, records: Sequence[Record]) -> Accounting:
    batch = decode_batch(records, accepted_until=ACCEPTED_UNTIL)
    async with store.transaction() as transaction:
        accounting, dead = await store_batch(transaction, batch)
        await transaction.insert_dead_letters(dead)
    return accounting


async def read_table(connection: Connection) -> dict[UUID, PatternScored]:
    rows = [dict(row) for row in await connection.fetch(READ_TABLE)]
    return {
        row["pattern_id"]: PatternScored(**row | {"metadata": json.loads(row["metadata"])}) for row in rows
    }


def record_of(event: PatternScored) -> TopicRecord:
    """Return the record of an identity: the same each time, as when it is read again."""
    place = FEW_PATTERNS.index(event.pattern_id), FEW_TIMES.index(event.measurement_timestamp)
    offset = (place[0] * len(FEW_TIMES) + place[1]) * len(FEW_IDS) + FEW_IDS.index(event.event_id)
    return TopicRecord(event.to_json(), key=str(event.pattern_id).encode(), offset=offset)


def with_refusals(event: PatternScored) -> PatternScored:
    """Make the database refuse the events of one id."""
    if event.event_id != REFUSED_ID:
        return event
    return event.model_copy(update={"version": REFUSED_VERSION})


class Model:
    """The expected outcome of each record: a table, the dead letters, and three counts per batch."""

    def __init__(self, old_rows: dict[UUID, datetime]) -> None:
        self.table = {pattern: old_event(pattern, time) for pattern, time in old_rows.items()}
        self.dead_letters: set[int] = set()

    def ingest(self, events: list[PatternScored], hostile: int) -> Accounting:
        applied = refused = 0
        for pattern in {event.pattern_id for event in events}:
            ours = [event for event in events if event.pattern_id == pattern]
            for event in sorted(ours, key=lambda one: one.order, reverse=True):
                if pattern in self.table and event.order <= self.table[pattern].order:
                    break
                if event.version != REFUSED_VERSION:
                    self.table[pattern] = event
                    applied += 1
                    break
                refused += 1
                self.dead_letters.add(record_of(event).offset)
        return Accounting(applied, len(events) - applied - refused, refused + hostile)


HOSTILE_RECORDS = [
    TopicRecord(hostile.value, hostile.key, hostile.headers, offset=1_000 + number)
    for number, hostile in enumerate(HOSTILE)
    if len(hostile.value or b"") < 1_000
]

old_tables = st.dictionaries(st.sampled_from(FEW_PATTERNS), st.sampled_from(FEW_TIMES))
measurements = colliding_events.map(with_refusals)
WAYS = st.lists(st.booleans(), min_size=1, max_size=6).map(itertools.cycle)
"""The way in which each batch is merged, whatever the previous batch was."""

batches = st.lists(st.lists(measurements | st.sampled_from(HOSTILE_RECORDS), max_size=10), max_size=6)


def split(batch: list[PatternScored | TopicRecord]) -> tuple[list[PatternScored], list[TopicRecord]]:
    scored = [one for one in batch if isinstance(one, PatternScored)]
    return scored, [one for one in batch if isinstance(one, TopicRecord)]


def records_of(batch: list[PatternScored | TopicRecord]) -> list[TopicRecord]:
    return [record_of(one) if isinstance(one, PatternScored) else one for one in batch]


def test_the_table_is_the_fold_after_each_batch_and_each_record_is_accounted_for(
    any_migrated_database_url: str,
) -> None:
    constraint = f"ALTER TABLE pattern_quality_metrics ADD CHECK (version <> '{REFUSED_VERSION}')"
    with open_database(any_migrated_database_url, constraint) as (run, connection, store, _):

        async def check(old_rows: dict[UUID, datetime], history: list[Any], ways: Iterator[bool]) -> None:
            await empty_tables(connection, old_rows)
            model = Model(old_rows)
            for batch in history:
                scored, hostile = split(batch)
                store.updates_first = next(ways)
                accounting = await ingest(store, records_of(batch))

                assert accounting == model.ingest(scored, len(hostile))
                assert accounting.read == len(batch)
                assert await read_table(connection) == model.table
                model.dead_letters |= {record.offset for record in hostile}

            letters = await connection.fetch('SELECT "offset", key, value FROM dead_letters')
            assert {letter["offset"] for letter in letters} == model.dead_letters
            sent = {record.offset: record for batch in history for record in records_of(batch)}
            assert all(
                (letter["key"], letter["value"]) == (sent[letter["offset"]].key, sent[letter["offset"]].value)
                for letter in letters
            )

        @settings(max_examples=60, deadline=None)
        @given(old_tables, batches, WAYS)
        def examples(old_rows: dict[UUID, datetime], history: list[Any], ways: Iterator[bool]) -> None:
            run(check(old_rows, history, ways))

        examples()


def test_a_replay_of_any_slice_in_any_order_writes_nothing(any_migrated_database_url: str) -> None:
    with open_database(any_migrated_database_url) as (run, connection, store, _):

        async def check(history: list[PatternScored], replay: list[PatternScored], way: bool) -> None:
            await empty_tables(connection, {})
            await ingest(store, [record_of(event) for event in history])
            before = await connection.fetch(READ_ROW_VERSIONS)
            store.updates_first = way

            accounting = await ingest(store, [record_of(event) for event in replay])

            assert accounting == Accounting(superseded=len(replay))
            assert await connection.fetch(READ_ROW_VERSIONS) == before

        @settings(max_examples=30, deadline=None)
        @given(st.lists(colliding_events, min_size=1), st.data())
        def examples(history: list[PatternScored], data: st.DataObject) -> None:
            replay = data.draw(st.lists(st.sampled_from(history), max_size=20))
            run(check(history, replay, way=data.draw(st.booleans())))

        examples()


Histories = tuple[list[list[PatternScored]], list[list[PatternScored]]]


def test_two_writers_at_once_come_to_the_same_table(any_migrated_database_url: str) -> None:
    with open_database(any_migrated_database_url) as (run, connection, one, other):

        async def check(histories: Histories, ways: Iterator[bool]) -> None:
            await empty_tables(connection, {})

            async def write(store: Store, history: list[list[PatternScored]]) -> None:
                for batch in history:
                    store.updates_first = next(ways)
                    await ingest(store, [record_of(event) for event in batch])

            async with asyncio.TaskGroup() as writers:
                writers.create_task(write(one, histories[0]))
                writers.create_task(write(other, histories[1]))

            everything = [event for history in histories for batch in history for event in batch]
            expected = fold((accepted(event) for event in everything), by_pattern)
            assert await read_table(connection) == {
                pattern: as_scored(latest.event) for pattern, latest in expected.items()
            }

        history = st.lists(st.lists(colliding_events, min_size=1, max_size=10), min_size=1, max_size=4)

        @settings(max_examples=30, deadline=None)
        @given(st.tuples(history, history), WAYS)
        def examples(histories: Histories, ways: Iterator[bool]) -> None:
            run(check(histories, ways))

        examples()


def same_json(sent: Any, stored: Any) -> bool:
    """Return whether `jsonb` returned the same. It writes 1e23 as an integer, so floats compare as floats."""
    if isinstance(sent, float):
        return isinstance(stored, (int, float)) and float(stored) == sent
    if isinstance(sent, list):
        return len(sent) == len(stored) and all(map(same_json, sent, stored))
    if isinstance(sent, dict):
        return sent.keys() == stored.keys() and all(same_json(sent[key], stored[key]) for key in sent)
    return type(sent) is type(stored) and bool(sent == stored)


async def assert_stored_as_sent(connection: Connection, store: Store, sent: list[PatternScored]) -> None:
    await empty_tables(connection, {})
    accounting = await ingest(store, [TopicRecord(event.to_json()) for event in sent])
    stored = await read_table(connection)

    latest = {pattern: as_scored(one.event) for pattern, one in fold(map(accepted, sent), by_pattern).items()}
    assert accounting == Accounting(applied=len(latest), superseded=len(sent) - len(latest))
    assert stored.keys() == latest.keys()
    for pattern, event in latest.items():
        plain = {"metadata"}
        assert stored[pattern].model_dump(exclude=plain) == event.model_dump(exclude=plain)
        assert same_json(event.metadata, stored[pattern].metadata)


def test_whatever_is_accepted_can_be_stored_and_reads_back_equal(any_migrated_database_url: str) -> None:
    with open_database(any_migrated_database_url) as (run, connection, store, _):

        @settings(max_examples=60, deadline=None)
        @given(st.lists(events, max_size=4))
        def examples(sent: list[PatternScored]) -> None:
            run(assert_stored_as_sent(connection, store, sent))

        examples()


def test_the_earliest_time_is_stored_as_that_time_or_refused(any_migrated_database_url: str) -> None:
    """It is the unset time of a Go program, which the driver takes for `-infinity`."""
    record = TopicRecord(value(measurement_timestamp="0001-01-01T00:00:00Z"))
    with open_database(any_migrated_database_url) as (run, connection, store, _):

        async def check() -> None:
            accounting = await ingest(store, [record])
            stored = await connection.fetch("SELECT measurement_timestamp::text FROM pattern_quality_metrics")

            assert [tuple(row) for row in stored] == [("0001-01-01 00:00:00+00",)] * accounting.applied

        run(check())
