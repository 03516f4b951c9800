"""The table is closed: exactly its metrics are exposed."""

import math
import re
import time
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from pattern_metrics.consumer.faults.diagnosis import Fault
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch, batch_of
from pattern_metrics.consumer.records.offsets import OffsetRange, Start
from pattern_metrics.consumer.records.record import Accepted, Rejected
from pattern_metrics.consumer.telemetry.metric_table import TABLE
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.schemas.dead_letter import RejectReason
from tests.support.events import TopicRecord, accepted, event
from tests.support.scraping import Answer, Samples

OUTCOMES = ("applied", "superseded", "dead_letter")
FIRST, SECOND = TopicPartition("scores", 0), TopicPartition("scores", 1)


def samples(metrics: Metrics) -> Samples:
    return Answer(200, {}, metrics.render({})).samples


def a_batch(valid: int, *reasons: RejectReason) -> Batch:
    rejected = [Rejected(TopicRecord(), reason, "as it was") for reason in reasons]
    return batch_of([*(accepted(event(), offset) for offset in range(valid)), *rejected])


def a_batch_of_times(partition: TopicPartition, first: float, last: float) -> Batch:
    """Return two records with these timestamps."""
    records = [
        TopicRecord(topic=partition.topic, partition=partition.partition, timestamp=int(1000 * seconds))
        for seconds in (first, last)
    ]
    return batch_of([Accepted(record, event()) for record in records])


@pytest.fixture
def metrics() -> Metrics:
    """Metrics that received every call."""
    made = Metrics()
    batch = a_batch(3, RejectReason.TOMBSTONE, RejectReason.TOMBSTONE)
    made.partitions_assigned(2)
    made.reading_started({FIRST: Start(10, OffsetRange(4, 10)), SECOND: Start(0)})
    made.batch_read(batch, 0.1)
    made.failed("postgresql", Fault.TRANSIENT)
    made.batch_written(batch, Accounting(applied=1, superseded=1, dead_letters=3), 0.2)
    made.lag_observed({FIRST: 7, SECOND: 0})
    made.availability_observed({FIRST: False, SECOND: True})
    made.open_transactions_observed({FIRST: 4, SECOND: 0})
    made.offsets_committed(0.3)
    made.oldest_dead_letter_observed(60)
    return made


def exposed(metrics: Metrics) -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """Yield name, kind, help and labels of everything that is exposed."""
    for family in text_string_to_metric_families(metrics.render({}).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        assert {sample.name for sample in family.samples} <= {
            name,
            *(f"{name}_{part}" for part in ("bucket", "sum", "count") if family.type == "histogram"),
        }
        yield name, family.type, family.documentation, labels


def test_exactly_the_table_is_exposed(metrics: Metrics) -> None:
    assert sorted(exposed(metrics)) == sorted(
        (metric.name, metric.kind, metric.help, frozenset(metric.labels)) for metric in TABLE
    )


def test_the_names_are_those_that_prometheus_advises() -> None:
    for metric in TABLE:
        assert re.fullmatch(r"pattern_metrics_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not metric.name.endswith(("_bucket", "_sum", "_count", "_created"))
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert metric.help.endswith(".")
        assert "|" not in metric.help


def test_nothing_of_ours_is_in_the_registry_of_the_whole_process() -> None:
    Metrics()

    assert isinstance(REGISTRY, CollectorRegistry)
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("pattern_metrics")]


def test_two_workers_of_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.partitions_assigned(2)

    assert samples(one)["pattern_metrics_rebalances_total", ()] == 1
    assert samples(other)["pattern_metrics_rebalances_total", ()] == 0


def test_a_counter_is_zero_before_its_first_event() -> None:
    """A rate then includes the first time."""
    found = samples(Metrics())

    assert {found["pattern_metrics_dead_letters_total", (reason,)] for reason in RejectReason} == {0}
    assert found["pattern_metrics_records_total", ("superseded",)] == 0
    assert found["pattern_metrics_retries_total", ("configuration", "kafka")] == 0
    assert found["pattern_metrics_gaps_total", ()] == 0
    assert math.isnan(found["pattern_metrics_oldest_open_dead_letter_seconds", ()])


def test_a_batch_is_counted_by_outcome_and_its_dead_letters_by_reason(metrics: Metrics) -> None:
    found = samples(metrics)

    outcomes = {outcome: found["pattern_metrics_records_total", (outcome,)] for outcome in OUTCOMES}
    assert outcomes == {"applied": 1, "superseded": 1, "dead_letter": 3}
    assert found["pattern_metrics_dead_letters_total", ("tombstone",)] == 2
    assert found["pattern_metrics_dead_letters_total", ("refused_by_database",)] == 1
    assert found["pattern_metrics_batch_records_sum", ()] == 5
    assert found["pattern_metrics_write_seconds_sum", ()] == pytest.approx(0.2)
    assert found["pattern_metrics_gaps_total", ()] == 1
    assert found["pattern_metrics_gap_offsets_total", ()] == 6


def test_lag_in_seconds_is_how_long_the_next_record_has_been_waiting() -> None:
    metrics, now = Metrics(), time.time()

    def seconds(partition: TopicPartition) -> float:
        return samples(metrics)[
            "pattern_metrics_consumer_lag_seconds", (str(partition.partition), partition.topic)
        ]

    metrics.lag_observed({FIRST: 5, SECOND: 0})
    at_first = seconds(FIRST)
    metrics.batch_read(first := a_batch_of_times(SECOND, now - 500, now - 400), 0)
    metrics.lag_observed({FIRST: 5, SECOND: 5})
    unwritten = seconds(SECOND)
    metrics.batch_read(a_batch_of_times(SECOND, now - 300, now - 200), 0)
    metrics.batch_written(first, Accounting(), 0)
    metrics.lag_observed({FIRST: 5, SECOND: 2})
    half_written = seconds(SECOND)
    metrics.lag_observed({FIRST: 5, SECOND: 0})

    assert 0 <= at_first < 60
    assert 500 <= unwritten < 560
    assert 400 <= half_written < 460
    assert seconds(SECOND) == 0


def test_lag_in_seconds_goes_by_the_record_that_is_next_once_it_is_read() -> None:
    """Neither the time when the lag was noticed nor later reads count."""
    metrics, now = Metrics(), time.time()

    metrics.lag_observed({FIRST: 5})
    metrics.batch_read(a_batch_of_times(FIRST, now - 7200, now - 7100), 0)
    metrics.batch_read(a_batch_of_times(FIRST, now - 9000, now - 100), 0)
    metrics.lag_observed({FIRST: 9})

    assert 7200 <= metrics.lags()[FIRST].seconds < 7260


def test_a_partition_that_was_given_up_is_no_longer_exposed(metrics: Metrics) -> None:
    metrics.lag_observed({SECOND: 3})
    found = samples(metrics)

    assert found["pattern_metrics_consumer_lag", ("1", "scores")] == 3
    assert ("pattern_metrics_consumer_lag", ("0", "scores")) not in found
    assert ("pattern_metrics_consumer_lag_seconds", ("0", "scores")) not in found


def test_a_dead_letter_ages_between_two_looks_at_the_database(metrics: Metrics) -> None:
    oldest = "pattern_metrics_oldest_open_dead_letter_seconds", ()

    assert 60 <= samples(metrics)[oldest] < 120
    metrics.oldest_dead_letter_observed(None)
    assert samples(metrics)[oldest] == 0
