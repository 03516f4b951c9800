"""What processes cost."""

import os
import subprocess
import sys

from benchmarks.processes import cpu_seconds, peak_bytes


def test_usage_counts_a_process_and_all_below_it() -> None:
    burn = "sum(range(3_000_000)); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        seconds, seconds_of_tree = cpu_seconds(child.pid), cpu_seconds(os.getpid())
        peak, peak_of_tree = (peak_bytes(pid, processes=1) for pid in (child.pid, os.getpid()))
        peak_without_one = peak_bytes(child.pid, processes=2)
        child.communicate(b"\n")
    assert 0 < peak < peak_of_tree
    assert 0 < seconds < seconds_of_tree
    assert peak_without_one == peak_bytes(child.pid, processes=1) == 0
