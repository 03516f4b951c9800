"""The pure part of the law of the table: merging is commutative, associative and idempotent."""

from collections.abc import Mapping
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.consumer.records.folding import by_pattern, fold
from pattern_metrics.consumer.records.record import Accepted
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.support.events import (
    FEW_IDS,
    FEW_PATTERNS,
    FEW_TIMES,
    accepted,
    as_scored,
    colliding_events,
    measurement,
)

histories = st.lists(colliding_events, max_size=20)


def table(folded: Mapping[UUID, Accepted]) -> dict[UUID, PatternScored]:
    return {pattern: as_scored(one.event) for pattern, one in folded.items()}


def fold_events(events: list[PatternScored]) -> dict[UUID, PatternScored]:
    return table(fold((accepted(event, offset) for offset, event in enumerate(events)), by_pattern))


@given(histories)
def test_the_fold_is_the_maximum_of_each_pattern(events: list[PatternScored]) -> None:
    expected = {
        pattern: max((event for event in events if event.pattern_id == pattern), key=lambda one: one.order)
        for pattern in {event.pattern_id for event in events}
    }

    assert fold_events(events) == expected


@given(histories, st.data())
def test_neither_order_nor_duplicates_matter(events: list[PatternScored], data: st.DataObject) -> None:
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    shuffled = data.draw(st.permutations(events + repeated))

    assert fold_events(shuffled) == fold_events(events)


@given(histories, st.lists(st.integers(0, 20), max_size=4))
def test_any_split_into_batches_comes_to_the_same(events: list[PatternScored], cuts: list[int]) -> None:
    records = [accepted(event, offset) for offset, event in enumerate(events)]
    bounds = [0, *sorted(cuts), len(records)]
    batches = [records[start:end] for start, end in pairwise(bounds)]

    of_folds = fold((one for batch in batches for one in fold(batch, by_pattern).values()), by_pattern)
    one_by_one: dict[UUID, Accepted] = {}
    for batch in batches:
        one_by_one = fold([*one_by_one.values(), *batch], by_pattern)

    assert table(of_folds) == table(one_by_one) == table(fold(records, by_pattern))


def test_a_tie_in_time_is_decided_by_the_event_id() -> None:
    events = [measurement(FEW_PATTERNS[0], FEW_TIMES[0], event_id) for event_id in FEW_IDS]

    assert fold_events(events)[FEW_PATTERNS[0]].event_id == max(FEW_IDS)
    assert fold_events(events[::-1])[FEW_PATTERNS[0]].event_id == max(FEW_IDS)


def test_an_equal_pair_is_the_same_measurement_and_the_first_record_stays() -> None:
    event = measurement(FEW_PATTERNS[0], FEW_TIMES[0], FEW_IDS[0])
    first, second = accepted(event, 1), accepted(event, 2)

    assert fold([first, second], by_pattern)[FEW_PATTERNS[0]] is first


def test_nothing_folds_to_nothing() -> None:
    assert fold([], by_pattern) == {}
