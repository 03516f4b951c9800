"""CPU time and memory of a process and all its descendants, as Linux reports them."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    parent: int
    seconds: float  # including children that have ended


def cpu_seconds(*pids: int) -> float:
    """Return the user and system seconds used so far by these processes and all their descendants."""
    stats = _stats()
    return sum(stats[pid].seconds for pid in _tree(pids, stats))


def count(*pids: int) -> int:
    """Return the number of these processes and all their descendants."""
    return len(_tree(pids, _stats()))


def peak_bytes(*pids: int, processes: int) -> int:
    """Return the greatest resident memory so far of these processes and all their descendants, summed.

    Memory that they share now is counted once, as by PSS: a page of two processes is half a page of each.
    Call this after the clock has stopped, because the kernel walks over all their pages.

    Args:
        pids: the topmost processes.
        processes: their expected number.

    Returns:
        0 if one of them has ended, because its peak is then unknown.
    """
    tree = _tree(pids, _stats())
    peaks = list(map(_peak_bytes, tree))
    return sum(peaks) if len(tree) >= processes and all(peaks) else 0


def _tree(pids: Sequence[int], stats: Mapping[int, _Stat]) -> set[int]:
    tree = set(pids) & stats.keys()
    while below := {pid for pid, stat in stats.items() if stat.parent in tree} - tree:
        tree |= below
    return tree


def _stats() -> dict[int, _Stat]:
    stats = {}
    for path in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            # The second field is the program's name in parentheses, which may contain anything.
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            ticks = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
            stats[int(path.name)] = _Stat(int(fields[1]), ticks / _TICKS_PER_SECOND)
    return stats


def _peak_bytes(pid: int) -> int:
    with suppress(OSError, KeyError):  # the process has just ended
        now = _kibibytes(pid, "smaps_rollup")
        return (_kibibytes(pid, "status")["VmHWM"] - now["Rss"] + now["Pss"]) * 1024
    return 0


def _kibibytes(pid: int, file: str) -> dict[str, int]:
    lines = map(str.split, (_PROC / str(pid) / file).read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) for line in lines if line[-1:] == ["kB"]}
