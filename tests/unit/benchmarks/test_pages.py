"""The table and the chart."""

from dataclasses import replace
from xml.etree import ElementTree as ET

from benchmarks.chart import chart
from benchmarks.limit import LIMITS
from benchmarks.report import report, table
from benchmarks.results import Latency
from benchmarks.scenarios import FULL, Scenario, scenarios
from tests.unit.benchmarks.samples import SETTING, a_run

SVG = "{http://www.w3.org/2000/svg}"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def test_a_row_tells_how_many_times_as_fast_ours_is() -> None:
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


def test_a_table_of_latencies_tells_milliseconds() -> None:
    run = a_run(scenario="latency", variant="100 events/s", latency=Latency(9, 1.5, 2.5, 3.5, 0.25, 99.5))
    *_, row = table([run]).splitlines()
    assert cells(row) == ["100 events/s", "pattern-metrics", "1.5", "2.5", "3.5", "0.2", "100", "25%", "12%"]


def test_the_page_has_the_scenarios_that_were_measured() -> None:
    page = report(SETTING, scenarios(FULL), [a_run(), a_run(scenario="replay")])
    titles = [scenario.title for scenario in scenarios(FULL) if scenario.name in {"hot", "replay"}]
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == titles


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
