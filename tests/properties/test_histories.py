"""Whatever happens to workers, database and log: the table is the fold, and progress is true.

The log, the group's offsets and the workers are drawn; what they write goes through the worker's own
functions into a real PostgreSQL. A worker here is what `consumer.session` is between two awaits: a position
in each partition, at most one batch in hand, and what it has written and not committed.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.consumer.postgres.store import ProgressLostError, Store
from pattern_metrics.consumer.records.batch import decode_batch
from pattern_metrics.consumer.records.offsets import (
    OffsetRange,
    Partition,
    choose_start,
    next_offset,
    restart_out_of_range,
)
from pattern_metrics.consumer.records.record import Event
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.events import ACCEPTED_UNTIL, TopicRecord
from tests.support.pipeline import an_event

GROUP, TOPIC = "group", "topic"
PARTITIONS = ((TOPIC, 0), (TOPIC, 1))
WORKERS = (0, 1)
TURNS = ("poll", "write", "commit", "poll write", "write commit", "poll write commit", "poll write commit")
HISTORIES = int(os.environ.get("HISTORIES", "1000"))

TABLES = ("pattern_quality_metrics", "dead_letters", "ingest_progress", "ingest_gaps")
FORGET = "; ".join(f"DELETE FROM {table}" for table in TABLES)
MAKE_BACKUP = "; ".join(f"CREATE TEMPORARY TABLE backup_{table} (LIKE {table})" for table in TABLES)
BACK_UP = "; ".join(
    f"DELETE FROM backup_{table}; INSERT INTO backup_{table} SELECT * FROM {table}" for table in TABLES
)
RESTORE = "; ".join(
    f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM backup_{table}" for table in TABLES
)
LOOK = """
    SELECT
        ARRAY(SELECT (pattern_id, measurement_timestamp, event_id) FROM pattern_quality_metrics) AS rows,
        ARRAY(SELECT (partition, "offset") FROM dead_letters) AS letters,
        ARRAY(SELECT (partition, next_offset) FROM ingest_progress WHERE topic_id = $1) AS progress,
        ARRAY(SELECT (partition, first_offset, last_offset) FROM ingest_gaps) AS gaps
"""

events = st.builds(an_event, st.integers(0, 9), seconds=st.integers(0, 2), event=st.integers(1, 2))


class Seen(NamedTuple):
    """What the database holds."""

    rows: dict[UUID, tuple[Any, UUID]]
    letters: list[tuple[int, int]]
    progress: dict[int, int]
    gaps: list[tuple[int, int, int]]


@dataclass
class Log:
    """A partition: every record it ever had, and from where on it still has them."""

    records: list[TopicRecord] = field(default_factory=list)
    beginning: int = 0
    end: int = 0
    committed: int | None = None
    unknown_below: int = 0
    """Where the log began when the database did not know the group yet: no gap can be told from there."""

    def available(self, position: int) -> list[TopicRecord]:
        return [record for record in self.records if record.offset >= max(position, self.beginning)]


@dataclass
class Member:
    """A worker, as far as it can be interrupted."""

    store: Store
    positions: dict[Partition, int] = field(default_factory=dict)
    in_hand: tuple[list[TopicRecord], dict[Partition, OffsetRange]] | None = None
    uncommitted: dict[Partition, int] = field(default_factory=dict)
    topic_id: UUID | None = None


@dataclass(frozen=True)
class Database:
    """What runs a coroutine, a connection to look with, and a store for each worker."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    connection: Connection
    stores: Sequence[Store]


