"""The counts and measurements of the worker. No other module knows Prometheus.

The names are a public contract. docs/reference/metrics.md lists them. Values are observed per batch, never
per record.
"""

import math
import threading
from collections import Counter as CountOf
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pattern_metrics.consumer.faults.diagnosis import Fault
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch
from pattern_metrics.consumer.records.offsets import OffsetRange, Partition, Start
from pattern_metrics.consumer.telemetry.metric_table import (
    ASSIGNED,
    BATCH_RECORDS,
    BUILD_INFO,
    CLOCK_DIFFERENCE,
    COMMIT_SECONDS,
    COMPONENTS,
    DEAD_LETTERS,
    DECODE_SECONDS,
    END_TO_END_SECONDS,
    GAP_OFFSETS,
    GAPS,
    LAG,
    LAG_SECONDS,
    LAST_COMMIT,
    NOT_READY,
    OLDEST_DEAD_LETTER,
    OPEN_TRANSACTION_OFFSETS,
    PARTITION_UNAVAILABLE,
    READY,
    REBALANCES,
    RECORDS,
    RETRIES,
    TABLE,
    WRITE_SECONDS,
    Metric,
)
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.settings.timing import CLOCK, Clock


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of a partition: offsets, and seconds that its next record has been waiting."""

    offsets: int
    seconds: float


class MetricSet:
    """The metrics of a table, with a value of 0 for each combination of closed label values.

    Args:
        table: the metrics.
    """

    def __init__(self, table: Iterable[Metric]) -> None:
        # Created-metrics would add names that are not in the table.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in table:
            self._register(metric)

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


class Metrics(MetricSet):
    """The metrics of one worker. Written by its loop, rendered by any thread."""

    def __init__(self, clock: Clock = CLOCK) -> None:
        super().__init__(TABLE)
        self._clock = clock
        self._gauges[BUILD_INFO.name].labels(*next(_closed_values(BUILD_INFO))).set(1)
        self._gauges[LAST_COMMIT.name].set(self._clock.wall())
        self._gauges[CLOCK_DIFFERENCE.name].set(math.nan)
        self._lags_lock = threading.Lock()  # rendering must not restore the gauges of a revoked partition
        self._lags: dict[Partition, int] = {}
        self._waiting_since: dict[Partition, float] = {}
        self._behind_since: dict[Partition, float] = {}  # used while no timestamp is known
        self._oldest_dead_letter_at = math.nan

    # Called by the worker

    def batch_read(self, batch: Batch, decode_seconds: float) -> None:
        """Record that a batch was read and decoded, and waits to be written."""
        self._histograms[BATCH_RECORDS.name].observe(batch.size)
        self._histograms[DECODE_SECONDS.name].observe(decode_seconds)
        for partition, timespan in batch.timespans.items():
            self._waiting_since.setdefault(partition, timespan.first)

    def batch_written(self, batch: Batch, accounting: Accounting, seconds: float) -> None:
        """Record that a batch is in the table, after so many seconds of writing."""
        outcomes = (accounting.applied, accounting.superseded, accounting.dead_letters)
        for outcome, count in zip(RECORDS.labels["outcome"], outcomes, strict=True):
            self._counters[RECORDS.name].labels(outcome).inc(count)
        reasons = CountOf(rejected.reason for rejected in batch.rejected)
        # Only the table refuses the remaining dead letters of the batch.
        reasons[RejectReason.REFUSED_BY_DATABASE] += accounting.dead_letters - len(batch.rejected)
        for reason, count in reasons.items():
            self._counters[DEAD_LETTERS.name].labels(reason).inc(count)
        self._histograms[WRITE_SECONDS.name].observe(seconds)
        now = self._clock.wall()
        for partition, timespan in batch.timespans.items():
            self._histograms[END_TO_END_SECONDS.name].observe(max(0.0, now - timespan.first))
            self._waiting_since[partition] = timespan.last  # the next record is hardly older

    def offsets_committed(self, seconds: float) -> None:
        """Record that offsets were committed to Kafka, after so many seconds."""
        self._histograms[COMMIT_SECONDS.name].observe(seconds)
        self._gauges[LAST_COMMIT.name].set(self._clock.wall())

    def partitions_assigned(self, count: int) -> None:
        """Record that a rebalance has ended, and the number of partitions that this worker has now."""
        self._counters[REBALANCES.name].inc()
        self._gauges[ASSIGNED.name].set(count)

    def partitions_given_up(self) -> None:
        """Record that this worker has no partitions until the group assigns some."""
        self._gauges[ASSIGNED.name].set(0)

    def reading_started(self, starts: Mapping[Partition, Start]) -> None:
        """Record the gaps of partitions whose reading starts."""
        gaps: list[OffsetRange] = [start.gap for start in starts.values() if start.gap is not None]
        self._counters[GAPS.name].inc(len(gaps))
        self._counters[GAP_OFFSETS.name].inc(sum(gap.end - gap.start for gap in gaps))

    def failed(self, component: str, fault: Fault) -> None:
        """Record a failure, after which the worker tries again."""
        self._counters[RETRIES.name].labels(component, fault.name.lower()).inc()

    def lag_observed(self, lags: Mapping[Partition, int]) -> None:
        """Set the lag of each of our partitions, and remove all other partitions."""
        with self._lags_lock:
            for partition in self._lags.keys() - lags.keys():
                self._gauges[LAG.name].remove(*partition)
                self._gauges[LAG_SECONDS.name].remove(*partition)
                self._forget_since_when(partition)
            for partition, lag in lags.items():
                self._gauges[LAG.name].labels(*partition).set(lag)
                if lag:
                    self._behind_since.setdefault(partition, self._clock.wall())
                else:
                    self._forget_since_when(partition)
            self._lags = dict(lags)

    def open_transactions_observed(self, held_back: Mapping[Partition, int]) -> None:
        """Set the offsets that open transactions hold back in our partitions; remove all other partitions."""
        gauge = self._gauges[OPEN_TRANSACTION_OFFSETS.name]
        gauge.clear()
        for partition, offsets in held_back.items():
            gauge.labels(*partition).set(offsets)

    def availability_observed(self, unavailable: Mapping[Partition, bool]) -> None:
        """Set whether each of our partitions is unavailable, and remove all other partitions."""
        gauge = self._gauges[PARTITION_UNAVAILABLE.name]
        gauge.clear()
        for partition, is_unavailable in unavailable.items():
            gauge.labels(*partition).set(is_unavailable)

    def _forget_since_when(self, partition: Partition) -> None:
        self._waiting_since.pop(partition, None)
        self._behind_since.pop(partition, None)

    def oldest_dead_letter_observed(self, seconds: float | None) -> None:
        """Set the age of the oldest open dead letter; None if there is none."""
        self._oldest_dead_letter_at = math.inf if seconds is None else self._clock.monotonic() - seconds

    def clocks_compared(self, difference: float) -> None:
        """Set the seconds by which PostgreSQL's clock is ahead."""
        self._gauges[CLOCK_DIFFERENCE.name].set(difference)

    # Called by a scraper

    def render(self, obstacles: Mapping[str, str]) -> bytes:
        """Return the text that Prometheus reads.

        Args:
            obstacles: the reason per component why the worker is not ready.
        """
        self._gauges[READY.name].set(not obstacles)
        for component in COMPONENTS:
            self._gauges[NOT_READY.name].labels(component).set(component in obstacles)
        age = self._clock.monotonic() - self._oldest_dead_letter_at
        self._gauges[OLDEST_DEAD_LETTER.name].set(max(0.0, age) if not math.isnan(age) else math.nan)
        with self._lags_lock:
            for partition, lag in self._lags_now().items():
                self._gauges[LAG_SECONDS.name].labels(*partition).set(lag.seconds)
        return generate_latest(self._registry)

    # Called by the page

    def lags(self) -> dict[Partition, Lag]:
        """Return the lag of each of our partitions, as far as it is known."""
        with self._lags_lock:
            return self._lags_now()

    def _lags_now(self) -> dict[Partition, Lag]:
        now = self._clock.wall()
        since = self._behind_since | self._waiting_since
        return {
            partition: Lag(offsets, max(0.0, now - since.get(partition, now)))
            for partition, offsets in self._lags.items()
        }

    def outcomes(self) -> dict[str, int]:
        """Return the number of records that were read and written so far, by outcome."""
        counted = {
            outcome: self._registry.get_sample_value(RECORDS.name, {"outcome": outcome})
            for outcome in RECORDS.labels["outcome"]
        }
        return {outcome: int(value or 0) for outcome, value in counted.items()}

    def clock_difference(self) -> float | None:
        """Return the seconds by which PostgreSQL's clock is ahead; None before the first comparison."""
        seconds = self._registry.get_sample_value(CLOCK_DIFFERENCE.name)
        return None if seconds is None or math.isnan(seconds) else seconds


def _closed_values(metric: Metric) -> Iterator[tuple[str, ...]]:
    """Return all combinations of label values, if these are closed sets."""
    return product(*metric.labels.values()) if metric.labels else iter(())
