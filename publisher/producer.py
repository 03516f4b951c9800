"""A producer that gives each record an outcome of its own, in bounded time. It knows aiokafka's inside.

It uses aiokafka's client, and not aiokafka's producer. After a refused batch that producer counts the
partition's sequence on, so that the broker refuses all that follows. It repeats a batch for ever whose caller
gave up, and it cannot split a batch.
"""

import asyncio
import ctypes
import os
import ssl
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakSet

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from pattern_metrics.publisher.records import Acknowledged, EncodedRecord, Outcome, Refused, Unacknowledged
from pattern_metrics.schemas.backoff import backoff_seconds
from pattern_metrics.schemas.settings.kafka import KafkaSettings, SettingFileError
from pattern_metrics.schemas.settings.kafka_client import ask_side_by_side

T = TypeVar("T")

_CONNECTION_CLOSE_SECONDS: Final = 1.0
"""Longest wait for the end of a connection. By then it is closed on this side."""

_REQUEST_SECONDS_MAX: Final = 10.0
"""Longest wait for the answer to one request. A call has time for three, the first on a dead connection."""

_IDLE_SECONDS_MAX: Final = 180.0
"""An idle connection is closed after this time. Common firewalls forget one after four minutes."""

_BACKOFF_FIRST_SECONDS: Final = 0.1
_BACKOFF_LONGEST_SECONDS: Final = 1.0

_MISSING_SECONDS: Final = 2.0
"""The brokers may deny the topic for this long: a new topic is not known to all of them at once."""

_BATCH_BYTES_MAX: Final = 128 * 1024

_KEYS_MAX: Final = 10_000
"""Keys whose partition is remembered: about 2 MB. aiokafka computes one in Python."""

_NO_PRODUCER: Final = (-1, -1)

_REFUSALS: Final = {
    10: "larger than the topic's max.message.bytes",
    18: "its batch is larger than the topic's segment.bytes",
    87: "invalid by the broker's rules",
}
"""Error codes whose reason lies in the records of the batch."""

_LOST_SEQUENCE: Final = {45, 46, 47, 49, 59}
"""Error codes after which a new producer id is needed."""


class RefusedBatchError(Exception):
    """The broker refused a batch because of a record in it, or because of its size."""


@lru_cache(_KEYS_MAX)
def home_partition(key: bytes, count: int) -> int:
    """Return the partition of a key in a topic of `count` partitions, as Kafka's own clients choose it."""
    partition: int = DefaultPartitioner()(key, range(count), range(count))
    return partition


class _LostSequenceError(Exception):
    """The broker does not know this producer id, or expects another sequence number."""


