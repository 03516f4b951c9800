"""What processes cost."""

import os
import subprocess
import sys

from benchmarks.processes import usage


def test_usage_counts_a_process_and_all_below_it() -> None:
    burn = "sum(range(3_000_000)); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alone, tree = usage(child.pid), usage(os.getpid())
        child.communicate(b"\n")
    assert 0 < alone.peak_bytes < tree.peak_bytes
    assert 0 < alone.cpu_seconds < tree.cpu_seconds
    assert usage(child.pid).peak_bytes == 0
