"""Results: medians, spread, ratios, and the file that keeps them."""

from dataclasses import astuple
from pathlib import Path

import pytest

from benchmarks.latency import summarise_latency
from benchmarks.results import Latency, Results, summarise
from tests.unit.benchmarks.samples import SETTING, a_run


def test_a_summary_shows_the_median_and_both_ends_of_the_spread() -> None:
    [summary] = summarise(a_run(seconds=seconds, repetition=n) for n, seconds in enumerate((4, 1, 2)))
    assert (summary.slowest, summary.rate, summary.fastest) == (250, 500, 1000)


def test_systems_and_variants_are_summarised_apart_in_their_order() -> None:
    runs = [
        a_run("b", variant="1"),
        a_run("a", variant="1"),
        a_run("b", variant="2"),
        a_run("b", variant="1"),
    ]
    found = [(summary.variant, summary.system, len(summary.runs)) for summary in summarise(runs)]
    assert found == [("1", "b", 2), ("1", "a", 1), ("2", "b", 1)]


def test_each_run_is_in_the_file_as_soon_as_it_is_known(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    runs = [a_run(), a_run(scenario="latency", latency=Latency(9, 1.5, 2.5, 3.5, 0.25, 99.5))]
    results = Results(path)
    results.setting = SETTING
    for count, run in enumerate(runs, start=1):
        results.add(run)
        again = Results(path)
        assert (again.setting, again.runs) == (SETTING, runs[:count])


def test_runs_to_measure_again_are_dropped_and_all_others_stay(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    stays = [a_run("quix"), a_run(scenario="distinct")]
    for run in (*stays, a_run(repetition=1), a_run(repetition=2)):
        results.add(run)
    results.forget(["hot"], ["pattern-metrics"])
    assert results.runs == stays
    assert results.has(*stays[0].key)
    assert not results.has(*a_run().key)


def test_latencies_are_reported_in_milliseconds_with_the_time_that_a_look_takes() -> None:
    latency = summarise_latency([number / 1000 for number in range(101)], looks=5050, others_per_second=7)
    assert astuple(latency) == pytest.approx((101, 50, 95, 99, 1, 7))
