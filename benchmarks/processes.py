"""What processes cost: CPU time and memory, of a process and all below it, as Linux tells."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    parent: int
    seconds: float  # with the children that have ended


def cpu_seconds(*pids: int) -> float:
    """What these and all below them have used so far, user and system; what has gone counts nothing."""
    stats = _stats()
    return sum(stats[pid].seconds for pid in _tree(pids, stats))


def count(*pids: int) -> int:
    """How many processes these and all below them are."""
    return len(_tree(pids, _stats()))


def peak_bytes(*pids: int, processes: int) -> int:
    """The greatest resident memory so far of these and of all below them, added up.

    Without what they share with others now, as by PSS, where a page of two processes is half a page of each.
    To be asked for when the clock has stopped: the kernel goes over all their pages.

    Args:
        pids: the uppermost ones.
        processes: how many there were.

    Returns:
        0 where one of them has ended, as nobody knows its peak any more.
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
            # The second field is the program's name in parentheses, and may hold anything.
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            ticks = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
            stats[int(path.name)] = _Stat(int(fields[1]), ticks / _TICKS_PER_SECOND)
    return stats


def _peak_bytes(pid: int) -> int:
    with suppress(OSError, KeyError):  # it has just ended
        now = _kibibytes(pid, "smaps_rollup")
        return (_kibibytes(pid, "status")["VmHWM"] - now["Rss"] + now["Pss"]) * 1024
    return 0


def _kibibytes(pid: int, file: str) -> dict[str, int]:
    lines = map(str.split, (_PROC / str(pid) / file).read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) for line in lines if line[-1:] == ["kB"]}
