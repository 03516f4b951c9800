import random
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import structlog

import pattern_metrics.consumer.worker.batch_log
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.worker.batch_log import BatchLog
from pattern_metrics.schemas.settings.timing import TIMING
from tests.support.waiting import eventually, hold

SECONDS = 0.1
NUMBERS = ("read", "applied", "superseded", "dead_letters", "batches")


@dataclass
class Lines:
    """The logged lines, and their times."""

    lines: list[MutableMapping[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def sums(self) -> tuple[int, ...]:
        return tuple(sum(line[name] for line in self.lines) for name in NUMBERS)

    def __call__(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> str:
        self.lines.append(line)
        self.times.append(time.monotonic())
        raise structlog.DropEvent


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    logger = structlog.wrap_logger(None, processors=[lines])
    monkeypatch.setattr(pattern_metrics.consumer.worker.batch_log, "logger", logger)
    return lines


def a_log() -> BatchLog:
    return BatchLog(lambda: 7, replace(TIMING, batch_line=SECONDS))


async def test_any_number_of_batches_makes_one_line_a_period_and_nothing_is_lost(lines: Lines) -> None:
    chance, log = random.Random(5), a_log()
    added, batches, until = Accounting(), 0, time.monotonic() + 5 * SECONDS
    while time.monotonic() < until:
        accounting = Accounting(chance.randrange(9), chance.randrange(9), chance.randrange(9))
        added, batches = added + accounting, batches + 1
        log.add(accounting, write_ms=chance.random(), commit_ms=0.1)
        await hold(0)
    log.flush()

    distances = [later - earlier for earlier, later in zip(lines.times, lines.times[1:], strict=False)]
    assert min(distances[:-1]) >= SECONDS * 0.99  # the last line is logged at the end
    assert 4 <= len(lines.times) <= 7
    assert lines.sums() == (*added.as_dict().values(), batches)


async def test_a_lone_batch_is_logged_at_once_and_the_next_ones_after_the_period(lines: Lines) -> None:
    log = a_log()
    log.add(Accounting(applied=1), write_ms=2.04, commit_ms=1)
    at_once = list(lines.lines)
    log.add(Accounting(superseded=2), write_ms=3, commit_ms=4)
    log.add(Accounting(dead_letters=3), write_ms=5, commit_ms=2)
    held_back = len(lines.lines)
    await eventually(lambda: len(lines.lines) > held_back)

    names = ("event", "read", "batches", "lag", "write_ms_max", "commit_ms_max")
    assert [[line[name] for name in names] for line in at_once] == [["batch_written", 1, 1, 7, 2.0, 1]]
    assert held_back == 1
    assert [[line[name] for name in names] for line in lines.lines[1:]] == [["batch_written", 5, 2, 7, 5, 4]]


async def test_the_end_logs_what_was_held_back_and_nothing_twice(lines: Lines) -> None:
    log = a_log()
    log.add(Accounting(applied=1), write_ms=1, commit_ms=1)
    log.add(Accounting(applied=1), write_ms=1, commit_ms=1)
    log.flush()
    log.flush()

    assert lines.sums() == (2, 2, 0, 0, 2)
    assert len(lines.lines) == 2
