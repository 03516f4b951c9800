"""Decisions of ingestion before it reaches the database: the breaker, and the cut of a batch."""

from collections import Counter

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.consumer.records.accounting import Accounting, Breaker
from pattern_metrics.consumer.records.batch import WORTH_SPLITTING, Batch, decode_batch
from pattern_metrics.consumer.records.offsets import OffsetRange
from tests.support.events import ACCEPTED_UNTIL, TopicRecord, value

verdicts = st.lists(st.booleans(), max_size=40)


def records_of(validity: list[bool]) -> list[TopicRecord]:
    return [
        TopicRecord(value() if valid else b"{", offset=10 * number) for number, valid in enumerate(validity)
    ]


def decode(validity: list[bool], breaker: Breaker | None) -> Batch:
    batch = decode_batch(records_of(validity), accepted_until=ACCEPTED_UNTIL)
    return batch if breaker is None else batch.until(breaker)


def decoded(batch: Batch) -> int:
    assert batch.size == len(batch.accepted) + len(batch.rejected)
    return batch.size


def test_the_breaker_opens_at_its_limit_and_not_one_record_before() -> None:
    breaker = Breaker(3)
    seen = []
    for _ in range(3):
        breaker.observe(valid=False)
        seen.append(breaker.is_open)

    assert seen == [False, False, True]
    assert breaker.consecutive == 3


def test_one_valid_record_sets_the_breaker_back() -> None:
    breaker = Breaker(2)
    for valid in (False, True, False, True, False):
        breaker.observe(valid=valid)

        assert not breaker.is_open


def test_batches_of_which_the_table_takes_nothing_open_the_breaker_too() -> None:
    breaker = Breaker(5)
    seen = []
    for written in (Accounting(0, 0, 4), Accounting(1, 0, 4), Accounting(0, 0, 4), Accounting(0, 0, 1)):
        breaker.observe(valid=True)  # as far as decoding shows
        breaker.observe_written(written)
        seen.append(breaker.is_open)

    assert seen == [False, False, False, True]
    assert breaker.count == 5


@given(verdicts, st.integers(1, 5))
def test_a_batch_ends_with_the_record_at_which_the_breaker_opens(validity: list[bool], limit: int) -> None:
    breaker = Breaker(limit)
    batch = decode(validity, breaker)
    runs = [validity[number - limit : number] for number in range(limit, len(validity) + 1)]
    opening = next((number for number, run in enumerate(runs) if not any(run)), None)

    assert breaker.is_open == (opening is not None)
    assert decoded(batch) == (len(validity) if opening is None else opening + limit)


@given(verdicts, verdicts, st.integers(1, 5))
def test_the_breaker_counts_on_from_batch_to_batch(first: list[bool], second: list[bool], limit: int) -> None:
    at_once, in_two = Breaker(limit), Breaker(limit)
    whole = decode(first + second, at_once)
    parts = [decode(first, in_two)]
    if not in_two.is_open:
        parts.append(decode(second, in_two))

    assert in_two == at_once
    assert sum(map(decoded, parts)) == decoded(whole)


@given(verdicts)
def test_each_record_of_a_batch_is_accepted_or_rejected_in_its_order(validity: list[bool]) -> None:
    records = records_of(validity)
    batch = decode_batch(records, accepted_until=ACCEPTED_UNTIL)

    assert [one.record for one in batch.accepted] == [
        record for record, valid in zip(records, validity, strict=True) if valid
    ]
    assert [one.record for one in batch.rejected] == [
        record for record, valid in zip(records, validity, strict=True) if not valid
    ]
    assert [fate.record for fates in batch.fates.values() for fate in fates] == records


RANGES = {
    TopicPartition("t", 0): OffsetRange(0, 5),
    TopicPartition("t", 1): OffsetRange(10, 20),
    TopicPartition("t", 2): OffsetRange(100, 103),
}


