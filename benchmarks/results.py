"""The runs and their costs, in a file that is written after each run."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

import orjson


@dataclass(frozen=True)
class Latency:
    """The time from a record's acknowledgement to its row being visible, in milliseconds.

    Attributes:
        samples: number of records that were timed.
        median: half of the records took at most this long.
        p95: 95 of a hundred took at most this long.
        p99: 99 of a hundred took at most this long.
        resolution: duration of one query of the table.
        others_per_second: actual rate of the other events.
    """

    samples: int
    median: float
    p95: float
    p99: float
    resolution: float
    others_per_second: float


@dataclass(frozen=True)
class Run:
    """One measured run.

    Attributes:
        scenario: its name.
        variant: the variant inside the scenario, such as the rows that exist; otherwise empty.
        system: the system that was measured.
        repetition: the number of the repetition, from 1.
        events: number of events that were read.
        seconds: the time from the assignment of the partitions until the last event's row is visible.
        seconds_with_start: the same from the start of the process (in a warm JVM, of the connector).
        cpu_client: CPU seconds of the client's processes within `seconds`.
        cpu_client_with_start: the same, within `seconds_with_start`.
        cpu_postgres: CPU seconds of PostgreSQL, all its processes, within `seconds`.
        cpu_kafka: CPU seconds of the broker, within `seconds`.
        peak_bytes: the client's peak of resident memory, summed over its processes; 0 if unknown.
        wal_bytes: written by PostgreSQL, page images and autovacuum included, since the checkpoint before.
        row_wal_bytes: the part of it for the table's rows and indexes; known for a replay.
        latency: if it was measured.
    """

    scenario: str
    variant: str
    system: str
    repetition: int
    events: int
    seconds: float
    seconds_with_start: float
    cpu_client: float
    cpu_client_with_start: float
    cpu_postgres: float
    cpu_kafka: float
    peak_bytes: int
    wal_bytes: int
    row_wal_bytes: int | None = None
    latency: Latency | None = None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The identity of the run."""
        return self.scenario, self.variant, self.system, self.repetition

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return the run that the file's fields describe."""
        latency = fields.pop("latency")
        return cls(**fields, latency=Latency(**latency) if latency else None)


@dataclass(frozen=True)
class Summary:
    """The runs of one system at one variant of a scenario."""

    runs: Sequence[Run]

    @property
    def system(self) -> str:
        """The measured system."""
        return self.runs[0].system

    @property
    def variant(self) -> str:
        """The variant of the scenario."""
        return self.runs[0].variant

    @property
    def rate(self) -> float:
        """The median of events a second."""
        return self.median_of("rate")

    @property
    def slowest(self) -> float:
        """The fewest events a second."""
        return min(run.rate for run in self.runs)

    @property
    def fastest(self) -> float:
        """The most events a second."""
        return max(run.rate for run in self.runs)

    def median_of(self, attribute: str) -> float:
        """Return the median of any other number of the runs."""
        return float(median(getattr(run, attribute) for run in self.runs))

    @property
    def peak_bytes(self) -> float:
        """The median of the known peaks; 0 if none is known."""
        known = [run.peak_bytes for run in self.runs if run.peak_bytes]
        return float(median(known)) if known else 0.0

    def latency_of(self, attribute: str) -> float:
        """Return the median of a number of the runs' latencies."""
        return float(median(getattr(run.latency, attribute) for run in self.runs))


def summarise(runs: Iterable[Run]) -> list[Summary]:
    """Group the runs by system and variant, in the order of their first appearance."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.variant, run.system), []).append(run)
    return [Summary(group) for group in groups.values()]


class Results:
    """The runs in a file, with the machine and the configuration that they were measured on.

    Args:
        path: the file. Its content stays, except runs of the same identity.

    Attributes:
        setting: machine, versions and configuration, which should be the same for all runs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.setting: dict[str, Any] = {}
        self._runs: dict[tuple[str, str, str, int], Run] = {}
        if path.exists():
            self.setting = orjson.loads(path.read_bytes())
            for fields in self.setting.pop("runs"):
                run = Run.from_json(fields)
                self._runs[run.key] = run

    @property
    def runs(self) -> list[Run]:
        """All known runs."""
        return list(self._runs.values())

    def has(self, *key: object) -> bool:
        """Return whether a run exists already."""
        return key in self._runs

    def forget(self, scenarios: Iterable[str], systems: Iterable[str]) -> None:
        """Drop the runs of these scenarios and systems, so that they are measured again."""
        gone = {(scenario, system) for scenario in scenarios for system in systems}
        self._runs = {key: run for key, run in self._runs.items() if (run.scenario, run.system) not in gone}

    def add(self, run: Run) -> None:
        """Add a run, and write the file."""
        self._runs[run.key] = run
        document = {**self.setting, "runs": [asdict(run) for run in self._runs.values()]}
        self._path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