class History(RuleBasedStateMachine):
    """One history; its end settles everything and compares."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        database = self.database
        self.run = database.run
        self.logs = {partition: Log() for partition in PARTITIONS}
        self.earlier_logs: list[Log] = []
        self.topic_id = uuid4()
        self.owners = dict.fromkeys(PARTITIONS, 0)
        self.members = [Member(store) for store in database.stores]
        for store in database.stores:
            store.updates_first = False  # so that a history depends on none before it
        self.went_back = False
        self.before: dict[UUID, tuple[Any, UUID]] = {}
        self.run(database.connection.execute(f"{FORGET}; {BACK_UP}"))

    # What happens: mostly work, and now and then a misfortune

    @rule(
        partition=st.sampled_from(PARTITIONS),
        values=st.lists(events | st.sampled_from([b"{", None]), min_size=1, max_size=3),
        hole=st.integers(0, 1),
        turn=st.sampled_from(TURNS),
        backs_up=st.booleans(),
    )
    def publish(
        self,
        partition: Partition,
        values: list[PatternScored | bytes | None],
        hole: int,
        turn: str,
        backs_up: bool,
    ) -> None:
        """Records arrive, and their owner takes a turn, or a part of it."""
        log = self.logs[partition]
        for value in values:
            content = value.to_json() if isinstance(value, PatternScored) else value
            record = TopicRecord(content, offset=log.end, partition=partition[1], topic=TOPIC)
            log.records.append(record)
            log.end += 1
        log.end += hole  # a transaction's marker
        self.take_a_turn(self.owners[partition], turn)
        if backs_up:
            self.run(self.database.connection.execute(BACK_UP))

    @rule(worker=st.sampled_from(WORKERS), turn=st.sampled_from(TURNS))
    def take_a_turn(self, worker: int, turn: str) -> None:
        """A worker goes on: also one that was frozen, and does not own anything any more."""
        for step in turn.split():
            getattr(self, step)(worker)

    @rule(
        misfortune=st.sampled_from(
            ["restore", "crash", "rebalance", "freeze", "retain", "replay", "make anew", "notice"]
        ),
        partition=st.sampled_from(PARTITIONS),
        worker=st.sampled_from(WORKERS),
        offset=st.integers(0, 5),
    )
    def suffer(self, misfortune: str, partition: Partition, worker: int, offset: int) -> None:
        log = self.logs[partition]
        match misfortune:
            case "restore":
                self.run(self.database.connection.execute(RESTORE))
                self.went_back = True
            case "crash":
                self.crash(worker)
            case "rebalance" | "freeze":
                self.rebalance(partition, worker, is_frozen=misfortune == "freeze")
            case "make anew":
                self.make_the_topic_anew()
            case "notice":
                self.notice(worker)
            case "retain":
                log.beginning = min(log.end, max(log.beginning, offset))
            case _:
                self.run(_store(self.members[0].store, log.available(offset), None))

    def make_the_topic_anew(self) -> None:
        """The group's offsets go with it. Workers go on where they are, until they notice."""
        self.earlier_logs += self.logs.values()
        self.logs = {partition: Log() for partition in PARTITIONS}
        self.topic_id = uuid4()

    def notice(self, worker: int) -> None:
        """A worker asks whether it is still the same topic."""
        member = self.members[worker]
        if member.topic_id != self.topic_id:
            member.positions.clear()

    # What the group does

    def rebalance(self, partition: Partition, to: int, *, is_frozen: bool) -> None:
        """A frozen member does not learn of it, and goes on as if it still owned the partition."""
        if not is_frozen:
            self.members[self.owners[partition]].positions.pop(partition, None)
        self.members[to].positions.pop(partition, None)
        self.owners[partition] = to

    def poll(self, worker: int, limit: int = 3) -> None:
        member = self.members[worker]
        if member.in_hand is None:
            self._position(worker)
            self._take(member, limit)

    def _take(self, member: Member, limit: int) -> None:
        records, ranges = list[TopicRecord](), dict[Partition, OffsetRange]()
        for partition, position in member.positions.items():
            log = self.logs[partition]
            available = log.available(position)
            taken = available[: limit - len(records)]
            if taken:
                end = log.end if taken == available else next_offset(taken[-1])
                records += taken
                ranges[partition] = OffsetRange(position, end, member.topic_id)
        member.positions |= {partition: offsets.end for partition, offsets in ranges.items()}
        if records:
            member.in_hand = records, ranges

    def _position(self, worker: int) -> None:
        """As `Session._position`, with the broker's answer for a position that the log no longer has."""
        member = self.members[worker]
        lost = {
            partition: position
            for partition, position in member.positions.items()
            if not self.logs[partition].beginning <= position <= self.logs[partition].end
        }
        for partition in lost:
            del member.positions[partition]
        missing = [
            partition
            for partition in PARTITIONS
            if self.owners[partition] == worker and partition not in member.positions
        ]
        if missing:
            self.run(self._begin(member, missing, lost))

    async def _begin(self, member: Member, missing: Iterable[Partition], lost: dict[Partition, int]) -> None:
        async with member.store.transaction() as transaction:
            progress = await transaction.progress(GROUP, TOPIC, self.topic_id)
            starts = {}
            for partition in missing:
                log = self.logs[partition]
                starts[partition] = (
                    restart_out_of_range(
                        position=lost[partition],
                        progress=progress.get(partition),
                        beginning=log.beginning,
                    )
                    if partition in lost
                    else choose_start(
                        committed=log.committed,
                        progress=progress.get(partition),
                        beginning=log.beginning,
                    )
                )
                if partition not in progress:
                    log.unknown_below = max(log.unknown_below, log.beginning)
            await transaction.begin_at(GROUP, starts, self.topic_id)
        if member.topic_id != self.topic_id:
            member.positions.clear()
        member.topic_id = self.topic_id
        member.positions |= {partition: start.offset for partition, start in starts.items()}

    def write(self, worker: int) -> None:
        member = self.members[worker]
        if member.in_hand is None:
            return
        (records, ranges), member.in_hand = member.in_hand, None
        try:
            self.run(_store(member.store, records, ranges))
        except ProgressLostError:
            member.positions.clear()
        else:
            member.uncommitted |= {partition: offsets.end for partition, offsets in ranges.items()}

    def commit(self, worker: int) -> None:
        """The broker refuses the commit of who is no longer the owner."""
        member = self.members[worker]
        for partition, end in member.uncommitted.items():
            if self.owners[partition] == worker:
                self.logs[partition].committed = end
        member.uncommitted.clear()

    def crash(self, worker: int) -> None:
        member = self.members[worker]
        member.positions.clear()
        member.uncommitted.clear()
        member.in_hand = None

    # What must be true

    def look(self) -> Seen:
        seen = self.run(self.database.connection.fetchrow(LOOK, self.topic_id))
        return Seen(
            {row[0]: (row[1], row[2]) for row in seen["rows"]},
            [tuple(row) for row in seen["letters"]],
            dict(map(tuple, seen["progress"])),
            [tuple(row) for row in seen["gaps"]],
        )

    @invariant()
    def no_row_goes_back_and_progress_passes_nothing_unwritten(self) -> None:
        seen = self.look()
        if not self.went_back:
            assert all(seen.rows[pattern] >= order for pattern, order in self.before.items())
        self.before, self.went_back = seen.rows, False
        assert len(seen.letters) == len(set(seen.letters))
        for partition, log in self.logs.items():
            self._assert_written(log, seen.progress.get(partition[1], 0), seen)

    def _assert_written(self, log: Log, end: int, seen: Seen) -> None:
        for record in log.records:
            if log.unknown_below <= record.offset < end and not _in_a_gap(record, seen):
                assert _is_written(record, seen), f"progress {end} passes {record}"

    def teardown(self) -> None:
        """Everybody comes back, and reads to the end: then nothing that the log still has may be missing."""
        for worker in WORKERS:
            self.crash(worker)
        self.owners = dict.fromkeys(PARTITIONS, 0)
        self.poll(0, 1000)
        self.write(0)
        self.poll(0, 1000)
        self.write(0)
        seen = self.look()
        for log in self.logs.values():
            self._assert_written(log, log.end, seen)
        logs = [*self.earlier_logs, *self.logs.values()]
        events = [record for log in logs for record in log.records if record.value]
        published = {(one.pattern_id, one.order) for one in map(_event, events) if one is not None}
        assert set(seen.rows.items()) <= published
        super().teardown()


