"""The wait of batches while records trickle in, by a clock that the arrivals move."""

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Any

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.postgres.later_clock import LaterClock
from pattern_metrics.consumer.worker.polling import fill
from pattern_metrics.consumer.worker.trickle import MEMORY_SECONDS, RATE_MIN, Trickle
from pattern_metrics.schemas.settings.timing import TIMING, Clock
from tests.support.events import TopicRecord
from tests.support.pipeline import an_event, worker_settings

PARTITION = TopicPartition("t", 0)
WARM = 4 * MEMORY_SECONDS


class Arrivals:
    """A consumer to which records arrive at given times; a poll moves the clock as it would."""

    def __init__(self, times: Iterable[float]) -> None:
        self.now = 0.0
        self._times = deque(times)

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now)

    @property
    def is_over(self) -> bool:
        return not self._times

    async def getmany(self, *_: Any, timeout_ms: int, max_records: int) -> dict[Any, list[TopicRecord]]:
        first = self._times[0] if self._times else inf
        self.now = max(self.now, min(first, self.now + timeout_ms / 1000))
        records = list[TopicRecord]()
        while self._times and self._times[0] <= self.now and len(records) < max_records:
            self._times.popleft()
            records.append(TopicRecord(an_event().to_json()))
        return {PARTITION: records} if records else {}


async def batches(times: list[float]) -> list[tuple[int, float]]:
    """Return how many records each batch takes, and how long its first record waits for the others."""
    config = worker_settings("127.0.0.1:1", "t", "postgresql://u@127.0.0.1/d")
    arrivals, trickle, found = Arrivals(times), Trickle(TIMING.trickle), list[tuple[int, float]]()
    waiting = deque(times)
    while not arrivals.is_over:
        fates, _ = await fill(arrivals, [PARTITION], config, TIMING, LaterClock(arrivals.clock), trickle)
        if size := sum(map(len, fates.values())):
            found.append((size, arrivals.now - waiting[0]))
            for _ in range(size):
                waiting.popleft()
    return found


def steady(rate: float, seconds: float) -> list[float]:
    return [1 + number / rate for number in range(int(rate * seconds))]


def rate_seen(rate: float) -> Trickle:
    """Return a trickle after records at a steady rate."""
    trickle = Trickle(TIMING.trickle)
    for number in range(int(rate * WARM)):
        trickle.note(1, number / rate)
    return trickle


@given(st.floats(RATE_MIN * 1.3, 2 * RATE_MIN))
@settings(max_examples=20)
async def test_records_that_trickle_in_share_batches_and_wait_a_few_milliseconds(rate: float) -> None:
    found = await batches(steady(rate, WARM + 1))

    assert min(size for size, _ in found[-20:-1]) >= 2
    assert max(wait for _, wait in found) <= TIMING.trickle + 1e-9


@given(st.floats(1, RATE_MIN * 0.9))
@settings(max_examples=20)
async def test_records_that_come_alone_are_taken_at_once(rate: float) -> None:
    assert {(size, round(wait, 6)) for size, wait in await batches(steady(rate, WARM + 1))} == {(1, 0)}


@given(st.lists(st.integers(1, 10_000), max_size=20), st.floats(0.0001, 0.1))
def test_a_record_after_a_silence_never_waits(batch_sizes: list[int], gap: float) -> None:
    trickle, now = Trickle(TIMING.trickle), 0.0
    for size in batch_sizes:
        now += gap
        trickle.note(size, now)
        assert 0 <= trickle.seconds <= TIMING.trickle
    trickle.note(1, now + 20 * MEMORY_SECONDS)

    assert trickle.seconds == 0


@given(st.floats(2 * RATE_MIN, 5000), st.floats(1, 3))
@settings(max_examples=20)
def test_the_faster_records_come_the_shorter_is_the_wait(rate: float, factor: float) -> None:
    assert rate_seen(rate * factor).seconds <= rate_seen(rate).seconds * 1.01


def test_a_busy_worker_waits_for_less_than_the_client_can_measure() -> None:
    assert rate_seen(5000).seconds < 0.001
