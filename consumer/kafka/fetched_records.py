"""Changes how aiokafka 0.14 unpacks fetched records: with any header names, and with less work per record.

Brokers accept header names that are not UTF-8, and clients such as librdkafka send any bytes. aiokafka
decodes the names strictly while it unpacks a batch. So one bad name makes every poll of its partition raise,
and the position never moves. This module unpacks such a batch a second time, leniently: bytes that are not
UTF-8 become backslash escapes in the name. The record's value then decides its fate, as for any other record.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any, Final, TypeVar

import aiokafka
import msgspec
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from typing_extensions import override

from pattern_metrics.consumer.records.offsets import next_offset
from pattern_metrics.consumer.records.record import Mode, mode_of
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE

_VERSION: Final = "0.14."
"""The versions of aiokafka whose internals this module depends on."""

if not aiokafka.__version__.startswith(_VERSION):
    raise ImportError(
        f"aiokafka {aiokafka.__version__} is installed, but pattern-metrics depends on internals of "
        f"{_VERSION}x: pip install 'aiokafka=={_VERSION}*'"
    )

UnpackedT = TypeVar("UnpackedT")

_EPOCHS: Final = "pattern_metrics_leader_epochs"
"""The attribute that is added to aiokafka's state of a partition."""

_MAGIC_AT: Final = 16
_FIRST_MAGIC_WITH_EPOCH: Final = 2
_EPOCH_AT: Final = slice(12, 16)

_OWN_HEADERS: Final = [("content-type", b"application/json"), ("ce_type", EVENT_TYPE.encode())]
"""The first headers of our publisher. They need no check: the value is the event itself."""


class FetchedRecord(msgspec.Struct, gc=False):
    """A record as a consumer delivers it: the part of aiokafka's record class that `Record` needs.

    Creating it takes a quarter of the time of aiokafka's own record, and the garbage collector does not visit
    it. Key and headers are unpacked only if the record becomes a dead letter, because they would take more
    memory than the rest. So is the value, after it was decoded and released.
    """

    offset: int
    timestamp: int
    unpacked_value: bytes | msgspec.UnsetType | None
    mode: Mode
    packed: "_Packed"

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.packed.topic

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self.packed.partition

    @property
    def value(self) -> bytes | None:
        """The exact bytes of the value. After a release they are unpacked again, like the key."""
        if self.unpacked_value is msgspec.UNSET:
            return self.packed.values[self.offset]
        return self.unpacked_value

    @property
    def key(self) -> bytes | None:
        """The exact bytes of the key. They are unpacked again, with the keys of the whole batch."""
        return self.packed.others[self.offset][0]

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Names and values, in order. They are unpacked like the key."""
        return self.packed.others[self.offset][1]

    def release_value(self) -> None:
        """Free the value's memory. A later reader unpacks the value again."""
        self.unpacked_value = msgspec.UNSET


def unpack_by_these_rules() -> None:
    """Use these classes in every consumer of this process, by replacing the names that aiokafka looks up."""
    fetcher.MemoryRecords = _FetchedBatches
    fetcher.PartitionRecords = _PartitionRecords
    fetcher.FetchResult = _FetchResult


