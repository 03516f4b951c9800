"""Reads records whose header names are not UTF-8, on which aiokafka 0.14 would stop for good.

Brokers accept such names, and clients such as librdkafka send what they are given. aiokafka decodes header
names while it unpacks a fetched batch, strictly; one bad name makes every poll of its partition raise, and
the position never moves. Here such a batch is unpacked a second time, leniently: bytes that are not UTF-8
appear in the name as backslash escapes, and the record's fate is decided by its value like any other's.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from typing_extensions import override

_FIRST_MAGIC_WITH_HEADERS = 2


def tolerate_header_names() -> None:
    """Make every consumer of this process tolerant: aiokafka has no other seam than the name it looks up."""
    fetcher.MemoryRecords = _TolerantRecords


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
