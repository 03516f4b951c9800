"""After any history of workers, database and log, the table is the fold, and progress is correct.

The log, the group and its offsets are drawn, and `ModelConsumer` stands in for Kafka. The rest is the
worker's own: each member has a real `Pipeline`, with its `Assignment`. The history takes the pipeline's steps
one by one, and the pipeline writes to a real PostgreSQL. As in a session, one batch may be written while
another waits for its commit.
"""

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
import uvloop
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, OffsetOutOfRangeError
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from pydantic import SecretStr

from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.consumer.postgres.store import ProgressLostError, Store
from pattern_metrics.consumer.records.accounting import Breaker
from pattern_metrics.consumer.records.batch import decode_batch
from pattern_metrics.consumer.records.offsets import RETENTION, EpochEnd, Partition, Progress, next_offset
from pattern_metrics.consumer.records.record import Event
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.stopping import Stop
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.consumer.worker.assignment import Assignment
from pattern_metrics.consumer.worker.equipment import Equipment
from pattern_metrics.consumer.worker.pipeline import Flight, Pipeline
from pattern_metrics.schemas.pattern_retired import PatternEvent, PatternRetired
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.batches import write
from tests.support.events import ACCEPTED_UNTIL, TopicRecord
from tests.support.pipeline import an_event

GROUP, TOPIC = "group", "topic"
PARTITIONS = (TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1))
WORKERS = (0, 1)
TURNS = (
    *("poll", "write", "commit", "poll write", "write commit", "poll write commit", "poll write commit"),
    *("poll write poll", "poll write poll write commit"),
)
HISTORIES = int(os.environ.get("HISTORIES", "1000"))
PARTS = 4
"""One part per process, so that parts run at the same time."""

TABLES = (
    "pattern_quality_metrics",
    "pattern_quality_retired",
    "dead_letters",
    "ingest_progress",
    "ingest_gaps",
)
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
        ARRAY(
            SELECT (pattern_id, measurement_timestamp, event_id) FROM pattern_quality_metrics
            UNION ALL SELECT (pattern_id, retired_at, event_id) FROM pattern_quality_retired
        ) AS rows,
        ARRAY(SELECT (partition, "offset") FROM dead_letters) AS letters,
        ARRAY(
            SELECT (partition, next_offset, leader_epoch) FROM ingest_progress WHERE topic_id = $1
        ) AS progress,
        ARRAY(
            SELECT (partition, first_offset, last_offset, reason) FROM ingest_gaps WHERE topic_id = $1
        ) AS gaps
"""

STARTED = "SELECT partition FROM ingest_progress WHERE topic_id = $1"


def a_retirement(scored: PatternScored) -> PatternRetired:
    """Return a retirement at the time of a measurement, between the ids of the measurements."""
    event_id = UUID(int=scored.event_id.int + 2**64)
    return PatternRetired(
        event_id=event_id, pattern_id=scored.pattern_id, retired_at=scored.measurement_timestamp
    )


measurements = st.builds(an_event, st.integers(0, 9), seconds=st.integers(0, 2), event=st.integers(1, 2))
events = measurements | measurements | measurements.map(a_retirement)


class Seen(NamedTuple):
    """The content of the database."""

    rows: dict[UUID, tuple[Any, UUID]]
    letters: list[tuple[int, int]]
    progress: dict[int, Progress]
    gaps: list[tuple[int, int, int, str]]


@dataclass
class Log:
    """A partition: every record it ever had, and the offset from which it still has them.

    Attributes:
        epochs: leader epoch → the offset at which it begins.
    """

    records: list[TopicRecord] = field(default_factory=list)
    beginning: int = 0
    end: int = 0
    committed: int | None = None
    epochs: dict[int, int] = field(default_factory=lambda: {0: 0})
    unknown_below: int = 0
    """The log's beginning while the database did not know the group. A gap before it cannot be noticed."""

    def available(self, position: int) -> list[TopicRecord]:
        return [record for record in self.records if record.offset >= max(position, self.beginning)]

    def suffer(self, misfortune: str, offset: int) -> list[TopicRecord]:
        """Lose records at the beginning or at the end; return what is gone from its history."""
        if misfortune == "cut":
            return self._cut(max(self.beginning, self.end - offset))
        self.beginning = min(self.end, max(self.beginning, offset))
        return []

    def _cut(self, offset: int) -> list[TopicRecord]:
        """Go back, under a new leader."""
        gone = [record for record in self.records if record.offset >= offset]
        self.records = self.records[: len(self.records) - len(gone)]
        self.end = offset
        latest = max(self.epochs)
        self.epochs = {epoch: start for epoch, start in self.epochs.items() if start < offset}
        self.epochs[latest + 1] = offset
        return gone

    def end_of(self, epoch: int) -> EpochEnd:
        """Answer as a leader does."""
        found = max((one for one in self.epochs if one <= epoch), default=None)
        later = min((start for one, start in self.epochs.items() if one > epoch), default=self.end)
        return EpochEnd(epoch if found is None else found, later)

    def epoch_at(self, position: int) -> int:
        """Return the epoch of the records before a position."""
        return max(epoch for epoch, start in self.epochs.items() if start < max(position, 1))

    def still_valid(self, progress: Progress) -> int:
        """Return the offset up to which progress belongs to this log."""
        if progress.leader_epoch is None:
            return progress.next_offset
        found = self.end_of(progress.leader_epoch)
        return min(progress.next_offset, found.end) if found.epoch == progress.leader_epoch else 0


