"""What processes cost: CPU time and memory, of a process and all below it, as Linux tells."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    parent: int
    seconds: float  # with the children that have ended


@dataclass(frozen=True)
class Usage:
    """Of a process and all below it.

    Attributes:
        cpu_seconds: in user and system mode, since its start.
        peak_bytes: the greatest resident memory of each so far, added up, without what they share with others
            now (as by PSS, where a page of two processes is half a page of each).
    """

    cpu_seconds: float
    peak_bytes: int


def usage(*pids: int) -> Usage:
    """What these and all below them have used so far; what has gone counts nothing."""
    stats = _stats()
    tree = set(pids) & stats.keys()
    while below := {pid for pid, stat in stats.items() if stat.parent in tree} - tree:
        tree |= below
    return Usage(sum(stats[pid].seconds for pid in tree), sum(map(_peak_bytes, tree)))


def _stats() -> dict[int, _Stat]:
    stats = {}
    for path in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            # The second field is the program's name in parentheses, and may hold anything.
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            ticks = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
            stats[int(path.name)] = _Stat(int(fields[1]), ticks / _TICKS_PER_SECOND)
    return stats


def _peak_bytes(pid: int) -> int:
    with suppress(OSError):
        shared = _bytes(pid, "smaps_rollup", "Rss:") - _bytes(pid, "smaps_rollup", "Pss:")
        return _bytes(pid, "status", "VmHWM:") - shared
    return 0


def _bytes(pid: int, file: str, name: str) -> int:
    for line in (_PROC / str(pid) / file).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0  # a kernel thread's, or of what has just ended
