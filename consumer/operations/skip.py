"""`skip`: moves a group past records on purpose. A gap in the database records which, and why."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalGenerationError, UnknownMemberIdError

from pattern_metrics.consumer.kafka.broker import group_members, require_topic, topic_ids
from pattern_metrics.consumer.kafka.clients import create_consumer
from pattern_metrics.consumer.kafka.leader_epochs import LeaderEpochs
from pattern_metrics.consumer.kafka.topic import READER_STOP_SECONDS_MAX, Slice
from pattern_metrics.consumer.postgres.store import Store, StoreTransaction
from pattern_metrics.consumer.records.offsets import (
    OffsetRange,
    Partition,
    Progress,
    Start,
    find_start,
)
from pattern_metrics.consumer.records.text import storable_text
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.stopping import end_within
from pattern_metrics.schemas.settings.timing import TIMING

Target: TypeAlias = int | datetime | Literal["latest"]
"""An offset, the first record written at a time or later, or the end of the log."""

_REASON: Final = "skipped: {}"


class SkipRefusedError(Exception):
    """Nothing was skipped; the message says why, and what to do."""


class UnusableTargetError(SkipRefusedError):
    """The target does not fit the topic."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The offsets of one partition that are skipped.

    Attributes:
        topic: the topic's name.
        partition: the partition's number.
        first_offset: the first offset that is skipped; a worker would read it next.
        next_offset: the first offset that is read.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int

    @property
    def offsets(self) -> int:
        """The number of offsets that are skipped. The number of records is smaller if the log has holes."""
        return self.next_offset - self.first_offset


async def skip(
    settings: WorkerSettings,
    to: Target,
    because: str,
    *,
    topic: str | None = None,
    partition: int | None = None,
    dry_run: bool = False,
) -> list[Skip]:
    """Record a gap up to a target, and let the group continue there. A partition beyond it stays as it is.

    Args:
        settings: the topics and the group.
        to: the place to continue at.
        because: the reason, which the gap keeps.
        topic: one of several topics; None for all of them.
        partition: one partition; None for all of them.
        dry_run: whether to write nothing.

    Returns:
        The offsets, by topic and partition, that are skipped, or would be in a dry run.

    Raises:
        SkipRefusedError: the group has members.
        UnusableTargetError: the target does not fit the topic.
        InvalidSliceError: the topic has no such partition.
        KafkaError: Kafka refused.
        asyncpg.PostgresError: PostgreSQL refused.
        OSError: a server cannot be reached.
    """
    partitions = await _partitions(settings, topic, partition)
    if isinstance(to, int) and len(partitions) > 1:
        raise UnusableTargetError(
            f"an OFFSET belongs to one partition, and there are {len(partitions)}: give --partition"
        )
    store = Store(settings.database_url.get_secret_value())
    try:
        async with _reading(settings) as consumer, store.transaction() as transaction:
            identities = await topic_ids(settings)
            starts = await _starts(settings, consumer, partitions, transaction, identities)
            # The consumer has waited for the group's coordinator, which a new cluster has to choose first.
            if members := await group_members(settings):
                raise _has_members(settings, f"{len(members)} members ({', '.join(sorted(set(members)))})")
            targets = await _targets(consumer, partitions, to)
            skips = [
                Skip(one.topic, one.partition, starts[one].offset, targets[one])
                for one in partitions
                if starts[one].offset < targets[one]
            ]
            if not dry_run:
                for one in skips:
                    await _record(transaction, settings.kafka_group_id, identities, one, starts, because)
                await _commit(settings, consumer, skips)  # the last step, after which the transaction commits
            return skips
    finally:
        await store.close()


def _has_members(settings: WorkerSettings, who: str) -> SkipRefusedError:
    return SkipRefusedError(
        f"the group {settings.kafka_group_id} has {who}: stop its workers (SIGTERM, `docker compose stop`, "
        "`kubectl scale --replicas=0`) and run this again; a worker that was killed is a member for 10 s more"
    )


@asynccontextmanager
async def _reading(settings: WorkerSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer that names the group and does not join it."""
    consumer = create_consumer(settings, TIMING)
    try:
        await consumer.start()
        yield consumer
    finally:
        await end_within(READER_STOP_SECONDS_MAX, consumer.stop())


async def _partitions(
    settings: WorkerSettings, topic: str | None, partition: int | None
) -> list[TopicPartition]:
    of_topics = [one for one in settings.each_topic() if topic in {None, one.kafka_topic}]
    if not of_topics:
        raise UnusableTargetError(f"{topic} is not a topic of KAFKA_TOPIC")
    which = Slice(partition=partition)
    return [
        partition
        for one in of_topics
        for partition in which.partitions(one.kafka_topic, await require_topic(one))
    ]


async def _starts(
    settings: WorkerSettings,
    consumer: AIOKafkaConsumer,
    partitions: list[TopicPartition],
    transaction: StoreTransaction,
    identities: Mapping[str, UUID],
) -> dict[Partition, Start]:
    """Return where a worker would start to read each partition."""
    progress = dict[Partition, Progress]()
    for topic, topic_id in identities.items():
        progress |= await transaction.progress(settings.kafka_group_id, topic, topic_id)
    beginnings = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    epochs = {one: progress[one].leader_epoch for one in partitions if one in progress}
    asked = {one: epoch for one, epoch in epochs.items() if epoch is not None}
    found, unavailable = await LeaderEpochs(consumer).ends(asked, TIMING.leader)
    for error in unavailable.values():
        raise error
    starts = dict[Partition, Start]()
    for one in partitions:
        committed, written = await consumer.committed(one), progress.get(one)
        position = ends[one] if committed is None or written is None else min(committed, written.next_offset)
        starts[one] = find_start(
            committed=committed,
            progress=written,
            beginning=beginnings[one],
            found=found.get(one),
            out_of_range=position if position > ends[one] else None,
        )
    return starts


async def _targets(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], to: Target
) -> dict[TopicPartition, int]:
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if to == "latest":
        return ends
    if isinstance(to, int):
        [(one, end)] = ends.items()
        if to > end:
            raise UnusableTargetError(f"the log of {one.topic} partition {one.partition} ends at {end}")
        return {one: to}
    time_ms = max(0, int(to.timestamp() * 1000))
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, time_ms))
    return {one: ends[one] if at is None else at.offset for one, at in found.items()}


async def _record(
    transaction: StoreTransaction,
    group: str,
    identities: Mapping[str, UUID],
    skipped: Skip,
    starts: Mapping[Partition, Start],
    because: str,
) -> None:
    partition = TopicPartition(skipped.topic, skipped.partition)
    gap = OffsetRange(skipped.first_offset, skipped.next_offset)
    for start in (
        starts[partition],
        Start(skipped.next_offset, gap, reason=_REASON.format(storable_text(because))),
    ):
        await transaction.begin_at(group, {partition: start}, identities[skipped.topic])


async def _commit(settings: WorkerSettings, consumer: AIOKafkaConsumer, skips: list[Skip]) -> None:
    """Move the group's offsets. A broker refuses that if the group has members."""
    offsets = {TopicPartition(one.topic, one.partition): one.next_offset for one in skips}
    if not offsets:
        return
    consumer.assign(list(offsets))
    try:
        await consumer.commit(offsets)
    except (CommitFailedError, IllegalGenerationError, UnknownMemberIdError) as error:
        raise _has_members(settings, "members by now") from error
