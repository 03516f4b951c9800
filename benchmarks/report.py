"""Writes the results as a Markdown page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.clients import Ours
from benchmarks.results import Run, Summary, summarise
from benchmarks.scenarios import Scenario, Size, scenarios

_MICRO: Final = 1e6

_HEADER: Final = (
    "",
    "system",
    "runs",
    "events/s",
    "least; most",
    "ours is",
    "with start-up",
    "CPU µs/event: client",
    "PostgreSQL",
    "Kafka",
    "peak MB",
    "WAL B/event",
    "rows' WAL B",
)
_LATENCY_HEADER: Final = (
    "",
    "system",
    "runs",
    "median ms",
    "p95 ms",
    "p99 ms",
    "resolution ms",
    "others/s",
    "CPU %: client",
    "PostgreSQL",
)
_QUICK_NOTE: Final = (
    "**This only shows that everything runs: its figures are not for comparison.** "
    "Most were taken in less than a second, while a JVM still compiles.\n"
)
_MEDIANS: Final = "A figure is the median of its row's runs: of two, their mean; one has no spread.\n"


def report(setting: Mapping[str, Any], size: Size, runs: Sequence[Run], failures: Sequence[str] = ()) -> str:
    """Return the whole page."""
    described = scenarios(size)
    parts = ["# Results\n", *([_QUICK_NOTE] if size.is_quick else []), _setting(setting, size), _MEDIANS]
    if failures:
        parts.append(f"**Failed: {'; '.join(failures)}.**\n")
    if absent := [named for scenario in described if (named := _absent(scenario, runs))]:
        parts.append(f"No figures of: {'; '.join(absent)}.\n")
    for scenario in described:
        own = [run for run in runs if run.scenario == scenario.name]
        if own:
            parts.append(f"## {scenario.title}\n\n{table(own, compares=not size.is_quick)}")
    return "\n".join(parts)


def table(runs: Sequence[Run], *, compares: bool = True) -> str:
    """Return the table of one scenario; with `compares`, also how many times as fast ours is."""
    summaries = summarise(runs)
    if runs[0].latency is not None:
        return _table(_LATENCY_HEADER, map(_latency_row, summaries))
    ours = {summary.variant: summary for summary in summaries if compares and summary.system == Ours.name}
    return _table(_HEADER, (_row(summary, ours.get(summary.variant)) for summary in summaries))


def _row(summary: Summary, ours: Summary | None) -> Sequence[str]:
    events = summary.median_of("events")
    has_client = summary.median_of("cpu_client") > 0

    def per_event(attribute: str) -> str:
        return f"{summary.median_of(attribute) / events * _MICRO:,.1f}"

    return (
        summary.variant,
        summary.system,
        str(len(summary.runs)),
        f"{summary.rate:,.0f}",
        f"{summary.slowest:,.0f}; {summary.fastest:,.0f}" if len(summary.runs) > 1 else "",
        ratio(ours, summary),
        f"{events / summary.median_of('seconds_with_start'):,.0f}" if has_client else "",
        per_event("cpu_client") if has_client else "",
        per_event("cpu_postgres"),
        per_event("cpu_kafka") if has_client else "",
        f"{summary.peak_bytes / _MICRO:,.0f}" if summary.peak_bytes else "",
        f"{summary.median_of('wal_bytes') / events:,.0f}",
        f"{summary.median_of('row_wal_bytes'):,.0f}" if summary.runs[0].row_wal_bytes is not None else "",
    )


def ratio(ours: Summary | None, other: Summary) -> str:
    """Return how many times as fast ours is, by the medians."""
    if ours is None or ours.system == other.system:
        return ""
    return f"{ours.rate / other.rate:.2f} x"


def _latency_row(summary: Summary) -> Sequence[str]:
    seconds = summary.median_of("seconds")
    figures = [f"{summary.latency_of(name):,.1f}" for name in ("median", "p95", "p99", "resolution")]
    others = f"{summary.latency_of('others_per_second'):,.0f}"
    shares = [f"{summary.median_of(name) / seconds:.0%}" for name in ("cpu_client", "cpu_postgres")]
    return (summary.variant, summary.system, str(len(summary.runs)), *figures, others, *shares)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    named = list(rows)
    alignment = ["---" if title in {"", "system"} else "---:" for title in header]
    filled = [number for number in range(len(header)) if any(row[number] for row in named)]
    lines = [[line[number] for number in filled] for line in (header, alignment, *named)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _setting(setting: Mapping[str, Any], size: Size) -> str:
    configuration = setting["configuration"]
    return (
        f"Measured on {setting['measured']}: {machine_text(setting['machine'])}; client, broker and database "
        f"share them. {_named(setting['versions'])}.\n\n"
        f"{configuration['events']:,} events a topic (the naive client: at most {size.sample:,}), "
        f"{configuration['compression']}. PostgreSQL: {_named(configuration['postgresql'])}. Kafka: "
        f"{_named(configuration['kafka'])}. Debezium but for `debezium-defaults`: "
        f"{_named(configuration['debezium'])}. How it is measured: "
        "[docs/how-to/benchmark.md](../../docs/how-to/benchmark.md).\n"
    )


def machine_text(machine: Mapping[str, Any]) -> str:
    """Return a machine in words."""
    return (
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gigabytes']} GB, "
        f"{machine['system']}"
    )


def _absent(scenario: Scenario, runs: Sequence[Run]) -> str:
    """Return the parts of a scenario without a run: all, or systems with their variants in brackets."""
    found = {(run.variant, run.system) for run in runs if run.scenario == scenario.name}
    if not found:
        return scenario.name
    systems = []
    for system in scenario.systems:
        variants = [variant.name for variant in scenario.variants if (variant.name, system) not in found]
        if len(variants) == len(scenario.variants):
            systems.append(system)
        elif variants:
            systems.append(f"{system} ({'; '.join(variants)})")
    return f"{scenario.name}: {', '.join(systems)}" if systems else ""


def _named(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
