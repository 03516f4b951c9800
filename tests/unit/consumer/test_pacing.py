import asyncpg
import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.consumer.records.batch import Batch, decode_batch
from pattern_metrics.consumer.records.offsets import OffsetRange
from pattern_metrics.consumer.records.record import Record
from pattern_metrics.consumer.worker.writers import BatchLimit
from pattern_metrics.schemas.settings.timing import TIMING, Clock
from tests.support.batches import FUTURE
from tests.support.events import TopicRecord
from tests.support.pipeline import an_event


def a_part(validity_by_partition: dict[int, list[bool]]) -> Batch:
    """Return records at every second offset, with a marker after the last record of each partition."""
    records, ranges = list[TopicRecord](), dict[tuple[str, int], OffsetRange]()
    for number, validity in validity_by_partition.items():
        for place, is_valid in enumerate(validity):
            value = an_event(place).to_json() if is_valid else b"poison"
            records.append(TopicRecord(value, topic="t", partition=number, offset=2 * place))
        ranges[TopicPartition("t", number)] = OffsetRange(0, 2 * len(validity) + 1)
    decoded = decode_batch(records, accepted_until=FUTURE)
    return Batch({TopicPartition(*one): fates for one, fates in decoded.fates.items()}, ranges)


def records_of(part: Batch) -> list[Record]:
    accepted, rejected = part.accepted, part.rejected
    return [one.record for one in accepted] + [one.record for one in rejected]


def be_too_long(pace: BatchLimit, part: Batch) -> None:
    with pytest.raises(asyncpg.QueryCanceledError), pace.learn(part):
        raise asyncpg.QueryCanceledError


WHOLE = a_part({0: [True] * 8})


def count_of_next(pace: BatchLimit) -> int:
    return len(records_of(pace.take(WHOLE)[0]))


@given(
    st.dictionaries(st.integers(0, 4), st.lists(st.booleans(), max_size=9), min_size=1),
    st.integers(0, 3),
)
def test_the_parts_of_a_batch_are_the_whole_and_none_passes_an_unwritten_record(
    validity_by_partition: dict[int, list[bool]], failures: int
) -> None:
    whole, pace = a_part(validity_by_partition), BatchLimit()
    for _ in range(failures):
        be_too_long(pace, pace.take(whole)[0])
    written, progress = list[Record](), dict[tuple[str, int], int]()
    rest: Batch | None = whole
    while rest is not None:
        part, rest = pace.take(rest)
        for partition, offsets in part.ranges.items():
            assert offsets.start == progress.get(partition, 0)
            progress[partition] = offsets.end
        written += records_of(part)
        passed = [
            record
            for record in records_of(whole)
            if record.offset < progress.get((record.topic, record.partition), 0)
        ]
        assert sorted(map(place, passed)) == sorted(map(place, written))

    assert progress == {partition: offsets.end for partition, offsets in whole.ranges.items()}
    assert sorted(map(place, written)) == sorted(map(place, records_of(whole)))


def place(record: Record) -> tuple[int, int]:
    return record.partition, record.offset


def test_the_limit_halves_after_a_slow_write_down_to_one_record() -> None:
    pace, counts = BatchLimit(), list[int]()
    for _ in range(5):
        part, _ = pace.take(WHOLE)
        counts.append(len(records_of(part)))
        be_too_long(pace, part)

    assert counts == [8, 4, 2, 1, 1]


@pytest.mark.parametrize(("seconds", "count"), [(0, 4), (TIMING.quick, 2)])
def test_the_limit_doubles_after_a_quick_write_and_stays_after_a_slow_one(seconds: float, count: int) -> None:
    moments = [0.0]
    pace = BatchLimit(clock=Clock(monotonic=lambda: moments[-1]))
    for _ in range(2):
        be_too_long(pace, pace.take(WHOLE)[0])
    with pace.learn(pace.take(WHOLE)[0]):
        moments.append(seconds)

    assert count_of_next(pace) == count


def test_any_other_failure_says_nothing_about_the_size() -> None:
    pace = BatchLimit()
    with pytest.raises(ConnectionResetError), pace.learn(WHOLE):
        raise ConnectionResetError

    assert pace.take(WHOLE) == (WHOLE, None)
