"""How aiokafka 0.14 unpacks fetched records: tolerant of header names, and with less work a record.

Brokers accept header names that are not UTF-8, and clients such as librdkafka send what they are given.
aiokafka decodes them while it unpacks a fetched batch, strictly; one bad name makes every poll of its
partition raise, and the position never moves. Here such a batch is unpacked a second time, leniently: bytes
that are not UTF-8 appear in the name as backslash escapes, and the record's fate is decided by its value like
any other's.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from typing_extensions import override

_FIRST_MAGIC_WITH_HEADERS = 2


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record as a consumer delivers it; of aiokafka's own class, what `Record` asks for.

    It is made in a quarter of the time, and the garbage collector has nothing to look for in it.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def unpack_by_these_rules() -> None:
    """Set it for every consumer of this process: aiokafka has no other seam than the names it looks up."""
    fetcher.MemoryRecords = _TolerantRecords
    fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(fetcher.PartitionRecords):
    """The records of one partition in one fetch."""

    @override
    def __iter__(self) -> Iterator[Any]:
        return self._records_iterator  # type: ignore[no-any-return]

    @override
    def _consumer_record(self, tp: Any, record: Any) -> FetchedRecord:
        topic, partition = tp
        return FetchedRecord(
            topic, partition, record.offset, record.timestamp, record.key, record.value, record.headers
        )


class _TolerantRecords(_MemoryRecordsPy):
    """The batches of one fetch."""

    @override
    def next_batch(self) -> Any:
        raw = self._next_slice
        batch = super().next_batch()
        return (
            batch if batch is None or batch.magic < _FIRST_MAGIC_WITH_HEADERS else _TolerantBatch(raw, batch)
        )


class _TolerantBatch:
    """aiokafka's batch, but for how its records are iterated."""

    def __init__(self, raw: memoryview, batch: Any) -> None:
        self._raw = raw
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            batch = _DefaultRecordBatchPy(self._raw)
            batch._maybe_uncompress()
            batch._buffer = _LenientBytes(batch._buffer)
            return iter(list(batch))


class _LenientBytes(bytearray):
    """Bytes that decode to something whatever they are."""

    @override
    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        return _LenientBytes(part) if isinstance(key, slice) else part

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
