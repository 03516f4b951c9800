"""Unpacking a broker's bytes gives exactly what was packed."""

from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.consumer.kafka.clients import release_values
from pattern_metrics.consumer.kafka.fetched_records import (
    _OWN_HEADERS,
    FetchedRecord,
    _FetchedBatches,
    _PartitionRecords,
)
from pattern_metrics.consumer.records.batch import decode_batch
from pattern_metrics.consumer.records.record import mode_of
from pattern_metrics.publisher.records import cloud_event_headers
from tests.support.events import ACCEPTED_UNTIL, event, value

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE, LZ4 = 0, 3


class Name(str):
    """A header's name as the bytes that are sent."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return super().encode("utf-8", "surrogateescape")


names = st.one_of(
    st.sampled_from(["content-type", "Content-Type", "ce_type", "CE_Type", "ce_id", ""]),
    st.text(max_size=3),
    st.binary(max_size=3).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)
blobs = st.none() | st.binary(max_size=5)
values = blobs | st.sampled_from(
    [b"application/json", b"application/cloudevents+json", b"pattern.scored.v1", b"pattern.scored.v2"]
)
own_headers = cloud_event_headers(event(), "/agent")
headers = st.lists(st.tuples(names, values), max_size=4)
sent_records = st.tuples(
    st.integers(0, 2),
    st.integers(0, 2**40),
    blobs,
    blobs,
    headers
    | headers.map(lambda more: [*own_headers, *more])
    | headers.map(lambda more: [*own_headers[:1], *more]),
)
batches = st.tuples(st.sampled_from([NONE, LZ4]), st.lists(sent_records, min_size=1, max_size=5))


def packed(compression: int, records: "Sequence[tuple[int, Any]]") -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 1 << 20)
    for offset, (_, timestamp, key, blob, headers) in records:
        as_bytes = [(Name(name), header) for name, header in headers]
        assert builder.append(offset, timestamp, key, blob, as_bytes) is not None
    return bytes(builder.build())


def packed_together(fetched: list[Any]) -> "tuple[bytes, list[tuple[int, Any]]]":
    """Return batches one after the other, and each record with its offset."""
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
    return raw, sent


@given(st.lists(batches, max_size=3))
def test_every_record_comes_out_as_it_was_packed(fetched: list[Any]) -> None:
    raw, sent = packed_together(fetched)

    unpacked = unpack(raw)

    assert len(unpacked) == len(sent)
    for record, (offset, (_, timestamp, key, blob, headers)) in zip(unpacked, sent, strict=True):
        converted = [(_escaped(name), header) for name, header in headers]
        assert (record.topic, record.partition, record.offset) == ("scores", 7, offset)
        assert (record.timestamp, record.key, record.value) == (timestamp, key, blob)
        assert list(record.headers) == converted
        assert record.mode == mode_of(tuple(converted))
        record.release_value()
        assert record.value == blob


@given(st.lists(batches, min_size=1, max_size=3), st.integers(0), st.lists(st.integers(1, 6), max_size=6))
def test_records_are_taken_in_parts_from_where_they_were_asked_for(
    fetched: list[Any], place: int, sizes: list[int]
) -> None:
    raw, sent = packed_together(fetched)
    start = place % (sent[len(fetched[0][1]) - 1][0] + 1)  # in the first batch, or before it
    asked_for = [offset for offset, _ in sent if offset >= start]
    records = fetched_from(raw, start)

    for size in sizes:
        part = [one.offset for one in records.take(size)]

        assert part == asked_for[:size]
        del asked_for[:size]
        if len(part) == size:
            assert records.next_fetch_offset == part[-1] + 1
    assert [one.offset for one in records] == asked_for
    assert records.next_fetch_offset == sent[-1][0] + 1


def test_the_value_of_an_accepted_record_takes_no_memory() -> None:
    sent = [(offset, (0, 0, None, one, ())) for offset, one in enumerate([value(), b"{", value()])]
    records = unpack(packed(LZ4, sent))

    batch = decode_batch(records, accepted_until=ACCEPTED_UNTIL)
    release_values(one.record for one in batch.accepted)

    assert [one.record for one in batch.accepted] == [records[0], records[2]]
    assert [one.unpacked_value for one in records] == [msgspec.UNSET, b"{", msgspec.UNSET]
    assert [one.value for one in records] == [value(), b"{", value()]


def test_the_headers_of_our_publisher_are_recognized_at_one_glance() -> None:
    assert own_headers[: len(_OWN_HEADERS)] == _OWN_HEADERS
    assert mode_of(own_headers) == "plain"


def unpack(raw: bytes) -> list[FetchedRecord]:
    return list(fetched_from(raw, 0))


def fetched_from(raw: bytes, start: int) -> _PartitionRecords:
    batches = _FetchedBatches(raw)
    return _PartitionRecords(TopicPartition("scores", 7), batches, [], start, None, None, False, 0)


def _escaped(name: str) -> str:
    """Return the name with bytes that are not UTF-8 as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
