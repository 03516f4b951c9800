"""`verify`: is the table what it claims to be, by itself and against the topic?"""

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
from pattern_metrics.consumer.postgres.shadow import COMPARE_SECONDS_MAX, ShadowStore
from pattern_metrics.consumer.postgres.store import Store
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch, batch_of, decode_batch
from pattern_metrics.consumer.records.offsets import Partition
from pattern_metrics.consumer.records.record import Accepted, Rejected, StoredRecord
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import PatternScored

WRONG: Final = ("missing", "older", "different")
"""Findings against the topic that are wrong. A replay mends the first two; a different row has the time and
the event of the topic's, which therefore does not supersede it."""

TOLD: Final = ("newer", "absent_in_topic")
"""Findings that may come from a backfill, from records that retention has removed, or that a replay alone has
read so far."""

DIFFERENCES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: what was checked, in a few words.
        passed: whether it holds.
        detail: what was found.
        mend: the command that mends it; empty where none does.
    """

    name: str
    passed: bool
    detail: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"; mend it with: {self.mend}" if self.mend and not self.passed else ""
        return f"{'ok    ' if self.passed else 'FAILED'} {self.name} ({self.detail}){mend}"


async def check_table(settings: WorkerSettings) -> list[Check]:
    """Check what must hold of the table whatever the topic says.

    Raises:
        asyncpg.PostgresError: a statement failed.
        OSError: PostgreSQL is not reachable.
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


async def _check_revision(settings: WorkerSettings) -> Check:
    name = "the revision is the one that this release needs"
    try:
        status = await migration_status(settings.database_url.get_secret_value())
    except MigrationError as error:
        return Check(name, passed=False, detail=str(error))
    detail = f"at {status.current or 'none'}, needed {status.head}"
    return Check(name, status.up_to_date, detail, "pattern-metrics migrate up")


class _RollBackError(Exception):
    """Leaves a transaction without a trace."""


async def _check_upsert(store: Store) -> Check:
    """Try what the worker does, and roll it back."""
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
            raise _RollBackError  # noqa: TRY301 - it is the transaction that has to see it
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
    """The table against the topic.

    Attributes:
        accounting: what became of the topic's records in the fold.
        counts: finding → how many patterns; see `WRONG` and `TOLD`.
        examples: the first wrong ones.
        progress: partition → the offset up to which the group had written it.
        short_logs: partition → where its log ends, where that is before the progress.
        unknown: the partitions with records of which the group has written nothing: they are not compared.
    """

    accounting: Accounting
    counts: dict[str, int]
    examples: list[dict[str, Any]]
    progress: dict[Partition, int]
    short_logs: dict[Partition, int]
    unknown: list[Partition]

    def check_progress(self) -> Check:
        """Whether what the group has written is a part of the log, and each partition has one.

        A log that was made anew lacks some; of a partition without progress nothing could be compared.
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
        """The verdict; strict, it also counts what the topic does not explain."""
        counted = (*WRONG, *TOLD) if strict else WRONG
        passed = not any(self.counts.get(finding, 0) for finding in counted)
        found = [f"{self.counts.get(finding, 0):,} {finding}" for finding in (*WRONG, *TOLD)]
        shown = [
            f"{example['pattern_id']} {example['finding']}"
            for example in self.examples
            if example["finding"] in counted
        ]
        detail = "; ".join([str(self.accounting), ", ".join(found), *shown])
        mend = "pattern-metrics replay"
        if not any(self.counts.get(finding, 0) for finding in WRONG):
            mend = (
                "deleting the rows that nothing explains: no backfill, no record that retention took, none "
                "that the group has yet to read"
            )
        if self.counts.get("different", 0):
            mend = (
                f"deleting the rows that are different, then {mend} (it alone supersedes no row of the same "
                "event_id and time; of two contents of one event_id in the topic, the first read stays)"
            )
        return Check("the table is the fold of the topic", passed, detail, mend)


async def compare_with_topic(settings: WorkerSettings, advance: Advance) -> Comparison:
    """Fold the topic by the same law, in a temporary table, and compare; workers may write meanwhile.

    What the group had written when this began is compared: what was read since can only make rows newer. A
    record that is a dead letter is none of the fold, although by today's rules it might be valid.

    Raises:
        KafkaError: the topic cannot be read.
        ShadowLostError: the connection to PostgreSQL broke; run it again.
    """
    group, ends = settings.kafka_group_id, dict[Partition, int]()
    store = ShadowStore(settings.database_url.get_secret_value(), loads_rows=False)
    total, short_logs = Accounting(), dict[Partition, int]()
    identities = await topic_ids(settings)
    try:
        async with store.transaction() as transaction:
            for topic, topic_id in identities.items():
                stored = await transaction.progress(group, topic)
                progress = await transaction.progress(group, topic, topic_id)
                # Progress in another topic of this name reads as less. Workers may have moved it on.
                ends |= {tp: offset for tp, offset in progress.items() if offset >= stored.get(tp, 0)}
        bounds = await read_bounds(settings)
        reading = read_topic(settings, ends=ends, on_short=short_logs.__setitem__, advance=advance)
        async with aclosing(reading) as batches:
            async for records in batches:
                batch = decode_batch(
                    records, accepted_until=settings.accepted_until(), envelope=settings.envelope
                )
                batch = await _without_dead_letters(store, batch)
                async with store.transaction() as transaction:
                    accounting, dead = await store_batch(transaction, batch)
                    await transaction.insert_dead_letters(dead)
                total += accounting
        counts = await store.count_differences()
        examples = [
            example
            for findings in (WRONG, TOLD)
            if any(map(counts.get, findings))
            for example in await store.differences(findings, DIFFERENCES_SHOWN)
        ]
    finally:
        await store.close()
    unknown = [tp for tp, end in bounds.ends.items() if tp not in ends and end > bounds.beginnings[tp]]
    unknown += [tp for tp in bounds.unavailable if tp not in ends]
    return Comparison(total, counts, examples, ends, short_logs, sorted(unknown))


async def _without_dead_letters(store: ShadowStore, batch: Batch) -> Batch:
    if not batch.accepted:
        return batch
    aside = await store.set_aside([accepted.record for accepted in batch.accepted])
    return batch_of(
        Rejected(fate.record, RejectReason.REFUSED_BY_DATABASE, "a dead letter already")
        if (fate.record.partition, fate.record.offset) in aside
        else fate
        for fates in batch.fates.values()
        for fate in fates
    )
