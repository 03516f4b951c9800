"""Runs the scenarios: all systems in turn, several times, so that drift of the machine affects all alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from benchmarks.events import Shape
from benchmarks.latency import measure_latency
from benchmarks.limit import LIMITS, measure_limit
from benchmarks.measuring import Work, measure
from benchmarks.progress import show
from benchmarks.results import Results, Run
from benchmarks.scenarios import CLIENTS, Scenario, Size, Variant
from benchmarks.services import Services
from benchmarks.topics import Topic, load

_MEGA: Final = 1_000_000


@dataclass(frozen=True)
class Turn:
    """One run that is still to do."""

    scenario: Scenario
    variant: Variant
    system: str
    repetition: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The identity of the run in the results."""
        return self.scenario.name, self.variant.name, self.system, self.repetition


def turns(scenarios: Sequence[Scenario], systems: Sequence[str], repetitions: int) -> Iterator[Turn]:
    """Yield all runs in their order."""
    for scenario in scenarios:
        for repetition in range(1, repetitions + 1):
            for variant in scenario.variants:
                for system in scenario.systems:
                    if system in systems:
                        yield Turn(scenario, variant, system, repetition)


class Runner:
    """Measures one run after the other. Topics are loaded at their first use.

    Attributes:
        failures: the runs that failed so far, with their errors.
    """

    def __init__(self, services: Services, size: Size, results: Results) -> None:
        self.failures: list[str] = []
        self._services = services
        self._size = size
        self._results = results
        self._topics: dict[tuple[Shape, str], Topic] = {}

    async def run(self, coming: Sequence[Turn]) -> None:
        """Measure the runs that the results lack. A failure stops no other run."""
        for number, turn in enumerate(coming, start=1):
            if self._results.has(*turn.key):
                continue
            parts = (turn.scenario.name, turn.variant.name, turn.system)
            name = f"{' / '.join(filter(None, parts))}, {turn.repetition}"
            place = f"{number}/{len(coming)} {name}"
            try:
                run = await self._measure(turn)
            except Exception as error:  # noqa: BLE001 - after any error, the other runs are still measured
                show(f"{place}: failed: {type(error).__name__}: {error}")
                self.failures.append(f"{name}: {type(error).__name__}")
            else:
                self._results.add(run)
                show(f"{place}: {_figures(run)}")

    async def _measure(self, turn: Turn) -> Run:
        variant, repetition = turn.variant, turn.repetition
        services = self._services.with_large_buffers() if variant.has_large_buffers else self._services
        if turn.system in LIMITS:
            work = await self._work(turn, variant.shape.events, "published")
            return await measure_limit(services, turn.system, work, repetition)
        client = CLIENTS[turn.system]()
        events = min(variant.shape.events, self._size.sample) if client.is_slow else variant.shape.events
        work = await self._work(turn, events, client.encoding)
        if variant.rate:
            samples = self._size.samples
            return await measure_latency(services, client, work, variant.rate, samples, repetition)
        return await measure(services, client, work, repetition)

    async def _work(self, turn: Turn, events: int, encoding: str) -> Work:
        variant = turn.variant
        shape = replace(variant.shape, events=events)
        topic = await self._topic(shape, encoding)
        if variant.rate:
            del self._topics[shape, encoding]  # the topic will get more records
        return Work(
            turn.scenario.name,
            variant.name,
            topic,
            variant.rows,
            await self._topic(shape, "published") if variant.is_replay else None,
            variant.settings,
            variant.workers,
            variant.lookups,
        )

    async def _topic(self, shape: Shape, encoding: str) -> Topic:
        key = (shape, encoding)
        if key not in self._topics:
            show(f"loading {shape.events:,} events: {shape.name}, {encoding}")
            name = f"topic-{uuid4().hex}"
            self._topics[key] = await load(self._services.kafka.bootstrap_servers, name, shape, encoding)
        return self._topics[key]


def _figures(run: Run) -> str:
    if run.latency is not None:
        return f"median {run.latency.median:.1f} ms, 99th percentile {run.latency.p99:.1f} ms"
    return (
        f"{run.rate:,.0f} events/s in {run.seconds:.1f} s, "
        f"CPU {run.cpu_client:.1f} + {run.cpu_postgres:.1f} s, "
        f"{run.peak_bytes / _MEGA:,.0f} MB, WAL {run.wal_bytes / _MEGA:,.1f} MB"
    )