@pytest.mark.parametrize(
    ("partition", "offset", "expected"),
    [
        pytest.param(0, 0, [(0, 1)], id="the first record of all"),
        pytest.param(0, 4, [(0, 5)], id="the last record of the first partition"),
        pytest.param(1, 12, [(0, 5), (10, 13)], id="within the second partition"),
        pytest.param(2, 102, [(0, 5), (10, 20), (100, 103)], id="the last record of all"),
    ],
)
def test_progress_goes_as_far_as_what_was_decoded_and_not_further(
    partition: int, offset: int, expected: list[tuple[int, int]]
) -> None:
    """The breaker opens at that record. The ranges without records are before and after it."""
    fates = {
        one: decode_batch(
            [
                TopicRecord(b"{", topic="t", partition=one.partition, offset=number)
                for number in range(offsets.start, offsets.end)
            ],
            accepted_until=ACCEPTED_UNTIL,
        ).fates[one]
        for one, offsets in RANGES.items()
    }
    limit = sum(
        number < partition or place <= offset
        for number, offsets in enumerate(RANGES.values())
        if number <= partition
        for place in range(offsets.start, offsets.end)
    )
    decoded = Batch(fates, dict(RANGES)).until(Breaker(limit))

    assert [(offsets.start, offsets.end) for offsets in decoded.ranges.values()] == expected
    assert list(decoded.ranges) == list(RANGES)[: len(expected)]


def test_markers_after_the_last_record_are_decoded_unless_the_breaker_is_open() -> None:
    """A range may end after its last record (transaction markers, compaction)."""
    fates = decode_batch(records_of([True, False]), accepted_until=ACCEPTED_UNTIL).fates
    [partition] = fates
    batch = Batch(fates, {partition: OffsetRange(0, 15)})

    assert batch.until(Breaker(2)) is batch
    assert batch.until(Breaker(1)).ranges == {partition: OffsetRange(0, 11)}


def test_without_any_record_the_ranges_stay_as_they_are() -> None:
    batch = Batch({}, dict(RANGES))

    assert batch.until(Breaker(1)).ranges == RANGES
    assert batch.first(0) == (batch, None)


def test_an_open_breaker_lets_nothing_through() -> None:
    breaker = Breaker(1)
    breaker.observe(valid=False)

    assert decode([True], breaker) == Batch()


partitions = st.dictionaries(st.integers(0, 5), st.integers(0, 3 * WORTH_SPLITTING), max_size=6)


@given(partitions, st.integers(1, 4))
def test_the_parts_of_a_batch_share_no_partition_and_are_the_whole(sizes: dict[int, int], parts: int) -> None:
    [fate] = decode_batch([TopicRecord(b"{")], accepted_until=ACCEPTED_UNTIL).rejected
    whole = Batch(
        {("t", number): [fate] * size for number, size in sizes.items() if size},
        {("t", number): OffsetRange(0, size + 1) for number, size in sizes.items()},
    )

    split = whole.split(parts)

    assert len(split) <= parts
    assert Counter(one for part in split for one in part.ranges) == Counter(whole.ranges.keys())
    assert {one: fates for part in split for one, fates in part.fates.items()} == whole.fates
    assert all(part.fates.keys() <= part.ranges.keys() for part in split)
    assert len(split) <= 1 or whole.size >= WORTH_SPLITTING


counts = st.builds(Accounting, st.integers(0), st.integers(0), st.integers(0))


@given(counts, counts)
def test_the_counts_add_up_to_the_records_read(one: Accounting, other: Accounting) -> None:
    total = one + other

    assert total.read == one.read + other.read
    assert total.read == total.applied + total.superseded + total.dead_letters
    assert total.as_dict() == {
        "read": total.read,
        "applied": total.applied,
        "superseded": total.superseded,
        "dead_letters": total.dead_letters,
    }


def test_the_counts_are_reported_as_a_sum() -> None:
    assert str(Accounting(1_000, 20, 3)) == ("read 1,023 = applied 1,000 + superseded 20 + dead letters 3")
