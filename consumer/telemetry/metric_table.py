"""The closed table of metrics: name, type, unit, meaning, labels."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

import prometheus_client

from pattern_metrics.schemas.dead_letter import RejectReason

METRICS_CONTENT_TYPE: Final = prometheus_client.exposition.CONTENT_TYPE_PLAIN_0_0_4


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


BEGIN: Final = "<!-- The table of consumer/telemetry/metric_table.py, written by `make metrics`. -->"


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
    readme = Path(__file__).resolve().parents[2] / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
