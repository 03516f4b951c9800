"""The texts beside a progress bar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pattern_metrics.consumer.cli.progress import Bar
from pattern_metrics.consumer.cli.rich_progress import rich_progress

STEPS = 100


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def columns_after(
    parts: int, *, seconds: float, lines: int, line: int = 1, in_bytes: bool = False
) -> tuple[list[str], float | None]:
    """Return the columns and Rich's estimate after some of 100 parts, whose lines arrive in a millisecond."""
    clock = Clock()
    progress = rich_progress("working", in_bytes=in_bytes, clock=clock)
    progress.disable = False
    bar = Bar(progress, STEPS * lines * line)
    for _ in range(parts):
        clock.now += seconds
        for _ in range(lines):
            clock.now += 0.001 / lines
            bar.advance(line)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(progress.make_tasks_table(progress.tasks))
    return capture.get().split(), progress.tasks[0].time_remaining


@given(seconds=st.floats(0.5, 30), lines=st.integers(1, 5000), parts=st.integers(10, 30))
def test_the_time_left_is_near_the_truth_from_the_tenth_part_on(
    seconds: float, lines: int, parts: int
) -> None:
    """A file is read in bursts, so the time of one burst says nothing about the whole."""
    _, estimate = columns_after(parts, seconds=seconds, lines=lines)

    truth = (STEPS - parts) * seconds
    assert estimate is not None
    assert truth / 2 <= estimate <= truth * 2


def test_no_time_left_is_shown_before_it_can_be_estimated() -> None:
    early, _ = columns_after(4, seconds=0.5, lines=10)
    later, _ = columns_after(8, seconds=0.5, lines=10)

    assert early[-1] == "-:--:--"
    assert later[-1] != "-:--:--"


@pytest.mark.parametrize(("line", "unit"), [(100_000, "MB/s"), (100, "kB/s")])
def test_the_rate_of_bytes_is_shown_in_bytes(line: int, unit: str) -> None:
    shown, _ = columns_after(20, seconds=1, lines=100, line=line, in_bytes=True)

    assert unit in shown
    assert "it/s" not in shown


def test_a_bar_that_nobody_sees_takes_every_call() -> None:
    bar = Bar()
    bar.advance(1)
    bar.reach(1, 2)
    bar.show()
