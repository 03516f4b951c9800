"""`verify`: checks the table by itself, and against the topic."""

import uuid
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from pattern_metrics.consumer.ingestion import store_batch
from pattern_metrics.consumer.kafka.broker import topic_ids
from pattern_metrics.consumer.kafka.topic import Advance, read_bounds, read_topic
from pattern_metrics.consumer.operations.migration import MigrationError, migration_status
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import connected
from pattern_metrics.consumer.postgres.later_clock import LaterClock
from pattern_metrics.consumer.postgres.shadow import COMPARE_SECONDS_MAX, ShadowStore
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch, batch_of, decode_batch
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.records.record import Accepted, Rejected, Retired, StoredRecord
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import PatternScored

WRONG: Final = ("missing", "older", "different")
"""Findings that are wrong.

A replay repairs the first two. A different row has the time and the event_id of the topic's event, so the
event does not supersede it.
"""

TOLERATED: Final = ("newer", "absent_in_topic")
"""Findings that have other causes: a backfill, retention, or a record that only a replay has read so far."""

DIFFERENCES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One property that must hold.

    Attributes:
        name: the property, in a few words.
        passed: whether it holds.
        detail: the evidence.
        mend: the command that repairs it; empty if there is none.
    """

    name: str
    passed: bool
    detail: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"; mend it with: {self.mend}" if self.mend and not self.passed else ""
        return f"{'ok    ' if self.passed else 'FAILED'} {self.name} ({self.detail}){mend}"


async def check_table(settings: WorkerSettings) -> list[Check]:
    """Check the properties that the table must have, whatever the topic holds.

    Raises:
        asyncpg.PostgresError: a statement failed.
        OSError: PostgreSQL cannot be reached.
        TimeoutError: the table could not be read in time.
    """
    revision = await _check_revision(settings)
    store = Store(settings.database_url.get_secret_value())
    try:
        async with store.transaction() as transaction:
            [row] = await transaction.connection.fetch(
                statement("select_table_checks"), timeout=COMPARE_SECONDS_MAX
            )
        return [
            revision,
            Check(
                "the constraint of 014 is there",
                row["has_constraint"],
                "pattern_quality_metrics_pattern_id_unique: UNIQUE (pattern_id)",
                "dropping another of that name, if there is one, and pattern-metrics migrate up",
            ),
            Check(
                "no pattern occurs twice",
                row["rows"] == row["patterns"],
                f"{row['rows']:,} rows, {row['patterns']:,} patterns",
                "pattern-metrics migrate up",
            ),
            Check(
                "scores are from 0 to 1",
                row["out_of_range"] == 0,
                f"{row['out_of_range']:,} are not",
                "deleting WHERE quality_score NOT BETWEEN 0 AND 1 OR confidence NOT BETWEEN 0 AND 1, and "
                "pattern-metrics replay",
            ),
            await _check_upsert(store),
        ]
    finally:
        await store.close()


async def check_times(settings: WorkerSettings) -> Check:
    """Check that no row is pinned: no event supersedes a row of the future until that time has come.

    Raises:
        Exception: see `check_table`.
    """
    clock, skew_seconds = LaterClock(), settings.max_clock_skew_seconds
    async with connected(settings.database_url.get_secret_value()) as connection:
        await clock.compare(connection)
        [row] = await connection.fetch(statement("select_odd_times"), settings.accepted_until(clock.now()))
    detail = f"{row['in_future']:,} lie more than {skew_seconds} s ahead"
    if row["before_year_1"]:
        detail += f"; {row['before_year_1']:,} lie before the year 1, and any event supersedes them"
    return Check(
        "no measurement is in the future",
        row["in_future"] == 0,
        "; ".join([detail, *row["examples_in_future"]]),
        f"deleting WHERE measurement_timestamp > now() + interval '{skew_seconds} s', and "
        "pattern-metrics replay",
    )


async def _check_revision(settings: WorkerSettings) -> Check:
    name = "the revision is the one that this release needs"
    try:
        status = await migration_status(settings.database_url.get_secret_value())
    except MigrationError as error:
        return Check(name, passed=False, detail=str(error))
    detail = f"at {status.current or 'none'}, needed {status.head}"
    return Check(name, status.up_to_date, detail, "pattern-metrics migrate up")


class _RollBackError(Exception):
    """Rolls a transaction back without another effect."""


async def _check_upsert(store: Store) -> Check:
    """Write a row as the worker does, and roll the transaction back."""
    name, pattern_id, measured_at = (
        "a second insert of a pattern updates its row",
        uuid.uuid4(),
        datetime.now(UTC),
    )
    applied, count, refused = 0, 0, list[Rejected]()
    try:
        async with store.transaction() as transaction:
            for seconds in range(2):
                event = PatternScored(
                    event_id=uuid.uuid4(),
                    pattern_id=pattern_id,
                    quality_score=0.5,
                    confidence=0.5,
                    measurement_timestamp=measured_at + timedelta(seconds=seconds),
                )
                record = StoredRecord("verify", 0, seconds, -1, event.to_json())
                merged, refused = await transaction.table.merge([Accepted(record, event)])
                applied += merged
            count = await transaction.connection.fetchval(statement("select_pattern_count"), pattern_id)
            raise _RollBackError  # noqa: TRY301 - the transaction has to see it
    except asyncpg.InsufficientPrivilegeError as error:
        mend = "making the login a member of pattern_metrics_worker"
        return Check(name, passed=False, detail=error.args[0], mend=mend)
    except asyncpg.PostgresError as error:
        return Check(name, passed=False, detail=error.args[0], mend="pattern-metrics migrate up")
    except _RollBackError:
        passed = applied == 2 and count == 1  # noqa: PLR2004 - an insert and an update, one row
    detail = f"the database refuses it: {refused[0].detail}" if refused else "tried, and rolled back"
    return Check(name, passed, detail)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The table compared with the topic.

    Attributes:
        accounting: the outcome of the topic's records in the fold.
        counts: number of patterns by finding; see `WRONG` and `TOLERATED`.
        examples: the first wrong patterns.
        progress: for each partition, the offset up to which the group had written it.
        short_logs: the end of each log that ends before the progress.
        unknown: partitions that have records, but of which the group has written nothing. They are not
            compared.
    """

    accounting: Accounting
    counts: dict[str, int]
    examples: list[dict[str, Any]]
    progress: dict[Partition, int]
    short_logs: dict[Partition, int]
    unknown: list[Partition]

    def check_progress(self) -> Check:
        """Check that each partition has progress, and that the progress lies inside the partition's log.

        The log of a recreated topic may be shorter than the progress. Nothing can be compared in a partition
        without progress.
        """
        beyond = [
            f"{self._name(partition)} is written up to {self.progress[partition]:,}, its log ends at {end:,}"
            for partition, end in self.short_logs.items()
        ]
        beyond += [
            f"{self._name(partition)} has records, and this group (KAFKA_GROUP_ID) no progress in this topic"
            for partition in self.unknown
        ]
        detail = "; ".join(beyond) or f"{len(self.progress):,} partitions"
        return Check("the progress lies within the log", not beyond, detail, "pattern-metrics consume")

    def _name(self, partition: Partition) -> str:
        topic, number = partition
        is_one_of_several = len({name for name, _ in (*self.progress, *self.unknown)}) > 1
        return f"partition {number} of {topic}" if is_one_of_several else f"partition {number}"

    def check(self, *, strict: bool) -> Check:
        """Return the verdict. `strict` also fails on findings that the topic does not explain."""
        counted = (*WRONG, *TOLERATED) if strict else WRONG
        passed = not any(self.counts.get(finding, 0) for finding in counted)
        found = [f"{self.counts.get(finding, 0):,} {finding}" for finding in (*WRONG, *TOLERATED)]
        shown = [
            f"{example['pattern_id']} {example['finding']}"
            for example in self.examples
            if example["finding"] in counted
        ]
        detail = "; ".join([str(self.accounting), ", ".join(found), *shown])
        mend = "pattern-metrics replay"
        if not any(self.counts.get(finding, 0) for finding in WRONG):
            mend = (
                "deleting the rows that have no other cause: no backfill, no record that retention "
                "removed, no record that the group has yet to read"
            )
        if self.counts.get("different", 0):
            mend = (
                f"deleting the rows that are different, then {mend} (which alone supersedes no row of the "
                "same event_id and time; of two contents of one event_id in the topic, the first stays)"
            )
        return Check("the table is the fold of the topic", passed, detail, mend)


