"""The closed table of metrics: name, type, meaning, labels, buckets."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final, Literal

import prometheus_client

from pattern_metrics.schemas.dead_letter import RejectReason

METRICS_CONTENT_TYPE: Final = prometheus_client.exposition.CONTENT_TYPE_PLAIN_0_0_4


COMPONENTS: Final = ("kafka", "commit", "postgresql", "breaker", "assignment", "process")
"""The components that can keep the worker from being ready."""


GATEWAY_STATUSES: Final = (200, 202, 400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
"""The statuses of the answers to a request to publish."""


REFUSED_BY_KAFKA: Final = "refused_by_kafka"
"""The reason of an event that only the broker refuses."""


_WAITED_OUT: Final = ("transient", "configuration", "unknown")


_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


_LONG_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3600.0, 86400.0)


_RECORDS: Final = (1.0, 10.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 25_000.0, 50_000.0, 100_000.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: all that may ever be exposed under its name.

    Attributes:
        name: the full name that a scraper sees; for a histogram, without `_bucket`, `_sum` and `_count`.
        kind: its type.
        help: its meaning, for the scraper and docs/reference/metrics.md.
        labels: label → its values, if they are a closed set. They are then exposed from the start.
        buckets: the upper bounds of a histogram's buckets.
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
    "Records that were read and written, by outcome. The sum of the outcomes is the number of records read.",
    {"outcome": ("applied", "superseded", "dead_letter")},
)


DEAD_LETTERS = Metric(
    "pattern_metrics_dead_letters_total",
    "counter",
    "Records that were moved to the dead letters, by reason.",
    {"reason": tuple(RejectReason)},
)


OLDEST_DEAD_LETTER = Metric(
    "pattern_metrics_oldest_open_dead_letter_seconds",
    "gauge",
    "Age in seconds of the oldest open dead letter in the database, read once a minute. 0 if there is none, "
    "NaN while it is unknown.",
)


LAG = Metric(
    "pattern_metrics_consumer_lag",
    "gauge",
    "Offsets between the last written record and the end of the partition, for each assigned partition.",
    _BY_PARTITION,
)


LAG_SECONDS = Metric(
    "pattern_metrics_consumer_lag_seconds",
    "gauge",
    "Age in seconds of the next record to read, from its timestamp, for each assigned partition. 0 without "
    "lag.",
    _BY_PARTITION,
)


OPEN_TRANSACTION_OFFSETS = Metric(
    "pattern_metrics_open_transaction_offsets",
    "gauge",
    "Offsets between the last stable offset and the high watermark, for each assigned partition: the records "
    "that an open transaction of a producer holds back. They are not part of the lag.",
    _BY_PARTITION,
)


PARTITION_UNAVAILABLE = Metric(
    "pattern_metrics_partition_unavailable",
    "gauge",
    "Whether an assigned partition cannot be read, because it has no leader or its leader does not answer; "
    "the other partitions are read meanwhile.",
    _BY_PARTITION,
)


BATCH_RECORDS = Metric("pattern_metrics_batch_records", "histogram", "Records per batch.", buckets=_RECORDS)


DECODE_SECONDS = Metric(
    "pattern_metrics_decode_seconds", "histogram", "Seconds to decode a batch.", buckets=_SECONDS
)


WRITE_SECONDS = Metric(
    "pattern_metrics_write_seconds",
    "histogram",
    "Seconds of the transaction that wrote a batch, without earlier attempts that failed.",
    buckets=_SECONDS,
)


COMMIT_SECONDS = Metric(
    "pattern_metrics_commit_seconds", "histogram", "Seconds to commit offsets to Kafka.", buckets=_SECONDS
)


END_TO_END_SECONDS = Metric(
    "pattern_metrics_end_to_end_seconds",
    "histogram",
    "Seconds from a record's timestamp until its row was committed. One observation per partition and batch: "
    "of the first, that is the oldest, record.",
    buckets=_LONG_SECONDS,
)


GAPS = Metric(
    "pattern_metrics_gaps_total",
    "counter",
    "Gaps: times that retention removed records before this worker read them, or that a log was cut back.",
)


GAP_OFFSETS = Metric("pattern_metrics_gap_offsets_total", "counter", "Offsets in the gaps.")


REBALANCES = Metric(
    "pattern_metrics_rebalances_total",
    "counter",
    "Rebalances: times that the group assigned partitions to this worker.",
)


RETRIES = Metric(
    "pattern_metrics_retries_total",
    "counter",
    "Failures after which the worker tries again, by server and class: transient (such as an outage), "
    "configuration (an operator has to correct it) or unknown.",
    {"component": ("kafka", "postgresql"), "class": _WAITED_OUT},
)


ASSIGNED = Metric(
    "pattern_metrics_assigned_partitions",
    "gauge",
    "Partitions that the group has assigned to this worker. 0 if there are more workers than partitions.",
)


LAST_COMMIT = Metric(
    "pattern_metrics_last_commit_timestamp_seconds",
    "gauge",
    "Unix time of the last commit of offsets to Kafka, or of the worker's start before the first commit. "
    "With several processes, the earliest of the processes that have lag.",
)


CLOCK_DIFFERENCE = Metric(
    "pattern_metrics_clock_difference_seconds",
    "gauge",
    "Seconds by which PostgreSQL's clock is ahead of the worker's, negative if it is behind, read once a "
    "minute. NaN while it is unknown.",
)


READY = Metric("pattern_metrics_ready", "gauge", "1 if /readyz answers 200, else 0.")


NOT_READY = Metric(
    "pattern_metrics_not_ready",
    "gauge",
    "1 if this component keeps the worker from being ready, else 0. commit: offsets are not committed. "
    "breaker: too many invalid records in a row. process: one of several processes does not run.",
    {"component": COMPONENTS},
)


BUILD_INFO = Metric(
    "pattern_metrics_build_info",
    "gauge",
    "Always 1. The labels hold the version of pattern-metrics and of Python.",
    {"version": (version("pattern-metrics"),), "python": (platform.python_version(),)},
)


GATEWAY_REQUESTS = Metric(
    "pattern_metrics_gateway_requests_total",
    "counter",
    "Requests to publish, by the status of the answer. Requests of a client that went away are not counted.",
    {"status": tuple(map(str, GATEWAY_STATUSES))},
)


GATEWAY_EVENTS = Metric(
    "pattern_metrics_gateway_events_total",
    "counter",
    "Events that were sent to the gateway, by outcome. accepted: all in-sync replicas have it. stored: it is "
    "in the outbox. refused: it is invalid, or Kafka refuses it for good. unacknowledged: the client was "
    "asked to send it again.",
    {"outcome": ("accepted", "stored", "refused", "unacknowledged")},
)


GATEWAY_REFUSALS = Metric(
    "pattern_metrics_gateway_refusals_total",
    "counter",
    "Events that the gateway refused, by reason. refused_by_kafka: a limit of the topic.",
    {"reason": (*RejectReason, REFUSED_BY_KAFKA)},
)


GATEWAY_SECONDS = Metric(
    "pattern_metrics_gateway_request_seconds",
    "histogram",
    "Seconds from the head of a request to publish until its answer.",
    buckets=_SECONDS,
)


GATEWAY_IN_FLIGHT = Metric(
    "pattern_metrics_gateway_requests_in_flight", "gauge", "Requests to publish that are in flight."
)


GATEWAY_READY = Metric(
    "pattern_metrics_gateway_ready", "gauge", "1 if /readyz of the gateway answers 200, else 0."
)


OUTBOX_EVENTS = Metric(
    "pattern_metrics_outbox_events",
    "gauge",
    "Events that wait in the outbox. 0 without an outbox, NaN if its file cannot be read.",
)


OUTBOX_OLDEST = Metric(
    "pattern_metrics_outbox_oldest_seconds",
    "gauge",
    "Seconds that the oldest event has been waiting in the outbox. 0 if none waits.",
)


TABLE: Final = (
    RECORDS,
    DEAD_LETTERS,
    OLDEST_DEAD_LETTER,
    LAG,
    LAG_SECONDS,
    OPEN_TRANSACTION_OFFSETS,
    PARTITION_UNAVAILABLE,
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
    CLOCK_DIFFERENCE,
    READY,
    NOT_READY,
    BUILD_INFO,
)
"""The metrics of a worker."""

GATEWAY_TABLE: Final = (
    GATEWAY_REQUESTS,
    GATEWAY_EVENTS,
    GATEWAY_REFUSALS,
    GATEWAY_SECONDS,
    GATEWAY_IN_FLIGHT,
    GATEWAY_READY,
    OUTBOX_EVENTS,
    OUTBOX_OLDEST,
)
"""The metrics of a gateway."""