class _FetchResult(fetcher.FetchResult):
    """The remaining records of one partition in one fetch."""

    _partition_records: Any  # of the class below, until there are no more records

    @override
    def getall(self, max_records: int | None = None) -> list[FetchedRecord]:
        """Take all records at once, and not one by one."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        taken: list[FetchedRecord] = self._partition_records.take(max_records)
        self._update_position()
        self._note_leader_epoch()
        if max_records is None or len(taken) < max_records:
            self._partition_records = None
        return taken

    def _note_leader_epoch(self) -> None:
        state = self._assignment.state_value(self._topic_partition)
        epochs: dict[int, int] = state.__dict__.setdefault(_EPOCHS, {})
        epochs[self._partition_records.leader_epoch] = state.position


def take_leader_epochs(state: Any) -> dict[int, int]:
    """Return the leader epochs of the records of a partition read since the last call, in order.

    Args:
        state: aiokafka's state of an assigned partition.

    Returns:
        For the last batch of each `getall`, the position after it by its leader epoch. The epoch is negative
        if the broker gives none.
    """
    epochs: dict[int, int] = state.__dict__.pop(_EPOCHS, {})
    return epochs


class _PartitionRecords(fetcher.PartitionRecords):
    """The records of one partition in one fetch. aiokafka iterates over its batches."""

    @override
    def __init__(self, tp: Any, records: "_FetchedBatches", *others: Any) -> None:
        super().__init__(tp, records, *others)
        records.partition = tp
        self._batches = records
        self._left = chain.from_iterable(self._records_iterator)

    @property
    def leader_epoch(self) -> int:
        """The leader epoch of the last batch that was begun, including markers and aborted batches."""
        return self._batches.leader_epoch

    def take(self, at_most: int | None) -> list[FetchedRecord]:
        """Take the next records; fewer than `at_most` if the fetch has no more."""
        taken = list(islice(self._left, at_most))
        if taken and len(taken) == at_most:
            self.next_fetch_offset = next_offset(taken[-1])  # not past the whole batch
        return taken

    @override
    def __next__(self) -> FetchedRecord:
        if not (taken := self.take(1)):
            raise StopIteration
        return taken[0]

    @override
    def _consumer_record(self, tp: Any, record: "_Unpacked") -> list[FetchedRecord]:
        """Return the requested records of a batch, because a broker sends whole batches."""
        if record.records[0].offset >= self.next_fetch_offset:
            return record.records
        return [each for each in record.records if each.offset >= self.next_fetch_offset]


class _FetchedBatches(_MemoryRecordsPy):
    """The batches of one fetch.

    Attributes:
        partition: the topic and the number, once they are known.
        leader_epoch: the leader epoch of the last batch that was taken; -1 if it has none.
    """

    partition: tuple[str, int]
    leader_epoch = -1

    @override
    def next_batch(self) -> Any:
        raw = self._next_slice
        batch = super().next_batch()
        self.leader_epoch = _leader_epoch(raw)
        return None if batch is None else _FetchedBatch(_Packed(*self.partition, raw), batch)


def _leader_epoch(raw: memoryview | None) -> int:
    """Return the leader epoch that the header of a batch holds; -1 if the batch is of an older format."""
    if raw is None or raw[_MAGIC_AT] < _FIRST_MAGIC_WITH_EPOCH:
        return -1
    return int.from_bytes(raw[_EPOCH_AT], signed=True)


class _FetchedBatch:
    """aiokafka's batch, presented to aiokafka as a batch of a single record."""

    def __init__(self, packed: "_Packed", batch: Any) -> None:
        self._packed = packed
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator["_Unpacked"]:
        records = _unpack(self._packed.raw, self._batch, self._fetched)
        if records:
            yield _Unpacked(records[-1].offset, records)

    def _fetched(self, records: Iterable[Any]) -> list[FetchedRecord]:
        packed = self._packed
        return [
            FetchedRecord(
                record.offset,
                record.timestamp,
                record.value,
                "plain" if record.headers[:2] == _OWN_HEADERS else mode_of(record.headers),
                packed,
            )
            for record in records
        ]


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """The records of a batch, under the offset of the last record."""

    offset: int
    records: list[FetchedRecord]


class _Packed:
    """A batch as it was fetched, which is smaller than its unpacked records."""

    def __init__(self, topic: str, partition: int, raw: memoryview) -> None:
        self.topic = topic
        self.partition = partition
        self.raw = raw

    @cached_property
    def values(self) -> dict[int, bytes | None]:
        """The value of each record, by its offset."""
        return self._again(lambda records: {one.offset: one.value for one in records})

    @cached_property
    def others(self) -> dict[int, tuple[bytes | None, Sequence[tuple[str, bytes | None]]]]:
        """The key and the headers of each record, by its offset."""
        return self._again(lambda records: {one.offset: (one.key, one.headers) for one in records})

    def _again(self, unpack: Callable[[Iterable[Any]], UnpackedT]) -> UnpackedT:
        return _unpack(self.raw, _MemoryRecordsPy(self.raw).next_batch(), unpack)


def _unpack(raw: memoryview, batch: Any, unpack: Callable[[Iterable[Any]], UnpackedT]) -> UnpackedT:
    """Unpack aiokafka's records of a batch, leniently if a header's name is not UTF-8."""
    try:
        return unpack(batch)
    except UnicodeDecodeError:
        batch = _DefaultRecordBatchPy(raw)
        batch._maybe_uncompress()
        batch._buffer = _LenientBytes(batch._buffer)
        return unpack(batch)


class _LenientBytes(bytearray):
    """Bytes that can always be decoded to text."""

    @override
    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        return _LenientBytes(part) if isinstance(key, slice) else part

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
