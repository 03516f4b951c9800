"""The command: `python -m benchmarks`, or `make bench`."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import gateway, publishing
from benchmarks.chart import chart
from benchmarks.progress import show
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.running import Runner, turns
from benchmarks.scenarios import FULL, QUICK, SYSTEMS, Size, scenarios
from benchmarks.services import running
from benchmarks.setting import describe
from pattern_metrics.consumer.settings import LogSettings
from pattern_metrics.consumer.telemetry.logs import configure_logging

_ROOT: Final = Path(__file__).parents[1]
_RESULTS: Final = _ROOT / "benchmarks" / "results"
_QUICK_RESULTS: Final = _ROOT / ".cache" / "benchmarks" / "results"

_REFUSED: Final = 2
"""The exit code of a command line for which nothing was measured."""


def main() -> int:
    """Run the benchmarks that the command line names. Return the exit code."""
    options = parse(sys.argv[1:])
    configure_logging(LogSettings(log_level="WARNING"))  # for the migrations
    try:
        return _measure(options)
    except OSError as error:
        if error.filename is None:
            raise
        show(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        show("stopped; the measurements are kept: continue with --resume")
        return 130


def _measure(options: argparse.Namespace) -> int:
    chosen = [name for name in publishing.SCENARIOS if name in options.scenarios]
    has_gateway = gateway.SCENARIO in options.scenarios
    options.scenarios = [name for name in options.scenarios if name not in {*chosen, gateway.SCENARIO}]
    code = asyncio.run(_run(options)) if options.scenarios else 0
    if chosen and code != _REFUSED:
        publishing.measure(chosen, _directory(options), is_quick=options.quick)
    if has_gateway and code != _REFUSED:
        gateway.measure(_directory(options), is_quick=options.quick)
    return code


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. A wrong argument ends the process with exit code 2."""
    names = [*(scenario.name for scenario in scenarios(FULL)), *publishing.SCENARIOS, gateway.SCENARIO]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small topic, each run once: does it work?")
    parser.add_argument("--scenarios", type=_among(names), default=names, help=f"some of {','.join(names)}")
    parser.add_argument(
        "--systems", type=_among(SYSTEMS), default=SYSTEMS, help=f"some of {','.join(SYSTEMS)}"
    )
    parser.add_argument(
        "--events", type=_positive, help="the number of events in a topic, instead of 300,000"
    )
    parser.add_argument(
        "--repetitions", type=_positive, help="the number of repetitions of each run, instead of 3"
    )
    parser.add_argument("--resume", action="store_true", help="keep the runs that the results already have")
    parser.add_argument("--output", type=Path, help="the directory of the results")
    return parser.parse_args(arguments)


def _among(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"no {', '.join(sorted(unknown))} among {', '.join(known)}")
        return chosen

    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


async def _run(options: argparse.Namespace) -> int:
    size = QUICK if options.quick else FULL
    size = replace(
        size,
        events=options.events or size.events,
        repetitions=options.repetitions or size.repetitions,
    )
    directory = _directory(options)
    chosen = [scenario for scenario in scenarios(size) if scenario.name in options.scenarios]
    coming = list(turns(chosen, options.systems, size.repetitions))
    if not coming:
        show("nothing to run: none of these systems has a part in these scenarios in this size")
        return _REFUSED
    results = Results(directory / "results.json")
    if not options.resume:
        results.forget(options.scenarios, options.systems)
    if results.runs and (events := results.setting["configuration"]["events"]) != size.events:
        show(f"error: {directory} has runs of {events:,} events: measure as many, or give another --output")
        return _REFUSED
    with running() as services:
        results.setting = await describe(services, size)
        runner = Runner(services, size, results)
        try:
            await runner.run(coming)
        finally:
            _write(directory, size, results, runner.failures)
    for failure in runner.failures:
        show(f"failed: {failure}")
    return 1 if runner.failures else 0


def _directory(options: argparse.Namespace) -> Path:
    directory: Path = options.output or (_QUICK_RESULTS if options.quick else _RESULTS)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _write(directory: Path, size: Size, results: Results, failures: Sequence[str]) -> None:
    page = report(results.setting, size, results.runs, failures)
    (directory / "results.md").write_text(page)
    (directory / "chart.svg").write_text(chart(scenarios(size), results.runs))
    sys.stdout.write(page)


if __name__ == "__main__":
    sys.exit(main())
