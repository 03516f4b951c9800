"""The mean quality week by week."""

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.consumer.api.trend import (
    LEVEL,
    WEEK,
    Direction,
    Week,
    direction_of,
    first_week,
    weeks_of,
)

MONDAY = date(2026, 1, 5)


def series(*means: float) -> list[Week]:
    return [Week(MONDAY + number * WEEK, 10, mean) for number, mean in enumerate(means)]


def test_a_rise_begins_at_the_last_lowest_week() -> None:
    assert direction_of(series(0.9, 0.5, 0.6, 0.6, 0.7)) == (Direction.RISING, series(0, 0.5)[1])


def test_a_fall_goes_on_through_weeks_in_which_nothing_changed() -> None:
    direction, since = direction_of(series(0.1, 0.9, 0.5, 0.5, 0.5 + LEVEL / 2))

    assert (direction, since.mean) == (Direction.FALLING, 0.9)


def test_one_week_and_equal_weeks_are_level() -> None:
    assert direction_of(series(0.4))[0] is direction_of(series(0.4, 0.4))[0] is Direction.LEVEL


@given(st.lists(st.floats(0, 1), min_size=1, max_size=26))
def test_no_week_since_the_turn_goes_the_other_way(means: list[float]) -> None:
    weeks = series(*means)
    direction, since = direction_of(weeks)
    run = [week.mean for week in weeks[weeks.index(since) :]]
    sign = {Direction.RISING: 1, Direction.FALLING: -1, Direction.LEVEL: 0}[direction]

    for earlier, later in pairwise(run):
        assert abs(later - earlier) < LEVEL or (later - earlier) * sign > 0


@given(st.integers(0, 6), st.integers(0, 25))
def test_a_week_without_events_has_the_state_of_the_week_before(day: int, number: int) -> None:
    today = MONDAY + timedelta(days=day)
    week = first_week(today) + number * WEEK

    weeks = weeks_of({week: (1.5, 3)}, today)

    assert [one.week for one in weeks] == [week + later * WEEK for later in range(26 - number)]
    assert {(one.patterns, one.mean) for one in weeks} == {(3, 0.5)}
    assert weeks[-1].week <= today < weeks[-1].week + WEEK


def test_a_time_without_patterns_has_no_mean() -> None:
    second = first_week(MONDAY) + WEEK

    weeks = weeks_of({first_week(MONDAY): (0.5, 1), second: (-0.5, -1)}, MONDAY)

    assert [one.week for one in weeks] == [first_week(MONDAY)]
