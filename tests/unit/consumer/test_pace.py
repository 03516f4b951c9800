"""The rate of the work, and the estimate of its end."""

from pattern_metrics.consumer.api.rate import WINDOW_SECONDS, Pace


def seen(*looks: tuple[float, dict[str, float]]) -> Pace:
    pace = Pace()
    for at, values in looks:
        pace.look(at, values)
    return pace


def test_a_rate_is_the_change_between_the_first_and_the_last_look() -> None:
    pace = seen((100, {"lag": 500}), (105, {"lag": 700}), (110, {"lag": 400}))

    assert pace.rate("lag") == -10
    assert pace.seconds_until_zero("lag") == 40


def test_one_reading_gives_no_rate() -> None:
    pace = seen((100, {"lag": 500}), (100.5, {"lag": 300}))

    assert pace.rate("lag") is None
    assert pace.seconds_until_zero("lag") is None
    assert pace.rate("nothing") is None


def test_a_lag_that_grows_or_stays_has_no_end() -> None:
    assert seen((1, {"lag": 5}), (3, {"lag": 9})).seconds_until_zero("lag") is None
    assert seen((1, {"lag": 5}), (3, {"lag": 5})).seconds_until_zero("lag") is None


def test_a_lag_of_zero_is_cleared_at_any_rate() -> None:
    assert seen((1, {"lag": 5}), (3, {"lag": 0})).seconds_until_zero("lag") == 0
    assert seen((1, {"lag": 0})).seconds_until_zero("lag") == 0


def test_readings_from_long_ago_do_not_count() -> None:
    pace = seen((0, {"read": 0}), (10, {"read": 1000}), (WINDOW_SECONDS + 5, {"read": 1110}))

    assert pace.rate("read") == 110 / (WINDOW_SECONDS - 5)


def test_a_partition_that_is_gone_has_no_pace() -> None:
    pace = seen((1, {"a": 1, "b": 1}), (3, {"b": 5}))

    assert pace.rate("a") is None
    assert pace.rate("b") == 2
