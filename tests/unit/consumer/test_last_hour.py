"""The readings of the last hour."""

from pattern_metrics.consumer.api.recent import HOUR_SECONDS, READING_SECONDS, LastHour, Reading


def hour(*readings: Reading) -> LastHour:
    hour = LastHour()
    for reading in readings:
        hour.add(reading)
    return hour


def test_points_are_the_changes_between_readings() -> None:
    shown = hour(Reading(100, 10, 1, 50), Reading(130, 40, 3, 20)).as_dict()

    assert shown["since"] == 100
    assert shown["points"] == [{"at": 130, "records_per_second": 1.0, "dead_letters": 2, "lag": 20}]


def test_readings_of_more_than_an_hour_are_dropped() -> None:
    many = [Reading(float(at), at) for at in range(0, 3 * HOUR_SECONDS, READING_SECONDS)]

    shown = hour(*many).as_dict()

    assert shown["since"] == many[-1].at - HOUR_SECONDS
    assert len(shown["points"]) == HOUR_SECONDS // READING_SECONDS


def test_a_clock_or_a_count_that_went_back_gives_no_rate() -> None:
    points = hour(Reading(100, 10, 5), Reading(90, 20, 5), Reading(120, 5, 3)).as_dict()["points"]

    assert [(point["records_per_second"], point["dead_letters"]) for point in points] == [
        (None, 0),
        (None, 0),
    ]


def test_before_the_second_reading_there_is_no_point() -> None:
    assert hour().as_dict() == {"since": None, "points": []}
    assert hour(Reading(1, 1)).as_dict() == {"since": 1, "points": []}