@dataclass
class World:
    """Kafka: the logs, and the owner of each."""

    logs: dict[Partition, Log]
    owners: dict[Partition, int]
    topic_id: UUID = field(default_factory=uuid4)

    async def topic_ids(self) -> Mapping[str, UUID]:
        return {TOPIC: self.topic_id}


class ModelConsumer:
    """A member of the group, with the part of the client that a pipeline uses.

    It keeps the last assignment that it learned: a frozen member continues as if nothing had happened.

    Attributes:
        committable: for each partition, the start of reading and the end of the batches written since the
            assignment.
    """

    def __init__(self, world: World, worker: int) -> None:
        self._world = world
        self._worker = worker
        self.assigned: set[Partition] = set()
        self.positions: dict[Partition, int] = {}
        self.committable: dict[Partition, set[int]] = {}
        self.epochs: dict[Partition, dict[int, int]] = {}

    def taken(self, partition: Partition) -> dict[int, int]:
        return self.epochs.pop(partition, {})

    async def ends(
        self,
        epochs: Mapping[Partition, int],
        _seconds: float,
    ) -> tuple[dict[Partition, EpochEnd], dict[Partition, Exception]]:
        logs = self._world.logs
        return {partition: logs[partition].end_of(epoch) for partition, epoch in epochs.items()}, {}

    def assignment(self) -> set[Partition]:
        return self.assigned

    def seek(self, partition: Partition, offset: int) -> None:
        self.positions[partition] = offset
        self.note_written({partition: offset})

    def note_written(self, ends: Mapping[Partition, int]) -> None:
        for partition, end in ends.items():
            self.committable.setdefault(partition, set()).add(end)

    async def position(self, partition: Partition) -> int:
        return self.positions[partition]

    async def getmany(
        self,
        *partitions: Partition,
        timeout_ms: int,  # noqa: ARG002 - there is nothing to wait for
        max_records: int,
    ) -> dict[Partition, list[TopicRecord]]:
        lost, polled = dict[Partition, int](), dict[Partition, list[TopicRecord]]()
        for partition in partitions:
            log, position = self._world.logs[partition], self.positions[partition]
            if not log.beginning <= position <= log.end:
                lost[partition] = position
                continue
            available = log.available(position)
            taken = available[: max_records - sum(map(len, polled.values()))]
            if taken:
                polled[partition] = taken
                position = log.end if taken == available else next_offset(taken[-1])
                self.positions[partition] = position
                self.epochs.setdefault(partition, {})[log.epoch_at(position)] = position
        if lost and not polled:
            raise OffsetOutOfRangeError(lost)
        return polled

    @property
    def _client(self) -> Any:
        """Each partition has a leader."""
        return SimpleNamespace(cluster=SimpleNamespace(leader_for_partition=lambda _partition: 1))

    async def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        return {partition: self._world.logs[partition].beginning for partition in partitions}

    async def committed(self, partition: Partition) -> int | None:
        return self._world.logs[partition].committed

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit, unless the group has left this member behind: the broker then refuses."""
        for partition, end in offsets.items():
            assert end in self.committable[partition], "a commit before its write, or after its assignment"
        if any(self._world.owners[partition] != self._worker for partition in offsets):
            raise CommitFailedError
        for partition, end in offsets.items():
            self._world.logs[partition].committed = end


class Member:
    """A worker: its pipeline, and the batches that are in flight between two steps."""

    def __init__(self, world: World, worker: int, database: "Database") -> None:
        self._world = world
        self._worker = worker
        stores = [database.stores[worker]]
        self._equipment = Equipment(
            database.config, stores, Stop(1), Health(), Breaker(10**6), database.metrics
        )
        self.start()

    def start(self) -> None:
        """Begin, or begin again after a crash, without anything in flight."""
        self.consumer: Any = ModelConsumer(self._world, self._worker)
        self.pipeline = Pipeline(self._equipment, self.consumer, self._world.topic_ids, self.consumer)
        self.polled: Flight | None = None
        self.written: Flight | None = None
        self.rebalance()

    def rebalance(self) -> None:
        """Learn the present assignment from the group. Batches in flight were not finished in time."""
        ours = [partition for partition, owner in self._world.owners.items() if owner == self._worker]
        self.pipeline.revoke()
        self.consumer.assigned, self.consumer.committable = set(ours), {}
        self.is_polled_before = True
        self.pipeline.assign(ours)

    async def poll(self) -> None:
        if self.polled is None:
            self.is_polled_before = False
            await self.pipeline.position()
            self.polled = await self.pipeline.poll()
            await self.pipeline.position()  # a position that is out of range shows only when it is polled
            if self.polled is None:
                self.polled = await self.pipeline.poll()

    async def write(self) -> None:
        """Commit the previous batch first, as `Landing._write` waits for it."""
        if self.polled is None:
            return
        flight, self.polled = self.polled, None
        try:
            await self.pipeline.write(flight)
        except ProgressLostError:
            self.pipeline.land()
            self.pipeline.go_back()
            return
        if not self.is_polled_before:
            ranges = flight.batch.ranges
            self.consumer.note_written({partition: offsets.end for partition, offsets in ranges.items()})
        await self.commit()
        self.written = flight

    async def commit(self) -> None:
        if self.written is not None:
            self.written = None
            await self.pipeline.commit()
            self.pipeline.land()

    async def notice(self) -> None:
        """Check whether it is still the same topic, and the same log."""
        before = self.pipeline.assignment
        await self.pipeline.look_for_another_topic()
        await self.pipeline.look_for_a_parted_log()
        if self.pipeline.assignment is not before:
            self.consumer.committable, self.is_polled_before = {}, True


@dataclass(frozen=True)
class Database:
    """A function that runs a coroutine, a connection for checks, and a store per worker.

    Attributes:
        metrics: the metrics of all workers in all histories. They decide nothing, and take long to make.
    """

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    connection: Connection
    stores: Sequence[Store]
    config: WorkerSettings
    metrics: Metrics


class History(RuleBasedStateMachine):
    """One history. Its end settles everything and compares."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        database = self.database
        self.run = database.run
        self.world = World({partition: Log() for partition in PARTITIONS}, dict.fromkeys(PARTITIONS, 0))
        self.gone: list[TopicRecord] = []
        self.other_cluster = {partition: Log() for partition in PARTITIONS}, uuid4()
        self.members = [Member(self.world, worker, database) for worker in WORKERS]
        for store in database.stores:
            store.updates_first = False  # so that a history does not depend on the one before
        self.went_back = False
        self.before: dict[UUID, tuple[Any, UUID]] = {}
        self.known = set[int]()
        """The partitions that have a row of progress, as of the last look."""
        self.run(database.connection.execute(f"{FORGET}; {BACK_UP}"))

    # Steps: mostly work, and now and then a misfortune

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
        values: list[PatternEvent | bytes | None],
        hole: int,
        turn: str,
        backs_up: bool,
    ) -> None:
        """Append records, and let their owner take a turn, or a part of it."""
        log = self.world.logs[partition]
        for value in values:
            content = value.to_json() if isinstance(value, PatternScored | PatternRetired) else value
            record = TopicRecord(content, offset=log.end, partition=partition[1], topic=TOPIC)
            log.records.append(record)
            log.end += 1
        log.end += hole  # a transaction's marker
        self.take_a_turn(self.world.owners[partition], turn)
        if backs_up:
            self.run(self.database.connection.execute(BACK_UP))

    @rule(worker=st.sampled_from(WORKERS), turn=st.sampled_from(TURNS))
    def take_a_turn(self, worker: int, turn: str) -> None:
        """Let a worker continue, even a frozen worker that owns nothing any more."""
        member = self.members[worker]
        for step in turn.split():
            may_start = step == "poll" and member.polled is None
            self.run(getattr(member, step)())
            known = self.known
            if may_start and len(known) < len(PARTITIONS):  # a turn deletes no row of progress
                self.known = self.started()
            for number in self.known - known:  # a gap in earlier records cannot be noticed
                log = self.world.logs[TopicPartition(TOPIC, number)]
                log.unknown_below = max(log.unknown_below, log.beginning)

    @rule(
        misfortune=st.sampled_from(
            [
                *("restore", "crash", "rebalance", "freeze", "retain", "replay", "recreate", "notice"),
                *("cut", "move"),
            ]
        ),
        partition=st.sampled_from(PARTITIONS),
        worker=st.sampled_from(WORKERS),
        offset=st.integers(0, 5),
    )
    def suffer(self, misfortune: str, partition: Partition, worker: int, offset: int) -> None:
        log = self.world.logs[partition]
        match misfortune:
            case "restore":
                self.run(self.database.connection.execute(RESTORE))
                self.went_back = True
            case "crash":
                self.members[worker].start()
            case "rebalance" | "freeze":
                self.rebalance(partition, worker, is_frozen=misfortune == "freeze")
            case "recreate":
                self.recreate_the_topic()
            case "retain" | "cut":
                self.gone += log.suffer(misfortune, offset)
            case "move":
                self.move_to_the_other_cluster()
            case "notice":
                self.run(self.members[worker].notice())
            case _:
                batch = decode_batch(log.available(offset), accepted_until=ACCEPTED_UNTIL)
                self.run(write(self.database.stores[0], batch))

    def recreate_the_topic(self) -> None:
        """Recreate the topic, which deletes the group's offsets. Workers continue until they notice."""
        self.gone += [record for log in self.world.logs.values() for record in log.records]
        self.world.logs = {partition: Log() for partition in PARTITIONS}
        self.world.topic_id = uuid4()

    def move_to_the_other_cluster(self) -> None:
        """It has a topic of the same name, and the workers are restarted to read it."""
        here = self.world.logs, self.world.topic_id
        (self.world.logs, self.world.topic_id), self.other_cluster = self.other_cluster, here
        for member in self.members:
            member.start()

    def rebalance(self, partition: Partition, to: int, *, is_frozen: bool) -> None:
        """Move a partition. A frozen member does not learn of it, and continues as if it still owned it."""
        before, self.world.owners[partition] = self.world.owners[partition], to
        for worker in {before, to} if not is_frozen else {to}:
            self.members[worker].rebalance()

    def is_at_the_end(self, assignment: Assignment) -> bool:
        positions = assignment.positions
        return len(positions) == len(PARTITIONS) and not any(
            self.world.logs[partition].available(position) for partition, position in positions.items()
        )

    # Invariants

    def started(self) -> set[int]:
        """Return the partitions that have a row of progress."""
        rows = self.run(self.database.connection.fetch(STARTED, self.world.topic_id))
        return {row["partition"] for row in rows}

    def look(self) -> Seen:
        seen = self.run(self.database.connection.fetchrow(LOOK, self.world.topic_id))
        assert len({row[0] for row in seen["rows"]}) == len(seen["rows"]), "a retired pattern has a row"
        return Seen(
            {row[0]: (row[1], row[2]) for row in seen["rows"]},
            [tuple(row) for row in seen["letters"]],
            {number: Progress(*progress) for number, *progress in seen["progress"]},
            [tuple(row) for row in seen["gaps"]],
        )

    @invariant()
    def no_row_goes_back_and_progress_passes_nothing_unwritten(self) -> None:
        seen = self.look()
        if not self.went_back:
            assert all(seen.rows[pattern] >= order for pattern, order in self.before.items())
        self.before, self.went_back = seen.rows, False
        self.known = set(seen.progress)
        assert len(seen.letters) == len(set(seen.letters))
        for partition, log in self.world.logs.items():
            progress = seen.progress.get(partition[1], Progress(0))
            self._assert_written(log, log.still_valid(progress), seen)

    def _assert_written(self, log: Log, end: int, seen: Seen) -> None:
        for record in log.records:
            if log.unknown_below <= record.offset < end and not _in_a_gap(record, log, seen):
                assert _is_written(record, seen), f"progress {end} passes {record}"

    def teardown(self) -> None:
        """Let all workers continue and read to the end. Then no record that the log still has is missing."""
        self.world.owners = dict.fromkeys(PARTITIONS, 0)
        for member in self.members:
            member.start()
        self.read_to_the_end()
        self.move_to_the_other_cluster()
        self.read_to_the_end()
        seen = self.look()
        logs = [*self.world.logs.values(), *self.other_cluster[0].values()]
        records = [*self.gone, *(record for log in logs for record in log.records)]
        events = [_event(record.value) for record in records if record.value]
        published = {(one.pattern_id, one.order) for one in events if one is not None}
        assert set(seen.rows.items()) <= published
        super().teardown()

    def read_to_the_end(self) -> None:
        self.known = self.started()
        records = sum(len(log.records) for log in self.world.logs.values())
        for _ in range(records + 2):  # a turn for each record, and one for a position that is out of range
            self.take_a_turn(0, "poll write commit")
            if self.is_at_the_end(self.members[0].pipeline.assignment):
                break
        seen = self.look()
        for log in self.world.logs.values():
            self._assert_written(log, log.end, seen)


