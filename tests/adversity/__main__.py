"""`python -m tests.adversity`: runs rounds of random faults from a seed for any time."""

import argparse
import asyncio
import logging
import random
import secrets
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from tests.adversity.checks import Violation
from tests.adversity.faults import FAULTS, Kind
from tests.adversity.rounds import Figures, draw, draw_quiet, end, live_through
from tests.adversity.world import World, new_world

console = Console(width=220, highlight=False)


async def torture(directory: Path, seconds: float, seed: int) -> bool:
    """Draw and run one round after the other. Return whether all checks held."""
    chance = random.Random(seed)
    figures = Figures()
    async with new_world(directory, random.Random(seed)) as world:
        kinds = set(FAULTS) if world.small_disk else set(FAULTS) - {Kind.POSTGRES_DISK_FULL}
        if world.small_disk is None:
            console.print("left out: postgres_disk_full, as no file system may be mounted here")
        rounds = 0
        try:
            while world.seconds < seconds:
                rounds += 1
                drawn = draw(chance, kinds)
                is_quiet = draw_quiet(chance, drawn)
                console.print(f"{rounds:4}  {await live_through(world, drawn, figures, is_quiet=is_quiet)}")
            await end(world)
        except Exception as error:  # noqa: BLE001 - after any error, print how to repeat it
            _tell_failure(world, f"{type(error).__name__}: {error}", seed, rounds)
            if not isinstance(error, Violation):
                console.print_exception()
            return False
    console.print(_report(world, figures, seed))
    return True


def _tell_failure(world: World, what: str, seed: int, rounds: int) -> None:
    console.print(f"\nseed {seed}, round {rounds}, {world.seconds:.0f} s: {what}\n", markup=False)
    for happening in world.history:
        console.print(f"{happening.seconds:8.1f} s  {happening.kind:30} {happening.what}", markup=False)
    seconds = int(world.seconds) + 1
    console.print(
        f"\nAgain: make torture SEED={seed} SECONDS={seconds}   The workers' logs: {world.directory}"
    )


def _report(world: World, figures: Figures, seed: int) -> Table:
    table = Table(title=f"{world.seconds:.0f} s, seed {seed}, {len(figures.recovery_seconds)} rounds")
    for heading in ("", "number", "recovery median", "recovery worst"):
        table.add_column(heading, justify="left" if not heading else "right")
    for kind in Kind:
        alone = figures.by_kind.get(kind, [])
        table.add_row(kind, str(figures.faults[kind]), *_spread(alone))
    table.add_section()
    table.add_row("all rounds, until the table is whole", "", *_spread(figures.recovery_seconds))
    table.add_row("of that, until published again", "", *_spread(figures.publish_seconds))
    table.add_section()
    for name, value in {
        "events acknowledged": world.load.events,
        "dead letters": world.load.letters.total(),
        "publishes not acknowledged at first": world.load.failures,
        "processes of workers": sum(len(member.processes) for member in world.members),
        "peak RSS of a worker, MiB": figures.peak_bytes >> 20,
        "losses": 0,
    }.items():
        table.add_row(name, f"{value:,}")
    return table


def _spread(seconds: list[float]) -> tuple[str, str]:
    return (f"{statistics.median(seconds):.1f} s", f"{max(seconds):.1f} s") if seconds else ("", "")


def main() -> int:
    """Exit 0 if all checks held, 1 at the first that did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.adversity", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.disable()  # this process's clients log every fault
    directory = Path(tempfile.mkdtemp(prefix="pattern-metrics-torture-"))
    console.print(f"seed {arguments.seed}, {arguments.seconds:.0f} s")
    held = asyncio.run(torture(directory, arguments.seconds, arguments.seed))
    if held:
        shutil.rmtree(directory)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
