"""The metrics of several processes as those of one: pure, from text to text."""

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
    """What several processes expose: counts are added up, of two gauges the greater one counts.

    That is the worst of an age, and any of several obstacles; only ready must be all of them, and assigned
    partitions are added up as well. A partition's lag is told by whom it is assigned to. The last commit is
    that of the one with lag that committed longest ago, which the others must not hide; where none has lag,
    it is the newest.
    """

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._values: dict[str, dict[tuple[str, Labels], float]] = {}
        self._commits_with_lag: list[float] = []

    def add(self, exposed: str, *, only_counts: bool = False) -> None:
        """Add what a process exposes.

        Args:
            exposed: in Prometheus' text format.
            only_counts: of one that is no more, and of which nothing else is true.
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
                told = min(self._commits_with_lag, default=value) if is_commit else value
                united.add_sample(sample, dict(labels), told)
            yield united

    def render(self) -> bytes:
        """In Prometheus' text format."""
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
    """What remains of processes that are no more, so that no counter ever goes back."""
    union = Union()
    for text in exposed:
        union.add(text, only_counts=True)
    return union.render().decode()


def unite(whole: Sequence[str], only_counts: Sequence[str]) -> bytes:
    """What several processes expose, as one.

    Args:
        whole: of each that is there; each text holds all that may be exposed.
        only_counts: of each that is not.
    """
    union = Union()
    for text in whole:
        union.add(text)
    for text in only_counts:
        union.add(text, only_counts=True)
    return union.render()