class _Call:
    """The records of one call of `Producer.deliver`."""

    def __init__(self, count: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self.done = asyncio.get_running_loop().create_future()
        self.is_over = False
        self._missing = count

    def settle(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        self._missing -= 1
        if self._missing == 0 and not self.done.done():
            self.done.set_result(None)


class _Item(NamedTuple):
    call: _Call
    place: int
    record: EncodedRecord


class Producer:
    """Writes records to one topic, for any number of tasks of one event loop.

    Args:
        settings: the brokers and the topic.
        seconds: the longest time for one call.
    """

    def __init__(self, settings: KafkaSettings, seconds: float) -> None:
        self._settings = settings
        self._seconds = seconds
        self._client: Any = None
        self._lanes = dict[int, _Lane]()
        self._refreshing = asyncio.Lock()
        self._refreshed_at = 0.0
        self.topic = settings.kafka_topic
        self.request_seconds = min(_REQUEST_SECONDS_MAX, seconds / 3)
        self.is_forked = False
        self.is_idempotent = settings.kafka_enable_idempotence

    async def open(self, *, waits_for_a_broker: bool = True) -> None:
        """Connect to a broker.

        Args:
            waits_for_a_broker: whether to try again and again, up to the longest time for a call.

        Raises:
            KafkaError: no broker can be reached, or it refuses the login.
            OSError: a file that a setting names cannot be read.
            TokenProviderError: the token provider failed.
        """
        trouble = list[Exception]()
        try:
            async with asyncio.timeout(self._seconds):
                await self.persist(self._connect, trouble.append, lambda: waits_for_a_broker)
        except TimeoutError:
            raise (trouble or [self._late()])[-1] from None

    async def deliver(self, records: Sequence[EncodedRecord]) -> list[Outcome]:
        """Write records, and return the outcome of each, in their order. It takes no more than its time.

        The records of all calls that wait for one partition share a batch.
        """
        call, lanes, trouble = _Call(len(records)), list[_Lane](), list[Exception]()
        try:
            async with asyncio.timeout(self._seconds):
                numbers = await self.persist(self._partitions, trouble.append, lambda: True)
                trouble.clear()
                lanes = [self._lane(home_partition(record.key, len(numbers))) for record in records]
                for index, (lane, record) in enumerate(zip(lanes, records, strict=True)):
                    lane.put(_Item(call, index, record))
                await (call.done if records else asyncio.sleep(0))
        except TimeoutError:
            trouble = trouble or [self._late()]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            trouble.append(error)
        finally:
            call.is_over = True
        causes = [lane.trouble or trouble[-1] for lane in lanes] if trouble else []
        return [
            outcome or Unacknowledged(causes[index] if causes else trouble[-1])
            for index, outcome in enumerate(call.outcomes)
        ]

    async def close(self) -> None:
        """Stop at once, and close the connections."""
        await asyncio.gather(*(lane.stop() for lane in self._lanes.values()))
        client, self._client = self._client, None
        if client is not None:
            await _close(client)

    async def persist(
        self,
        step: Callable[[AIOKafkaClient], Awaitable[T]],
        note: Callable[[Exception], None],
        is_wanted: Callable[[], bool],
    ) -> T:
        """Repeat a step until it succeeds, for as long as its failures are ones that pass.

        Args:
            step: is called with the present client.
            note: is called with each failure.
            is_wanted: whether anybody still waits for the step.

        Raises:
            Exception: the failure that does not pass; or the last one, once nobody waits.
        """
        client, failures, failed_at, missing_since = self._client, 0, 0.0, 0.0
        while True:
            try:
                if failures:
                    await self._refresh(client, failed_at)
                client = self._client
                return await step(client)
            except Exception as error:
                note(error)
                failures, failed_at = failures + 1, time.monotonic()
                if isinstance(error, UnknownTopicOrPartitionError):
                    missing_since = missing_since or failed_at
                    may_pass = failed_at - missing_since < _MISSING_SECONDS
                else:
                    may_pass = _passes(error)
                if not (may_pass and is_wanted()):
                    raise
            await asyncio.sleep(
                backoff_seconds(failures, first=_BACKOFF_FIRST_SECONDS, longest=_BACKOFF_LONGEST_SECONDS)
            )

    async def _refresh(self, client: AIOKafkaClient, asked_at: float) -> None:
        """Ask for metadata. If no known broker answers, replace the client."""
        async with self._refreshing:
            if client is None or client is not self._client or self._refreshed_at > asked_at:
                return
            is_answered = False
            with suppress(TimeoutError):
                async with asyncio.timeout(1.5 * self.request_seconds):
                    is_answered = await client.force_metadata_update()
            self._refreshed_at = time.monotonic()
            if not is_answered:
                await self._connect(client)

    async def _connect(self, before: AIOKafkaClient | None) -> None:
        """Connect by the settings, whose files may have changed and whose names may have new addresses."""
        client = AIOKafkaClient(
            **self._settings.client_options(),
            client_id="pattern-metrics-publisher",
            request_timeout_ms=int(self.request_seconds * 1000),
            connections_max_idle_ms=int(_IDLE_SECONDS_MAX * 1000),
        )
        ask_side_by_side(client)
        try:
            await client.bootstrap()
        except BaseException:
            await _close(client)
            raise
        self._client = client
        _opened.add(self)
        if before is not None:
            await _close(before)

    async def _partitions(self, client: AIOKafkaClient) -> list[int]:
        """Return the numbers of the topic's partitions.

        Raises:
            UnknownTopicOrPartitionError: there is no such topic.
            TopicAuthorizationFailedError: the topic is denied.
        """
        numbers = client.cluster.partitions_for_topic(self.topic)
        if numbers is None:
            client.add_topic(self.topic)
            async with asyncio.timeout(self.request_seconds):
                if not await client.force_metadata_update():
                    raise KafkaConnectionError("no broker answers")
            numbers = client.cluster.partitions_for_topic(self.topic)
        if self.topic in client.cluster.unauthorized_topics:
            raise TopicAuthorizationFailedError(self.topic)
        if not numbers:
            raise UnknownTopicOrPartitionError(f"topic {self.topic} does not exist")
        return sorted(numbers)

    async def leader(self, client: AIOKafkaClient, partition: int) -> int:
        """Return the node that leads a partition.

        Raises:
            LeaderNotAvailableError: names the partitions without a leader.
            KafkaError: see `_partitions`.
        """
        numbers = await self._partitions(client)
        if partition not in numbers:
            raise UnknownTopicOrPartitionError(f"topic {self.topic} has no partition {partition}")
        leader: int | None = client.cluster.leader_for_partition(TopicPartition(self.topic, partition))
        if leader is None or leader < 0:
            available = client.cluster.available_partitions_for_topic(self.topic) or set()
            without = ", ".join(str(number) for number in numbers if number not in available)
            raise LeaderNotAvailableError(f"unavailable partitions of {self.topic}: {without} (no leader)")
        return leader

    def _lane(self, partition: int) -> "_Lane":
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane(self, partition)
        return lane

    def _late(self) -> TimeoutError:
        return TimeoutError(f"no acknowledgement within {self._seconds:g} s")


class _Lane:
    """Writes the records of one partition, one batch after the other."""

    def __init__(self, producer: Producer, partition: int) -> None:
        self.trouble: Exception | None = None  # of the batch in flight
        self._producer = producer
        self._partition = partition
        self._waiting = deque[_Item]()
        self._task: asyncio.Task[None] | None = None
        self._identity = _NO_PRODUCER
        self._sequence = 0
        self._bytes_max = _BATCH_BYTES_MAX

    def put(self, item: _Item) -> None:
        self._waiting.append(item)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CONNECTION_CLOSE_SECONDS)

    async def _run(self) -> None:
        try:
            while items := self._take():
                await self._write(items)
        finally:
            self._task = None

    def _take(self) -> list[_Item]:
        """Take the records of a batch. Records whose caller has given up are dropped."""
        items, size = list[_Item](), 0
        while self._waiting and (not items or size + self._waiting[0].record.size <= self._bytes_max):
            item = self._waiting.popleft()
            if not item.call.is_over:
                items.append(item)
                size += item.record.size
        return items

    async def _write(self, items: Sequence[_Item]) -> None:
        """Write records as one batch, or in halves if the broker refuses the batch. Settle each of them."""
        items = [item for item in items if not item.call.is_over]
        if not items:
            return
        try:
            offset = await self._append(items)
        except RefusedBatchError as error:
            if len(items) > 1:
                # The limit is learned, unless a single record proves to be the cause.
                self._bytes_max = max(1, sum(item.record.size for item in items) // 2)
                half = len(items) // 2
                await self._write(items[:half])
                await self._write(items[half:])
                return
            self._bytes_max = _BATCH_BYTES_MAX
            outcomes: list[Outcome] = [Refused(str(error))]
        except Exception as error:  # noqa: BLE001 - whatever it is, the lane goes on
            outcomes = [Unacknowledged(error)] * len(items)
        else:
            topic, partition = self._producer.topic, self._partition
            outcomes = [Acknowledged(topic, partition, offset + index) for index in range(len(items))]
        for item, outcome in zip(items, outcomes, strict=True):
            item.call.settle(item.place, outcome)

    async def _append(self, items: Sequence[_Item]) -> int:
        """Append a batch to the log, and return its first offset.

        A repeated attempt sends the same bytes, so that the broker recognises it. A sequence number is never
        used again for other records if it may have arrived: the broker would take them for the first ones.

        Raises:
            RefusedBatchError: nothing was written.
            Exception: see `Producer.persist`.
        """
        attempts, batch = 0, b""

        async def attempt(client: AIOKafkaClient) -> int:
            nonlocal attempts, batch
            leader = await self._producer.leader(client, self._partition)
            if self._producer.is_idempotent and self._identity == _NO_PRODUCER:
                self._identity, self._sequence, batch = await _new_identity(client), 0, b""
            batch = batch or _encode(items, self._identity, self._sequence)
            attempts += 1
            try:
                return await self._produce(client, leader, batch)
            except _LostSequenceError:
                self._identity = _NO_PRODUCER
                raise

        try:
            offset = await self._producer.persist(
                attempt, self._note, lambda: not all(item.call.is_over for item in items)
            )
        except BaseException as error:
            if attempts > 1 or not isinstance(error, RefusedBatchError):
                self._identity = _NO_PRODUCER
            raise
        self._sequence = (self._sequence + len(items)) & 0x7FFF_FFFF
        self.trouble = None
        return offset

    def _note(self, error: Exception) -> None:
        self.trouble = error

    async def _produce(self, client: AIOKafkaClient, leader: int, batch: bytes) -> int:
        topic = self._producer.topic
        timeout_ms = int(self._producer.request_seconds * 1000)
        request = ProduceRequest(None, -1, timeout_ms, [(topic, [(self._partition, batch)])])
        response = await client.send(leader, request)
        [(_, [(_, code, offset, *_)])] = response.topics
        if code in _REFUSALS:
            raise RefusedBatchError(_REFUSALS[code])
        if code in _LOST_SEQUENCE:
            raise _LostSequenceError(for_code(code).__name__)
        if code:
            raise for_code(code)(topic)
        return int(offset)


def _encode(items: Sequence[_Item], identity: tuple[int, int], sequence: int) -> bytes:
    size = sum(item.record.size for item in items) + 1024
    builder = DefaultRecordBatchBuilder(2, DefaultRecordBatch.CODEC_LZ4, 0, *identity, sequence, size)
    for offset, (_, _, record) in enumerate(items):
        builder.append(offset, None, record.key, record.value, record.headers)
    return bytes(builder.build())


async def _new_identity(client: AIOKafkaClient) -> tuple[int, int]:
    """Return a new producer id and its epoch.

    Raises:
        IncompatibleBrokerVersion: the broker has no InitProducerId.
        KafkaError: the broker refused, or does not answer.
    """
    try:
        answer = await client.send(client.get_random_node(), InitProducerIdRequest(None, 2**31 - 1))
        if answer.error_code:
            raise for_code(answer.error_code)
    except (IncompatibleBrokerVersion, UnknownError) as error:
        raise IncompatibleBrokerVersion(
            "the broker has no InitProducerId: set KAFKA_ENABLE_IDEMPOTENCE=false"
        ) from error
    return answer.producer_id, answer.producer_epoch


async def _close(client: AIOKafkaClient) -> None:
    """Close a client. It swallows a cancellation, which is therefore raised again."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_CONNECTION_CLOSE_SECONDS):
            await client.close()
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def _passes(error: Exception) -> bool:
    """Return whether a failure may pass by itself, within seconds."""
    cause = error.__cause__ or error
    if isinstance(cause, (ssl.SSLCertVerificationError, SettingFileError)):
        return False
    if isinstance(cause, KafkaError) and not cause.retriable:
        return False
    if isinstance(error, KafkaError):
        return bool(error.retriable)
    return isinstance(error, (OSError, TimeoutError, KeyError, _LostSequenceError))


_opened = WeakSet[Producer]()


def _leave_to_the_parent() -> None:
    """In a forked child: never use or finalize what belongs to the parent.

    The child shares the selector with the parent's event loop. A connection that it finalizes would be
    unregistered there, and the parent would wait for its answers in vain.
    """
    for producer in list(_opened):
        producer.is_forked = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_leave_to_the_parent)