@functools.lru_cache(10_000)  # the invariants ask again after each step
def _event(value: bytes | None) -> Event | None:
    batch = decode_batch([TopicRecord(value)], accepted_until=ACCEPTED_UNTIL)
    events: list[Event] = [*(one.event for one in batch.accepted), *(one.event for one in batch.retired)]
    return next(iter(events), None)


def _in_a_gap(record: TopicRecord, log: Log, seen: Seen) -> bool:
    """Return whether a gap excuses a record that is not written. The worker has read what a log lost."""
    return any(
        partition == record.partition
        and first <= record.offset <= last
        and (reason == RETENTION or record.offset < log.beginning)
        for partition, first, last, reason in seen.gaps
    )


def _is_written(record: TopicRecord, seen: Seen) -> bool:
    event = _event(record.value)
    if event is None:
        return (record.partition, record.offset) in seen.letters
    return event.pattern_id in seen.rows and seen.rows[event.pattern_id] >= event.order


@pytest.mark.long
@pytest.mark.timeout(900)  # thousands of transactions, on any machine
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("steps", [15, 30])
def test_no_history_of_faults_loses_or_falsifies_anything(
    migrated_database_url: str, steps: int, part: int
) -> None:
    if settings().derandomize:
        seed(part)(History)  # otherwise all parts would draw the same histories
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connection = runner.run(asyncpg.connect(migrated_database_url))
        stores = [Store(migrated_database_url) for _ in WORKERS]
        try:
            runner.run(connection.execute(MAKE_BACKUP))
            config = WorkerSettings(
                database_url=SecretStr(migrated_database_url),
                kafka_topic=TOPIC,
                kafka_group_id=GROUP,
                batch_max_records=3,
                max_clock_skew_seconds=0,
            )
            run = runner.get_loop().run_until_complete  # `Runner.run` sets the handler of Ctrl-C each time
            History.database = Database(run, connection, stores, config, Metrics())
            run_state_machine_as_test(
                History,
                settings=settings(max_examples=HISTORIES // PARTS, stateful_step_count=steps),
            )
        finally:
            for store in stores:
                runner.run(store.close())
            runner.run(connection.close())
