from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.consumer.records.offsets import (
    TRUNCATION,
    EpochEnd,
    OffsetRange,
    Progress,
    Start,
    choose_start,
    next_offset,
    restart_out_of_range,
    restart_parted,
)
from tests.support.events import TopicRecord

offsets = st.integers(0, 2**63 - 2)
known_or_not = st.none() | offsets
small = st.integers(0, 20)


def at(offset: int | None) -> Progress | None:
    return None if offset is None else Progress(offset)


@pytest.mark.parametrize(
    ("committed", "progress", "beginning", "start"),
    [
        pytest.param(50, 50, 0, Start(50), id="both agree"),
        pytest.param(50, 40, 0, Start(40, not_followed=50), id="the database was restored from a backup"),
        pytest.param(40, 50, 0, Start(40), id="the group was reset backwards"),
        pytest.param(None, None, 0, Start(0), id="nothing is known"),
        pytest.param(None, None, 7, Start(7), id="nothing is known, and retention has been here"),
        pytest.param(50, None, 0, Start(0, not_followed=50), id="the database is new"),
        pytest.param(None, 50, 0, Start(0, was_forgotten=True), id="the topic is new"),
        pytest.param(None, 7, 7, Start(7), id="the database has begun, and nothing is read yet"),
        pytest.param(
            50, None, 7, Start(7, not_followed=50), id="the database is new, and retention has been here"
        ),
        pytest.param(50, 50, 50, Start(50), id="the log begins where we are"),
        pytest.param(50, 50, 51, Start(51, OffsetRange(50, 51)), id="one record was removed unread"),
        pytest.param(50, 40, 60, Start(60, OffsetRange(40, 60)), id="the gap begins at the smaller"),
        pytest.param(40, 50, 60, Start(60, OffsetRange(40, 60)), id="the gap begins at the smaller, again"),
        pytest.param(
            50, 40, 45, Start(45, OffsetRange(40, 45), not_followed=50), id="the log begins between the two"
        ),
        pytest.param(50, None, 60, Start(60, OffsetRange(50, 60)), id="the group alone knows of a gap"),
        pytest.param(None, 50, 60, Start(60, OffsetRange(50, 60)), id="the database alone knows of a gap"),
        pytest.param(0, 0, 0, Start(0), id="zero is an offset and not unknown"),
        pytest.param(0, 5, 0, Start(0), id="a zero that Kafka holds counts"),
        pytest.param(5, 0, 0, Start(0, not_followed=5), id="a zero that the database holds counts"),
    ],
)
def test_reading_starts_at_the_smaller_of_both_or_at_the_beginning(
    committed: int | None, progress: int | None, beginning: int, start: Start
) -> None:
    assert choose_start(committed=committed, progress=at(progress), beginning=beginning) == start


@given(committed=known_or_not, progress=known_or_not, beginning=offsets)
def test_every_doubt_is_settled_by_reading_more(
    committed: int | None, progress: int | None, beginning: int
) -> None:
    start = choose_start(committed=committed, progress=at(progress), beginning=beginning)
    known = [offset for offset in (committed, progress) if offset is not None]

    assert start.offset >= beginning
    assert all(start.offset <= max(offset, beginning) for offset in known)
    if len(known) < 2:
        assert start.offset == beginning


@given(committed=known_or_not, progress=known_or_not, beginning=offsets)
def test_a_gap_is_exactly_what_lies_between_the_known_start_and_the_beginning(
    committed: int | None, progress: int | None, beginning: int
) -> None:
    start = choose_start(committed=committed, progress=at(progress), beginning=beginning)
    known = [offset for offset in (committed, progress) if offset is not None]
    lost = known and min(known) < beginning

    assert start.gap == (OffsetRange(min(known), beginning) if lost else None)
    if start.gap is not None:
        assert start.gap.start <= start.gap.last < start.offset


@given(position=offsets, progress=known_or_not, beginning=offsets)
def test_out_of_range_is_a_gap_from_the_progress_or_another_log_beyond_the_end(
    position: int, progress: int | None, beginning: int
) -> None:
    start = restart_out_of_range(position=position, progress=progress, beginning=beginning)

    known = position if progress is None or progress > position else progress
    assert start.offset == beginning
    assert start.gap == (OffsetRange(known, beginning) if known < beginning else None)


@pytest.mark.parametrize(
    ("found", "beginning", "start"),
    [
        pytest.param(EpochEnd(3, 6), 0, Start(6, OffsetRange(6, 10), leader_epoch=3), id="cut back"),
        pytest.param(EpochEnd(3, 6), 8, Start(8, OffsetRange(6, 10)), id="cut back, and retention"),
        pytest.param(EpochEnd(3, 6), 12, Start(12, OffsetRange(6, 12)), id="cut back, retention took more"),
        pytest.param(EpochEnd(2, 6), 1, Start(1, OffsetRange(6, 10)), id="the epoch is not known"),
        pytest.param(EpochEnd(2, 60), 1, Start(1), id="nor is it known what is gone"),
        pytest.param(EpochEnd(-1, -1), 1, Start(1), id="the leader knows no such epoch"),
    ],
)
def test_a_log_that_parted_is_read_from_there_or_from_its_beginning(
    found: EpochEnd, beginning: int, start: Start
) -> None:
    progress = Progress(10, leader_epoch=3)
    if start.gap is not None:
        start = replace(start, reason=TRUNCATION)

    restart = restart_parted(committed=10, progress=progress, found=found, beginning=beginning)

    assert progress.has_parted(found)
    assert replace(restart, not_followed=None) == start


epochs = st.lists(st.integers(0, 3), max_size=4).map(sorted)


@given(common=epochs, cut_off=st.integers(0, 3), ours=epochs, theirs=epochs, committed=st.integers(0, 20))
def test_no_record_of_a_log_that_parted_is_passed_over(
    common: list[int], cut_off: int, ours: list[int], theirs: list[int], committed: int
) -> None:
    """Two logs begin alike. One lacks records of the last common epoch; then each has its own epochs."""
    read = common + common[-1:] * cut_off + [2 * epoch + 5 for epoch in ours]
    leads = common + [2 * epoch + 4 for epoch in theirs]
    progress = Progress(len(read), read[-1] if read else 0)
    floor = max((epoch for epoch in leads if epoch <= read[-1]), default=-1) if read else 0
    found = EpochEnd(floor, sum(epoch <= floor for epoch in leads) if floor >= 0 else -1)

    if not progress.has_parted(found):
        assert leads[: len(read)] == read
        return
    start = restart_parted(committed=committed, progress=progress, found=found, beginning=0)
    assert leads[: start.offset] == read[: start.offset]


def test_the_next_offset_is_the_one_after_the_record() -> None:
    assert next_offset(TopicRecord(offset=41)) == 42


def test_the_last_offset_of_a_range_is_inside_it() -> None:
    assert OffsetRange(3, 7).last == 6
