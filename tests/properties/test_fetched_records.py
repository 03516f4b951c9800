"""What is unpacked from the bytes that a broker sends is what was packed, whatever it is."""

from typing import TYPE_CHECKING, Any

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.fetched_records import FetchedRecord, _FetchedBatches, _PartitionRecords
from consumer.records import content_type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE_OR_LZ4 = (0, 3)


class Name(str):
    """A header's name as the bytes that it is sent as."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return super().encode("utf-8", "surrogateescape")


names = st.one_of(
    st.sampled_from(["content-type", "Content-Type", "ce_id", ""]),
    st.text(max_size=3),
    st.binary(max_size=3).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)
values = st.none() | st.binary(max_size=5)
sent_records = st.tuples(
    st.integers(0, 2), st.integers(0, 2**40), values, values, st.lists(st.tuples(names, values), max_size=4)
)
batches = st.tuples(st.sampled_from(NONE_OR_LZ4), st.lists(sent_records, min_size=1, max_size=5))


def packed(compression: int, records: "Sequence[tuple[int, Any]]") -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 1 << 20)
    for offset, (_, timestamp, key, value, headers) in records:
        as_bytes = [(Name(name), header) for name, header in headers]
        assert builder.append(offset, timestamp, key, value, as_bytes) is not None
    return bytes(builder.build())


@given(st.lists(batches, max_size=3))
def test_every_record_comes_out_as_it_was_packed(fetched: list[Any]) -> None:
    offset, raw, sent = 0, b"", []
    for compression, records in fetched:
        base, numbered = offset, []
        for record in records:
            offset += 1 + record[0]  # compaction leaves holes
            numbered.append((offset - base, record))
            sent.append((offset, record))
        batch = bytearray(packed(compression, numbered))
        batch[:8] = base.to_bytes(8)
        raw += batch

    partition = TopicPartition("scores", 7)
    unpacked: list[FetchedRecord] = list(
        _PartitionRecords(partition, _FetchedBatches(raw), [], 0, None, None, False, 0)
    )

    assert len(unpacked) == len(sent)
    for record, (offset, (_, timestamp, key, value, headers)) in zip(unpacked, sent, strict=True):
        told = [(_told(name), header) for name, header in headers]
        assert (record.topic, record.partition, record.offset) == ("scores", 7, offset)
        assert (record.timestamp, record.key, record.value) == (timestamp, key, value)
        assert list(record.headers) == told
        assert record.content_type == content_type_of(told)


def _told(name: str) -> str:
    """Bytes that are not UTF-8 appear as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
