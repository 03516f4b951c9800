"""What the worker counts and measures: one closed table, and the only place that knows Prometheus.

`make metrics` writes the table into the README; a test keeps them in step. The names are a public contract.
Everything is observed by the batch, never by the record.
"""

import math
import platform
import threading
import time
from collections import Counter as CountOf
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Final, Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pattern_metrics.consumer.faults.diagnosis import Fault
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch
from pattern_metrics.consumer.records.offsets import OffsetRange, Partition, Start
from pattern_metrics.schemas.dead_letter import RejectReason

CONTENT_TYPE: Final = prometheus_client.exposition.CONTENT_TYPE_PLAIN_0_0_4

COMPONENTS: Final = ("kafka", "commit", "postgresql", "breaker", "assignment", "process")
"""What can keep the worker from being ready."""

_WAITED_OUT: Final = ("weather", "setup", "unknown")

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3600.0, 86400.0)
_RECORDS: Final = (1.0, 10.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 25_000.0, 50_000.0, 100_000.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: all that may ever be exposed under its name.

    Attributes:
        name: in full, as a scraper sees it (of a histogram: without `_bucket`, `_sum` and `_count`).
        kind: its type.
        help: one sentence, for the scraper and the README.
        labels: label → its values, where they are a closed set; these are exposed from the start.
        buckets: upper bounds, of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


_BY_PARTITION: Final[Mapping[str, tuple[str, ...]]] = {"topic": (), "partition": ()}

RECORDS = Metric(
    "pattern_metrics_records_total",
    "counter",
    "Records that were read and written, by what became of them; the sum is the records read.",
    {"outcome": ("applied", "superseded", "dead_letter")},
)
DEAD_LETTERS = Metric(
    "pattern_metrics_dead_letters_total",
    "counter",
    "Records that were set aside, by reason.",
    {"reason": tuple(RejectReason)},
)
OLDEST_DEAD_LETTER = Metric(
    "pattern_metrics_oldest_open_dead_letter_seconds",
    "gauge",
    "Age of the oldest dead letter that is open in the database, asked once a minute; 0 where there is none, "
    "NaN while it is not known.",
)
LAG = Metric(
    "pattern_metrics_consumer_lag",
    "gauge",
    "Offsets between what is written and the log's end, of each partition this worker was assigned.",
    _BY_PARTITION,
)
LAG_SECONDS = Metric(
    "pattern_metrics_consumer_lag_seconds",
    "gauge",
    "For how long the next record has been waiting since its timestamp; 0 where there is no lag.",
    _BY_PARTITION,
)
BATCH_RECORDS = Metric("pattern_metrics_batch_records", "histogram", "Records in a batch.", buckets=_RECORDS)
DECODE_SECONDS = Metric(
    "pattern_metrics_decode_seconds", "histogram", "Seconds to decode a batch.", buckets=_SECONDS
)
WRITE_SECONDS = Metric(
    "pattern_metrics_write_seconds",
    "histogram",
    "Seconds of the transaction that wrote a batch, without attempts that failed before.",
    buckets=_SECONDS,
)
COMMIT_SECONDS = Metric(
    "pattern_metrics_commit_seconds", "histogram", "Seconds to commit offsets to Kafka.", buckets=_SECONDS
)
END_TO_END_SECONDS = Metric(
    "pattern_metrics_end_to_end_seconds",
    "histogram",
    "Seconds from the timestamp of a partition's first record in a batch, its oldest, until its row was "
    "committed; one observation a partition and batch.",
    buckets=_LONG_SECONDS,
)
GAPS = Metric(
    "pattern_metrics_gaps_total", "counter", "Gaps: times that retention was faster than this worker."
)
GAP_OFFSETS = Metric("pattern_metrics_gap_offsets_total", "counter", "Offsets in those gaps.")
REBALANCES = Metric(
    "pattern_metrics_rebalances_total", "counter", "Times that the group assigned partitions anew."
)
RETRIES = Metric(
    "pattern_metrics_retries_total",
    "counter",
    "Failures after which the worker tries again, by whose they are: the weather's (an outage), the set-up's "
    "(somebody has to mend it) or unknown.",
    {"component": ("kafka", "postgresql"), "class": _WAITED_OUT},
)
ASSIGNED = Metric(
    "pattern_metrics_assigned_partitions",
    "gauge",
    "Partitions that the group has given this worker; 0 where there are more workers than partitions.",
)
LAST_COMMIT = Metric(
    "pattern_metrics_last_commit_timestamp_seconds",
    "gauge",
    "Unix time of the last commit of offsets to Kafka; before the first one, of the worker's start; of "
    "several processes, of the one with lag that committed longest ago.",
)
READY = Metric("pattern_metrics_ready", "gauge", "Whether /readyz says yes.")
NOT_READY = Metric(
    "pattern_metrics_not_ready",
    "gauge",
    "Whether this keeps the worker from being ready: kafka, commit, postgresql, breaker, assignment "
    "or, of several, a process that is not there.",
    {"component": COMPONENTS},
)
BUILD_INFO = Metric(
    "pattern_metrics_build_info",
    "gauge",
    "Always 1; the labels say what is running.",
    {"version": (version("pattern-metrics"),), "python": (platform.python_version(),)},
)

TABLE: Final = (
    RECORDS,
    DEAD_LETTERS,
    OLDEST_DEAD_LETTER,
    LAG,
    LAG_SECONDS,
    BATCH_RECORDS,
    DECODE_SECONDS,
    WRITE_SECONDS,
    COMMIT_SECONDS,
    END_TO_END_SECONDS,
    GAPS,
    GAP_OFFSETS,
    REBALANCES,
    RETRIES,
    ASSIGNED,
    LAST_COMMIT,
    READY,
    NOT_READY,
    BUILD_INFO,
)
"""All there are."""


@dataclass(frozen=True, slots=True)
class Span:
    """Timestamps of a partition's first and last record in a batch, in seconds since the epoch."""

    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a partition is behind: offsets, and for how many seconds its next record has been waiting."""

    offsets: int
    seconds: float


class Metrics:
    """The metrics of one worker. Written by its loop, rendered by any thread."""

    def __init__(self) -> None:
        # These would be names beyond the table.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in TABLE:
            self._register(metric)
        self._gauges[LAST_COMMIT.name].set(time.time())
        self._gauges[BUILD_INFO.name].labels(*next(_closed_values(BUILD_INFO))).set(1)
        self._lags_lock = threading.Lock()  # a rendering must not bring back what was given up
        self._lags: dict[Partition, int] = {}
        self._waiting_since: dict[Partition, float] = {}
        self._behind_since: dict[Partition, float] = {}  # stands in while no timestamp is known
        self._oldest_dead_letter_at = math.nan

    def _register(self, metric: Metric) -> None:
        labels = tuple(metric.labels)
        made: Counter | Gauge | Histogram
        match metric.kind:
            case "counter":
                made = self._counters[metric.name] = Counter(
                    metric.name, metric.help, labels, registry=self._registry
                )
            case "gauge":
                made = self._gauges[metric.name] = Gauge(
                    metric.name, metric.help, labels, registry=self._registry
                )
            case "histogram":
                made = self._histograms[metric.name] = Histogram(
                    metric.name, metric.help, labels, registry=self._registry, buckets=metric.buckets
                )
        for values in _closed_values(metric):
            made.labels(*values)

    # Told by the worker

    def batch_decoded(self, records: int, seconds: float) -> None:
        """A batch of so many was read and decoded."""
        self._histograms[BATCH_RECORDS.name].observe(records)
        self._histograms[DECODE_SECONDS.name].observe(seconds)

    def spans_read(self, spans: Mapping[Partition, Span]) -> None:
        """Records were read, and wait to be written."""
        for partition, span in spans.items():
            self._waiting_since.setdefault(partition, span.first)

    def batch_written(
        self, batch: Batch, accounting: Accounting, spans: Mapping[Partition, Span], seconds: float
    ) -> None:
        """A batch is in the table."""
        outcomes = (accounting.applied, accounting.superseded, accounting.dead_letters)
        for outcome, count in zip(RECORDS.labels["outcome"], outcomes, strict=True):
            self._counters[RECORDS.name].labels(outcome).inc(count)
        reasons = CountOf(rejected.reason for rejected in batch.rejected)
        # All others of the batch's dead letters were refused by the table, and only there.
        reasons[RejectReason.REFUSED_BY_DATABASE] += accounting.dead_letters - len(batch.rejected)
        for reason, count in reasons.items():
            self._counters[DEAD_LETTERS.name].labels(reason).inc(count)
        self._histograms[WRITE_SECONDS.name].observe(seconds)
        now = time.time()
        for partition, span in spans.items():
            self._histograms[END_TO_END_SECONDS.name].observe(max(0.0, now - span.first))
            self._waiting_since[partition] = span.last  # the next one is hardly older

    def offsets_committed(self, seconds: float) -> None:
        """Offsets were committed to Kafka."""
        self._histograms[COMMIT_SECONDS.name].observe(seconds)
        self._gauges[LAST_COMMIT.name].set(time.time())

    def partitions_assigned(self, count: int) -> None:
        """A rebalance has ended, and gave this worker so many."""
        self._counters[REBALANCES.name].inc()
        self._gauges[ASSIGNED.name].set(count)

    def partitions_given_up(self) -> None:
        """Until the group assigns some anew, none is ours."""
        self._gauges[ASSIGNED.name].set(0)

    def reading_started(self, starts: Mapping[Partition, Start]) -> None:
        """Partitions are read from here, and what lies before is written, or lost."""
        gaps: list[OffsetRange] = [start.gap for start in starts.values() if start.gap is not None]
        self._counters[GAPS.name].inc(len(gaps))
        self._counters[GAP_OFFSETS.name].inc(sum(gap.end - gap.start for gap in gaps))

    def failed(self, component: str, fault: Fault) -> None:
        """Something failed, and will be tried again."""
        self._counters[RETRIES.name].labels(component, fault.name.lower()).inc()

    def lag_observed(self, lags: Mapping[Partition, int]) -> None:
        """How far each partition that is ours is behind; others are no more."""
        with self._lags_lock:
            for partition in self._lags.keys() - lags.keys():
                self._gauges[LAG.name].remove(*partition)
                self._gauges[LAG_SECONDS.name].remove(*partition)
                self._forget_since_when(partition)
            for partition, lag in lags.items():
                self._gauges[LAG.name].labels(*partition).set(lag)
                if lag:
                    self._behind_since.setdefault(partition, time.time())
                else:
                    self._forget_since_when(partition)
            self._lags = dict(lags)

    def _forget_since_when(self, partition: Partition) -> None:
        self._waiting_since.pop(partition, None)
        self._behind_since.pop(partition, None)

    def oldest_dead_letter_observed(self, seconds: float | None) -> None:
        """How old the oldest open dead letter is; None where there is none."""
        self._oldest_dead_letter_at = math.inf if seconds is None else time.monotonic() - seconds

    # Asked by a scraper

    def render(self, obstacles: Mapping[str, str]) -> bytes:
        """The text that Prometheus reads.

        Args:
            obstacles: component → why the worker is not ready.
        """
        self._gauges[READY.name].set(not obstacles)
        for component in COMPONENTS:
            self._gauges[NOT_READY.name].labels(component).set(component in obstacles)
        age = time.monotonic() - self._oldest_dead_letter_at
        self._gauges[OLDEST_DEAD_LETTER.name].set(max(0.0, age) if not math.isnan(age) else math.nan)
        with self._lags_lock:
            for partition, lag in self._lags_now().items():
                self._gauges[LAG_SECONDS.name].labels(*partition).set(lag.seconds)
        return generate_latest(self._registry)

    # Asked by the page

    def lags(self) -> dict[Partition, Lag]:
        """How far each partition that is ours is behind, as far as it is known."""
        with self._lags_lock:
            return self._lags_now()

    def _lags_now(self) -> dict[Partition, Lag]:
        now = time.time()
        since = self._behind_since | self._waiting_since
        return {
            partition: Lag(offsets, max(0.0, now - since.get(partition, now)))
            for partition, offsets in self._lags.items()
        }

    def outcomes(self) -> dict[str, int]:
        """How many records were read and written so far, by what became of them."""
        counted = {
            outcome: self._registry.get_sample_value(RECORDS.name, {"outcome": outcome})
            for outcome in RECORDS.labels["outcome"]
        }
        return {outcome: int(value or 0) for outcome, value in counted.items()}


def _closed_values(metric: Metric) -> Iterator[tuple[str, ...]]:
    """All combinations of values of the labels, where these are closed sets."""
    return product(*metric.labels.values()) if metric.labels else iter(())


# For the README

BEGIN: Final = "<!-- The table of consumer/metrics.py, written by `make metrics`. -->"
END: Final = "<!-- End of the table. -->"


def markdown() -> str:
    """The table for a person."""
    lines = ["| metric | type | meaning |", "|---|---|---|"]
    for metric in TABLE:
        labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
        lines.append(f"| `{metric.name}{labels}` | {metric.kind} | {metric.help} |")
    return "\n".join(lines)


def with_table(document: str) -> str:
    """The document with the table of now between its two marks."""
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"


if __name__ == "__main__":
    readme = Path(__file__).resolve().parents[1] / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
