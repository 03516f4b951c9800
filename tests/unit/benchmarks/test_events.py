"""The events of the benchmarks, and the order of the runs."""

from collections import Counter
from datetime import UTC, datetime
from itertools import islice

from benchmarks.events import END_MARKS, HOT_PATTERNS, PARTITIONS, Shape, generate, pattern_id
from benchmarks.running import turns
from benchmarks.scenarios import FULL, QUICK, SYSTEMS, scenarios
from benchmarks.topics import digest
from pattern_metrics.schemas.pattern_scored import parse_event


def test_the_events_are_the_same_from_run_to_run() -> None:
    shape = Shape("hot", 100, HOT_PATTERNS)
    assert list(generate(shape)) == list(generate(shape))


def test_an_event_is_valid_and_about_523_bytes_long() -> None:
    values = [event.to_json() for _, event in generate(Shape("distinct", 500))]
    for value in values:
        parse_event(value, accepted_until=datetime.now(UTC))
    assert 515 < sum(map(len, values)) / len(values) < 530


def test_the_last_event_of_each_partition_marks_its_end() -> None:
    last = {partition: event.pattern_id for partition, event in generate(Shape("hot", 1000, HOT_PATTERNS))}
    assert tuple(last[partition] for partition in range(PARTITIONS)) == END_MARKS


def test_a_pattern_lives_in_one_partition() -> None:
    homes: dict[object, set[int]] = {}
    for partition, event in generate(Shape("hot", 5000, HOT_PATTERNS)):
        homes.setdefault(event.pattern_id, set()).add(partition)
    assert all(len(home) == 1 for home in homes.values())
    assert len(homes) > HOT_PATTERNS * 0.9


def test_half_of_the_events_of_a_growing_table_are_about_new_patterns() -> None:
    for stride in (1, 7):
        shape = Shape("growth", 1000, 50, is_growing=True, stride=stride)
        few = {pattern_id(number) for number in range(0, 50 * stride, stride)}
        table = {pattern_id(number) for number in range(50 * stride)}
        events = [event.pattern_id for _, event in islice(generate(shape), 900)]
        assert sum(pattern in few for pattern in events) == 450
        assert len(set(events) - table) == 450


def test_new_patterns_come_to_every_partition_alike() -> None:
    shape = Shape("growth", 6000, 50, is_growing=True)
    table = {pattern_id(number) for number in range(50)}
    new = Counter(home for home, event in islice(generate(shape), 5990) if event.pattern_id not in table)
    assert set(new) == set(range(PARTITIONS))
    assert max(new.values()) - min(new.values()) <= 1


def test_the_digest_is_that_of_the_joined_texts() -> None:
    assert digest([]) == "d41d8cd98f00b204e9800998ecf8427e"  # of nothing, as in PostgreSQL


def test_every_system_has_its_turn_before_any_has_its_second() -> None:
    hot, *_ = scenarios(FULL)
    order = [(turn.repetition, turn.system) for turn in turns([hot], SYSTEMS, 2)]
    assert order == [(repetition, system) for repetition in (1, 2) for system in hot.systems]


def test_a_quick_run_takes_every_scenario() -> None:
    assert [scenario.name for scenario in scenarios(QUICK)] == [scenario.name for scenario in scenarios(FULL)]
    assert all(scenario.systems for scenario in scenarios(QUICK))
