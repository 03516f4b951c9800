"""The metrics of several processes, combined as if of one."""

import math
from collections.abc import Mapping
from itertools import permutations

from prometheus_client.parser import text_string_to_metric_families

from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.records.batch import Batch
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.consumer.worker.processes.metrics_union import counts_of, unite
from pattern_metrics.schemas.settings.timing import CLOCK, Clock

Samples = dict[tuple[str, tuple[str, ...]], float]


def a_process(
    *,
    applied: int = 0,
    lags: Mapping[tuple[str, int], int] | None = None,
    oldest: float | None = None,
    clock: Clock = CLOCK,
) -> Metrics:
    metrics = Metrics(clock)
    if applied:
        metrics.batch_written(Batch(), Accounting(applied=applied), 0.02)
    metrics.lag_observed(lags or {})
    if oldest is not None:
        metrics.oldest_dead_letter_observed(oldest)
    return metrics


def text_of(metrics: Metrics, **obstacles: str) -> str:
    return metrics.render(obstacles).decode()


def samples_of(text: str) -> Samples:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_and_histograms_are_added_up() -> None:
    texts = [text_of(a_process(applied=3)), text_of(a_process(applied=4)), text_of(a_process())]

    united = samples_of(unite(texts, []).decode())

    assert united["pattern_metrics_records_total", ("applied",)] == 7
    assert united["pattern_metrics_write_seconds_count", ()] == 2
    assert united["pattern_metrics_write_seconds_bucket", ("0.01",)] == 0
    assert united["pattern_metrics_write_seconds_bucket", ("0.025",)] == 2
    assert [value for (name, _), value in united.items() if name == "pattern_metrics_build_info"] == [1]


def test_each_partition_lags_as_its_own_process_says() -> None:
    texts = [text_of(a_process(lags={("t", 0): 5, ("t", 1): 0})), text_of(a_process(lags={("t", 2): 9}))]

    united = samples_of(unite(texts, []).decode())

    lags = {key[1]: value for key, value in united.items() if key[0] == "pattern_metrics_consumer_lag"}
    assert lags == {("0", "t"): 5, ("1", "t"): 0, ("2", "t"): 9}  # in the order of the labels' names


def test_assigned_partitions_are_added_up() -> None:
    processes = [Metrics() for _ in range(3)]
    for process, count in zip(processes, (2, 1, 0), strict=True):
        process.partitions_assigned(count)

    united = samples_of(unite([text_of(process) for process in processes], []).decode())

    assert united["pattern_metrics_assigned_partitions", ()] == 3


def test_ready_are_all_or_none_and_an_obstacle_is_that_of_any() -> None:
    ready, unready = text_of(a_process()), text_of(a_process(), kafka="away")

    for texts in ([ready, unready], [unready, ready]):
        united = samples_of(unite(texts, []).decode())
        assert united["pattern_metrics_ready", ()] == 0
        assert united["pattern_metrics_not_ready", ("kafka",)] == 1
        assert united["pattern_metrics_not_ready", ("postgresql",)] == 0
    assert samples_of(unite([ready, ready], []).decode())["pattern_metrics_ready", ()] == 1


def test_the_last_commit_is_of_the_one_with_lag_that_committed_longest_ago() -> None:
    """A stuck process is not hidden by the others, and a process without work is not taken for it."""

    def committed(at: float, lag: int) -> str:
        clock = Clock(wall=lambda: at, monotonic=lambda: at)
        process = a_process(lags={("t", int(at)): lag}, clock=clock)
        process.offsets_committed(0.01)
        return text_of(process)

    def last_commit(*texts: str) -> set[float]:
        united = [samples_of(unite(order, [texts[0]]).decode()) for order in permutations(texts)]
        return {samples["pattern_metrics_last_commit_timestamp_seconds", ()] for samples in united}

    idle, stuck, busy = committed(1, 0), committed(2, 5), committed(3, 5)
    just_done = committed(4, 0)

    assert last_commit(idle, stuck, busy, just_done) == {2}
    assert last_commit(idle, busy, just_done) == {3}
    assert last_commit(idle, just_done) == {4}


def test_a_value_that_one_process_lacks_comes_from_another() -> None:
    name = ("pattern_metrics_oldest_open_dead_letter_seconds", ())
    unknown, known = text_of(a_process()), text_of(a_process(oldest=60))

    for texts in ([unknown, known], [known, unknown]):
        assert samples_of(unite(texts, []).decode())[name] >= 60
    assert math.isnan(samples_of(unite([unknown, unknown], []).decode())[name])


def test_of_a_process_that_is_no_more_its_counts_remain_and_nothing_else() -> None:
    ended = counts_of(["", text_of(a_process(applied=3, lags={("t", 0): 5}), kafka="away")])
    ended = counts_of([ended, text_of(a_process(applied=2))])

    united = samples_of(unite([text_of(a_process(applied=1))], [ended]).decode())

    assert united["pattern_metrics_records_total", ("applied",)] == 6
    assert united["pattern_metrics_ready", ()] == 1
    assert not [key for key in united if key[0] == "pattern_metrics_consumer_lag"]


def test_several_expose_under_the_same_names_and_types_as_one() -> None:
    alone = text_of(a_process(applied=1, lags={("t", 0): 5}))

    assert unite([alone], []).decode() == alone
