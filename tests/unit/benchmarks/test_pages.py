"""The table and the chart."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import chart
from benchmarks.limit import LIMITS
from benchmarks.report import report, table
from benchmarks.results import Latency
from benchmarks.running import turns
from benchmarks.scenarios import FULL, QUICK, SYSTEMS, Scenario, Size, scenarios
from tests.unit.benchmarks.samples import SETTING, a_run

SVG = "{http://www.w3.org/2000/svg}"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def test_a_row_shows_how_many_times_as_fast_ours_is() -> None:
    header, _, ours, peer = map(cells, table([a_run(seconds=1), a_run("quix", 2.5)]).splitlines())
    column = header.index("ours is")
    assert (ours[column], peer[column]) == ("", "2.50 x")


def test_a_row_is_compared_with_ours_of_the_same_variant_alone() -> None:
    runs = [a_run(seconds=1, variant="1"), a_run(seconds=4, variant="2"), a_run("quix", 8, variant="2")]
    assert "2.00 x" in table(runs)


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    first, *_ = table([a_run()]).splitlines()
    assert cells(first)[0] == "system"
    assert "rows' WAL B" not in first
    assert "rows' WAL B" in table([replace(a_run(), row_wal_bytes=0)])


def test_no_figure_is_made_up_for_the_client_where_there_is_none() -> None:
    limit = replace(a_run(next(iter(LIMITS))), peak_bytes=0, cpu_client=0.0)
    assert "peak MB" not in table([limit])


def test_a_peak_that_nobody_knows_counts_for_none() -> None:
    runs = [a_run(), replace(a_run(repetition=2), peak_bytes=0), replace(a_run("quix"), peak_bytes=0)]
    header, _, ours, other = map(cells, table(runs).splitlines())
    assert [row[header.index("peak MB")] for row in (ours, other)] == ["100", ""]


def test_a_table_of_latencies_shows_milliseconds() -> None:
    run = a_run(scenario="latency", variant="100 events/s", latency=Latency(9, 1.5, 2.5, 3.5, 0.25, 99.5))
    *_, row = table([run]).splitlines()
    assert cells(row) == [
        "100 events/s",
        "pattern-metrics",
        "1",
        "1.5",
        "2.5",
        "3.5",
        "0.2",
        "100",
        "25%",
        "12%",
    ]


def test_a_row_shows_its_number_of_runs_and_their_spread() -> None:
    runs = [a_run(seconds=1), a_run(seconds=2, repetition=2), a_run("naive")]
    header, _, two, one = map(cells, table(runs).splitlines())
    found = [(row[header.index("runs")], row[header.index("least; most")]) for row in (two, one)]
    assert found == [("2", "500; 1,000"), ("1", "")]


def test_the_page_has_the_scenarios_that_were_measured() -> None:
    page = report(SETTING, FULL, [a_run(), a_run(scenario="replay")])
    titles = [scenario.title for scenario in scenarios(FULL) if scenario.name in {"hot", "replay"}]
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == titles


@pytest.mark.parametrize(("size", "sample"), [(FULL, "20,000"), (QUICK, "2,000")])
def test_the_page_shows_how_many_events_were_enough_for_the_naive_client(size: Size, sample: str) -> None:
    assert f"(the naive client: at most {sample})" in report(SETTING, size, [a_run("naive")])


def test_a_quick_page_begins_with_a_warning_and_compares_nothing() -> None:
    runs = [a_run(), a_run("naive")]
    quick, full = (report(SETTING, size, runs) for size in (QUICK, FULL))
    note = "its figures are not for comparison"
    assert (note in quick.splitlines()[2], note in full) == (True, False)
    assert ("ours is" in quick, "ours is" in full) == (False, True)


def test_the_page_explains_once_a_figure_of_several_runs() -> None:
    page = report(SETTING, FULL, [a_run(), a_run(scenario="replay")])
    assert page.count("median of its row's runs: of two, their mean") == 1


def test_the_page_shows_in_one_line_what_has_no_figures() -> None:
    runs = [
        a_run(turn.system, scenario=turn.scenario.name, variant=turn.variant.name)
        for turn in turns(scenarios(FULL), SYSTEMS, repetitions=1)
    ]
    kept = [
        run
        for run in runs
        if run.scenario != "workers"
        and (run.scenario, run.system) != ("hot", "quix")
        and run.variant not in {"distinct, 100", "hot, 100"}
    ]
    lines = report(SETTING, FULL, kept).splitlines()
    assert [line for line in lines if line.startswith("No figures")] == [
        "No figures of: hot: quix; workers; batch: pattern-metrics (hot, 100; distinct, 100)."
    ]
    assert "No figures" not in report(SETTING, FULL, runs)


def test_the_page_shows_what_failed() -> None:
    page = report(SETTING, FULL, [a_run()], ["hot / quix, 1: WrongTableError", "hot / naive, 1: OSError"])
    assert "**Failed: hot / quix, 1: WrongTableError; hot / naive, 1: OSError.**" in page.splitlines()
    assert "Failed" not in report(SETTING, FULL, [a_run()])


def test_the_chart_is_well_formed_whatever_the_names_hold() -> None:
    named = [Scenario("hot", 'a <b> & "c"', (), ())]
    root = ET.fromstring(chart(named, [a_run("<&>")]))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == ['a <b> & "c", events a second', "<&>", "500"]


def test_the_longest_bar_is_that_of_the_most_events_a_second() -> None:
    runs = [a_run("slow", 4), a_run("quick", 1), a_run("middling", 2)]
    root = ET.fromstring(chart(scenarios(FULL), runs))
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")]
    assert widths == [widths[0], widths[0] / 2, widths[0] / 4]


def test_a_chart_of_nothing_is_empty() -> None:
    assert not list(ET.fromstring(chart(scenarios(FULL), [])).iter(f"{SVG}rect"))
