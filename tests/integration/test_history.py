"""With HISTORY_ENABLED every measurement is kept: on each available PostgreSQL."""

import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.operations.history import prune_history
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.shadow import ShadowStore
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.folding import by_measurement, fold
from pattern_metrics.consumer.records.record import Accepted
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.batches import a_batch, costs_next_to_no_wal, write
from tests.support.pipeline import BASE_TIME, an_event

HISTORY = "SELECT pattern_id, measurement_timestamp, event_id, quality_score FROM pattern_quality_history"


@pytest.fixture
async def store(any_migrated_database_url: str) -> AsyncIterator[Store]:
    store = Store(any_migrated_database_url, keeps_history=True)
    yield store
    await store.close()


def rows_of(accepted: list[Accepted]) -> set[tuple[object, ...]]:
    return {
        (event.pattern_id, event.measurement_timestamp, event.event_id, event.quality_score)
        for event in (one.event for one in fold(accepted, by_measurement).values())
    }


@pytest.mark.parametrize("refused", [0, 1, 3])
async def test_a_refusal_of_the_table_affects_no_other_row_with_a_history(
    store: Store, database: Any, refused: int
) -> None:
    await database.execute("ALTER TABLE pattern_quality_metrics ADD CHECK (version <> 'banned')")
    events = [an_event(place, version="banned" if place == refused else "1") for place in range(4)]

    accounting = await write(store, a_batch(events))

    assert accounting == Accounting(applied=3, dead_letters=1)
    rows = {
        row["pattern_id"] for row in await database.fetch("SELECT pattern_id FROM pattern_quality_metrics")
    }
    assert rows == {event.pattern_id for event in events} - {events[refused].pattern_id}


async def test_the_history_is_every_measurement_whatever_the_order_and_the_batches(
    store: Store, database: Any
) -> None:
    events = [
        an_event(random.randrange(4), seconds=random.randrange(6), score=random.random()) for _ in range(200)
    ]
    batches = [a_batch(events[start : start + 30]) for start in range(0, 200, 30)]

    total = Accounting()
    for batch in [*batches, *random.sample(batches, 3)]:
        total += await write(store, batch)

    kept = {tuple(row) for row in await database.fetch(HISTORY)}
    assert kept == rows_of([accepted for batch in batches for accepted in batch.accepted])
    assert await database.fetchval("SELECT count(*) FROM pattern_quality_metrics") == 4
    assert total.dead_letters == 0


async def test_a_measurement_that_the_table_has_superseded_is_kept(store: Store, database: Any) -> None:
    await write(store, a_batch([an_event(1, seconds=10)]))

    assert await write(store, a_batch([an_event(1, seconds=5)])) == Accounting(superseded=1)
    assert len(await database.fetch(HISTORY)) == 2


async def test_a_replay_of_kept_measurements_writes_next_to_no_wal(store: Store, database: Any) -> None:
    batch = a_batch(an_event(pattern % 100, seconds=pattern) for pattern in range(2000))
    await write(store, batch)

    assert await costs_next_to_no_wal(partial(write, store, batch), 2000, database)


async def test_an_event_that_the_history_refuses_is_a_dead_letter_in_neither_table(
    store: Store, database: Any
) -> None:
    await database.execute("ALTER TABLE pattern_quality_history ADD CHECK (version <> 'banned')")
    tie = {"pattern": 1, "seconds": 10}
    events = [
        an_event(**tie, event=1, score=0.1),
        an_event(**tie, event=2, score=0.2, version="banned"),
        *(an_event(pattern) for pattern in range(2, 50)),
    ]

    accounting = await write(store, a_batch(events))

    assert accounting == Accounting(applied=49, dead_letters=1)
    kept = await database.fetch(f"{HISTORY} WHERE pattern_id = $1", events[0].pattern_id)
    assert [row["quality_score"] for row in kept] == [0.1]
    assert (
        await database.fetchval(
            "SELECT quality_score FROM pattern_quality_metrics WHERE pattern_id = $1", events[0].pattern_id
        )
        == 0.1
    )
    assert await database.fetchval("SELECT count(*) FROM pattern_quality_history") == 49