async def _store(
    store: Store, records: Sequence[TopicRecord], ranges: dict[Partition, OffsetRange] | None
) -> None:
    batch = decode_batch(records, accepted_until=ACCEPTED_UNTIL, breaker=None)
    async with store.transaction() as transaction:
        await store_batch(transaction, batch, group=None if ranges is None else GROUP, ranges=ranges)


def _event(record: TopicRecord) -> Event | None:
    batch = decode_batch([record], accepted_until=ACCEPTED_UNTIL, breaker=None)
    return batch.accepted[0].event if batch.accepted else None


def _in_a_gap(record: TopicRecord, seen: Seen) -> bool:
    return any(
        partition == record.partition and first <= record.offset <= last
        for partition, first, last in seen.gaps
    )


def _is_written(record: TopicRecord, seen: Seen) -> bool:
    event = _event(record)
    if event is None:
        return (record.partition, record.offset) in seen.letters
    return event.pattern_id in seen.rows and seen.rows[event.pattern_id] >= event.order


@pytest.mark.long
@pytest.mark.timeout(900)  # thousands of transactions, on whatever machine
@pytest.mark.parametrize("steps", [15, 30])
def test_no_history_of_faults_loses_or_falsifies_anything(migrated_database_url: str, steps: int) -> None:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(migrated_database_url))
        stores = [Store(migrated_database_url) for _ in WORKERS]
        try:
            runner.run(connection.execute(MAKE_BACKUP))
            History.database = Database(runner.run, connection, stores)
            run_state_machine_as_test(
                History,
                settings=settings(max_examples=HISTORIES, stateful_step_count=steps),
            )
        finally:
            for store in stores:
                runner.run(store.close())
            runner.run(connection.close())
