"""Combines the metrics of several processes into those of one. Pure, from text to text."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from typing_extensions import override

from pattern_metrics.consumer.telemetry.metric_table import ASSIGNED, LAG, LAST_COMMIT, READY

_COUNTED: Final = {"counter", "histogram"}

Labels = tuple[tuple[str, str], ...]


class Union(Collector):
    """Combined metrics of several processes: counts are added, and of two gauges the greater value counts.

    So ages show the worst process, and an obstacle of one process is an obstacle of the worker. There are
    exceptions. Ready must be true of all processes. Assigned partitions are added. A partition's lag comes
    from the process that has the partition. The last commit is the oldest one among the processes with lag,
    so that no other process hides it; if no process has lag, it is the newest one.
    """

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._values: dict[str, dict[tuple[str, Labels], float]] = {}
        self._commits_with_lag: list[float] = []

    def add(self, exposed: str, *, only_counts: bool = False) -> None:
        """Add the metrics of a process.

        Args:
            exposed: the metrics in Prometheus' text format.
            only_counts: whether the process has ended, so that its gauges no longer hold.
        """
        families = list(text_string_to_metric_families(exposed))
        if not only_counts and any(_values_of(LAG.name, families)):
            self._commits_with_lag += _values_of(LAST_COMMIT.name, families)
        for family in families:
            if only_counts and family.type not in _COUNTED:
                continue
            self._families.setdefault(family.name, family)
            values = self._values.setdefault(family.name, {})
            for sample in family.samples:
                key = sample.name, tuple(sample.labels.items())
                known = values.get(key)
                values[key] = sample.value if known is None else _combine(family, known, sample.value)

    @override
    def collect(self) -> Iterator[Metric]:
        for name, family in self._families.items():
            united = Metric(name, family.documentation, family.type)
            for (sample, labels), value in self._values[name].items():
                is_commit = name == LAST_COMMIT.name
                shown = min(self._commits_with_lag, default=value) if is_commit else value
                united.add_sample(sample, dict(labels), shown)
            yield united

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)


def _values_of(name: str, families: Iterable[Metric]) -> list[float]:
    return [sample.value for family in families if family.name == name for sample in family.samples]


def _combine(family: Metric, one: float, other: float) -> float:
    if family.type in _COUNTED or family.name == ASSIGNED.name:
        return one + other
    if math.isnan(one):
        return other
    return min(one, other) if family.name == READY.name else max(one, other)


def counts_of(exposed: Iterable[str]) -> str:
    """Return the counts of processes that have ended, so that no counter ever goes back."""
    union = Union()
    for text in exposed:
        union.add(text, only_counts=True)
    return union.render().decode()


def unite(whole: Sequence[str], only_counts: Sequence[str]) -> bytes:
    """Combine the metrics of several processes.

    Args:
        whole: the metrics of each running process; each text may hold all metrics.
        only_counts: the metrics of processes that have ended or are silent, of which only the counts are
            used.
    """
    union = Union()
    for text in whole:
        union.add(text)
    for text in only_counts:
        union.add(text, only_counts=True)
    return union.render()