async def test_without_history_no_statement_speaks_of_it(
    any_migrated_database_url: str, database: Any
) -> None:
    statements = list[str]()
    store = Store(any_migrated_database_url)
    try:
        async with store.transaction() as transaction:
            transaction.connection.add_query_logger(lambda query: statements.append(query.query))
            await store_batch(transaction, a_batch([an_event(1), an_event(1, seconds=1)]))
    finally:
        await store.close()

    assert any("pattern_quality_metrics" in one for one in statements)
    assert not any("history" in one for one in statements)
    assert await database.fetch(HISTORY) == []


async def test_a_dry_run_keeps_no_history(any_migrated_database_url: str, database: Any) -> None:
    store = ShadowStore(any_migrated_database_url, loads_rows=True)
    try:
        assert await write(store, a_batch([an_event(1)])) == Accounting(applied=1)
    finally:
        await store.close()

    assert await database.fetch(HISTORY) == []


async def test_the_view_shows_the_change_since_the_measurement_before(store: Store, database: Any) -> None:
    scores = {1: [0.25, 0.75, 0.5], 2: [0.5]}
    events: list[PatternScored] = [
        an_event(pattern, seconds=place, score=score)
        for pattern, measured in scores.items()
        for place, score in enumerate(measured)
    ]
    await write(store, a_batch(random.sample(events, len(events))))

    changes = await database.fetch(
        "SELECT quality_score, quality_change, previous_quality_score, previous_measurement_timestamp "
        "FROM pattern_quality_changes ORDER BY pattern_id, measurement_timestamp"
    )

    later = [event.measurement_timestamp for event in events]
    assert [tuple(row) for row in changes] == [
        (0.25, None, None, None),
        (0.75, 0.5, 0.25, later[0]),
        (0.5, -0.25, 0.75, later[1]),
        (0.5, None, None, None),
    ]


@pytest.mark.parametrize("is_partitioned", [False, True], ids=["plain", "partitioned"])
async def test_prune_deletes_what_was_measured_before_and_nothing_else(
    any_migrated_database_url: str, database: Any, monkeypatch: pytest.MonkeyPatch, is_partitioned: bool
) -> None:
    if is_partitioned:
        await database.execute(
            """
            ALTER TABLE pattern_quality_history RENAME TO as_made;
            DROP VIEW pattern_quality_changes;
            CREATE TABLE pattern_quality_history (LIKE as_made INCLUDING DEFAULTS)
                PARTITION BY RANGE (measurement_timestamp);
            CREATE TABLE history_early PARTITION OF pattern_quality_history
                FOR VALUES FROM (MINVALUE) TO ('2026-01-01T00:10Z');
            CREATE TABLE history_late PARTITION OF pattern_quality_history
                FOR VALUES FROM ('2026-01-01T00:10Z') TO (MAXVALUE);
            """
        )
    await insert_measurements(database)
    monkeypatch.setattr("pattern_metrics.consumer.operations.history.BLOCKS_PER_TRANSACTION", 3)
    steps = list[tuple[int, int]]()
    before = BASE_TIME.replace(minute=15)

    deleted = await prune_history(
        any_migrated_database_url, before, lambda done, total: steps.append((done, total))
    )

    assert deleted == 900
    assert await database.fetchval("SELECT count(*) FROM pattern_quality_history") == 300
    assert await database.fetchval("SELECT min(measurement_timestamp) FROM pattern_quality_history") == before
    assert len(steps) > 2
    assert steps[-1][0] == steps[-1][1]
    assert await prune_history(any_migrated_database_url, before, lambda *_: None) == 0


async def test_prune_reads_no_more_blocks_than_its_range(database: Any) -> None:
    """Otherwise each transaction would read the whole table."""
    await insert_measurements(database)
    delete = statement("delete_history")
    for parameter, value in {"$1": "now()", "$2": "'(3,0)'", "$3": "'(6,0)'"}.items():
        delete = delete.replace(parameter, value)

    plan = await database.fetch(f"EXPLAIN {delete}")

    assert any("Tid Range Scan" in row[0] for row in plan)


async def insert_measurements(database: Any) -> None:
    """Insert 1,200 measurements, a second apart."""
    await database.execute(
        "INSERT INTO pattern_quality_history (pattern_id, measurement_timestamp, event_id, quality_score, "
        "confidence, version, metadata) SELECT gen_random_uuid(), $1::timestamptz + n * interval '1 second', "
        "gen_random_uuid(), 0.5, 0.5, '1', '{}' FROM generate_series(0, 1199) AS n",
        BASE_TIME,
    )
