"""CPU time and memory of processes."""

import subprocess
import sys

from benchmarks.processes import cpu_seconds, peak_bytes

BURN = "import os; sum(range(3_000_000)); print(os.getpid(), flush=True); input()"
ABOVE = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}], check=True)"


def test_usage_counts_a_process_and_all_below_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ABOVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as above:
        assert above.stdout is not None
        below = int(above.stdout.readline())
        seconds, seconds_of_both = cpu_seconds(below), cpu_seconds(above.pid)
        peak, peak_of_both = peak_bytes(below, processes=1), peak_bytes(above.pid, processes=2)
        peak_without_one = peak_bytes(above.pid, processes=3)
        above.communicate(b"\n")
    assert 0 < peak < peak_of_both
    assert 0 < seconds < seconds_of_both
    assert peak_without_one == peak_bytes(above.pid, processes=1) == 0