async def compare_with_topic(settings: WorkerSettings, advance: Advance) -> Comparison:
    """Fold the topic in a temporary table, and compare it with the table. Workers may write meanwhile.

    Only the records that the group had written when the call began are folded. Records that were written
    since can only make rows newer. A record that is a dead letter is not folded, although the current rules
    might accept it.

    Raises:
        KafkaError: the topic cannot be read.
        ShadowLostError: the connection to PostgreSQL broke; run it again.
        asyncpg.PostgresError: a statement failed.
        OSError: PostgreSQL cannot be reached.
    """
    group, ends = settings.kafka_group_id, dict[Partition, int]()
    store = ShadowStore(settings.database_url.get_secret_value(), loads_rows=False)
    total, short_logs = Accounting(), dict[Partition, int]()
    identities = await topic_ids(settings)
    try:
        async with store.transaction() as transaction:
            for topic, topic_id in identities.items():
                progress = await transaction.progress(group, topic, topic_id)
                ends |= {tp: one.next_offset for tp, one in progress.items()}
        bounds = await read_bounds(settings)
        reading = read_topic(settings, ends=ends, on_short=short_logs.__setitem__, advance=advance)
        async with aclosing(reading) as batches:
            async for records in batches:
                accepted_until = settings.accepted_until(store.clock.now())
                batch = decode_batch(records, accepted_until=accepted_until, envelope=settings.envelope)
                batch = await _without_dead_letters(store, batch)
                async with store.transaction() as transaction:
                    accounting, dead = await store_batch(transaction, batch)
                    await transaction.insert_dead_letters(dead)
                total += accounting
        counts = await store.count_differences()
        examples = [
            example
            for findings in (WRONG, TOLERATED)
            if any(map(counts.get, findings))
            for example in await store.differences(findings, DIFFERENCES_SHOWN)
        ]
    finally:
        await store.close()
    unknown = [tp for tp, end in bounds.ends.items() if tp not in ends and end > bounds.beginnings[tp]]
    unknown += [tp for tp in bounds.unavailable if tp not in ends]
    return Comparison(total, counts, examples, ends, short_logs, sorted(unknown))


async def _without_dead_letters(store: ShadowStore, batch: Batch) -> Batch:
    valid: list[Accepted | Retired] = [*batch.accepted, *batch.retired]
    if not valid:
        return batch
    recorded = await store.recorded_dead_letters([each.record for each in valid])
    return batch_of(
        Rejected(fate.record, RejectReason.REFUSED_BY_DATABASE, "a dead letter already")
        if (fate.record.partition, fate.record.offset) in recorded
        else fate
        for fates in batch.fates.values()
        for fate in fates
    )
