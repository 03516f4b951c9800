"""A retirement is an event in the order of its pattern: the two tables equal the model, whatever happens.

Each test runs its examples in one event loop on one database, whose tables are emptied before each example.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.schemas.pattern_retired import PatternEvent, PatternRetired
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.properties.test_fold_equals_sql import WAYS, Connection, ingest, open_database
from tests.support.events import FEW_IDS, FEW_PATTERNS, FEW_TIMES, TopicRecord, colliding_events, measurement
from tests.support.waiting import eventually

READ_STATES = """
    SELECT
        ARRAY(SELECT (pattern_id, measurement_timestamp, event_id) FROM pattern_quality_metrics) AS living,
        ARRAY(SELECT (pattern_id, retired_at, event_id, reason, retirement_metadata::text,
                      measurement_timestamp, last_event_id) FROM pattern_quality_retired) AS retired
"""
READ_HISTORY = "SELECT pattern_id, measurement_timestamp, event_id, reason FROM pattern_quality_history"
READ_ROW_VERSIONS = """
    SELECT pattern_id, xmin::text, xmax::text FROM pattern_quality_metrics
    UNION ALL SELECT pattern_id, xmin::text, xmax::text FROM pattern_quality_retired
    ORDER BY 1
"""


def retirement(pattern: UUID, time: datetime, number: int) -> PatternRetired:
    """Return the retirement of this identity. No measurement has its id."""
    return PatternRetired(
        event_id=UUID(int=2**127 + 1 if number else 2),
        pattern_id=pattern,
        retired_at=time,
        reason=f"reason {number}" if number else None,
        metadata={"number": number},
    )


retirements = st.builds(
    retirement, st.sampled_from(FEW_PATTERNS), st.sampled_from(FEW_TIMES), st.integers(0, 1)
)
events = colliding_events | retirements
batches = st.lists(st.lists(events, max_size=8), max_size=5)

States: TypeAlias = tuple[set[Any], set[Any]]


def model(every: Sequence[PatternEvent]) -> States:
    """Return the expected states: the greatest event of a pattern decides."""
    living, retired = set[Any](), set[Any]()
    for pattern in {event.pattern_id for event in every}:
        ours = sorted((event for event in every if event.pattern_id == pattern), key=lambda one: one.order)
        last = next((event for event in reversed(ours) if isinstance(event, PatternScored)), None)
        winner = ours[-1]
        if isinstance(winner, PatternScored):
            living.add((pattern, *winner.order))
        else:
            content = (winner.reason, f'{{"number": {winner.metadata["number"]}}}')
            retired.add((pattern, *winner.order, *content, *(last.order if last else (None, None))))
    return living, retired


async def read_states(connection: Connection) -> States:
    [row] = await connection.fetch(READ_STATES)
    return set(map(tuple, row["living"])), set(map(tuple, row["retired"]))


async def empty(connection: Connection) -> None:
    await connection.execute(
        "TRUNCATE pattern_quality_metrics, pattern_quality_retired, pattern_quality_history, dead_letters"
    )


def records_of(batch: Sequence[PatternEvent]) -> list[TopicRecord]:
    return [TopicRecord(event.to_json(), offset=offset) for offset, event in enumerate(batch)]


@pytest.mark.parametrize("keeps_history", [False, True])
def test_the_tables_equal_the_model_after_each_batch(
    any_migrated_database_url: str, *, keeps_history: bool
) -> None:
    with open_database(any_migrated_database_url) as (run, connection, plain, _):
        store = Store(any_migrated_database_url, keeps_history=True) if keeps_history else plain

        async def check(history: list[list[PatternEvent]], ways: Iterator[bool]) -> None:
            await empty(connection)
            every = list[PatternEvent]()
            for batch in history:
                every += batch
                store.updates_first = next(ways)
                accounting = await ingest(store, records_of(batch))

                assert accounting.read == len(batch)
                assert accounting.dead_letters == 0
                assert await read_states(connection) == model(every)
            if keeps_history:
                points = {(event.pattern_id, event.measurement_timestamp): event for event in every}
                for event in every:
                    place = event.pattern_id, event.measurement_timestamp
                    points[place] = max(points[place], event, key=lambda one: one.order)
                assert {tuple(row) for row in await connection.fetch(READ_HISTORY)} == {
                    (*place, event.event_id, getattr(event, "reason", None))
                    for place, event in points.items()
                }

        @settings(max_examples=60, deadline=None)
        @given(batches, WAYS)
        def examples(history: list[list[PatternEvent]], ways: Iterator[bool]) -> None:
            run(check(history, ways))

        examples()
        if keeps_history:
            run(store.close())


def test_a_replay_of_any_slice_in_any_order_changes_no_row(any_migrated_database_url: str) -> None:
    with open_database(any_migrated_database_url) as (run, connection, store, _):

        async def check(
            history: list[PatternEvent], replay: list[list[PatternEvent]], ways: Iterator[bool]
        ) -> None:
            await empty(connection)
            await ingest(store, records_of(history))
            before = await connection.fetch(READ_ROW_VERSIONS)

            for batch in replay:
                store.updates_first = next(ways)
                assert await ingest(store, records_of(batch)) == Accounting(superseded=len(batch))

            assert await connection.fetch(READ_ROW_VERSIONS) == before

        @settings(max_examples=40, deadline=None)
        @given(st.lists(events, min_size=1, max_size=12), st.data(), WAYS)
        def examples(history: list[PatternEvent], data: st.DataObject, ways: Iterator[bool]) -> None:
            slices = st.lists(st.lists(st.sampled_from(history), max_size=8), max_size=3)
            run(check(history, data.draw(slices), ways))

        examples()


Histories: TypeAlias = tuple[list[list[PatternEvent]], list[list[PatternEvent]]]


def test_two_writers_at_once_come_to_the_same_tables(any_migrated_database_url: str) -> None:
    with open_database(any_migrated_database_url) as (run, connection, one, other):

        async def check(histories: Histories, ways: Iterator[bool]) -> None:
            await empty(connection)

            async def write(store: Store, history: list[list[PatternEvent]]) -> None:
                for batch in history:
                    store.updates_first = next(ways)
                    await ingest(store, records_of(batch))

            async with asyncio.TaskGroup() as writers:
                writers.create_task(write(one, histories[0]))
                writers.create_task(write(other, histories[1]))

            assert await read_states(connection) == model([*itertools.chain(*histories[0], *histories[1])])

        history = st.lists(st.lists(events, min_size=1, max_size=8), min_size=1, max_size=4)

        @settings(max_examples=60, deadline=None)
        @given(st.tuples(history, history), WAYS)
        def examples(histories: Histories, ways: Iterator[bool]) -> None:
            run(check(histories, ways))

        examples()


WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'pattern_quality_retired'::regclass AND NOT granted"


async def test_who_stands_in_the_way_of_a_retirement_stops_no_other_writer(
    migrated_database_url: str,
) -> None:
    retiring, measuring = Store(migrated_database_url), Store(migrated_database_url)
    holder = await asyncpg.connect(migrated_database_url)
    scored = measurement(FEW_PATTERNS[1], FEW_TIMES[0], FEW_IDS[1])
    gone = retirement(FEW_PATTERNS[0], FEW_TIMES[0], 0)
    try:
        await holder.execute("BEGIN; SELECT FROM pattern_quality_retired FOR SHARE")
        retired = asyncio.create_task(ingest(retiring, records_of([gone])))
        await eventually(lambda: holder.fetchval(WAITING))
        measured = await ingest(measuring, records_of([scored]))
        with pytest.raises(asyncpg.LockNotAvailableError):
            await retired
        await holder.execute("COMMIT")
        later = await ingest(retiring, records_of([gone]))
    finally:
        await holder.close()
        await retiring.close()
        await measuring.close()

    assert measured == later == Accounting(applied=1)
