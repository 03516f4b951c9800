import json
import logging
import os
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from pattern_metrics.consumer.settings import LogSettings
from pattern_metrics.consumer.telemetry.logs import LINES_MAX, REPEAT_SECONDS, RepeatFilter, configure_logging
from pattern_metrics.schemas.settings.timing import Clock
from tests.support.waiting import eventually


class Moment:
    now = 0.0


@pytest.fixture
def clock() -> Moment:
    return Moment()


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root, aiokafka = logging.getLogger(), logging.getLogger("aiokafka")
    handlers, levels = root.handlers[:], (root.level, aiokafka.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    aiokafka.setLevel(levels[1])
    structlog.reset_defaults()


def said(name: str, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, __file__, 1, message, args, None)


def test_a_library_may_say_the_same_only_now_and_then(clock: Moment) -> None:
    repeats = RepeatFilter(Clock(monotonic=lambda: clock.now))
    passed = []
    for second in range(int(2 * REPEAT_SECONDS) + 1):
        clock.now = float(second)
        if repeats.filter(said("aiokafka.conn", "no connection to node %s", second)):
            passed.append(second)

    assert passed == [0, REPEAT_SECONDS, 2 * REPEAT_SECONDS]


def test_repeated_messages_are_counted_in_the_next_line(clock: Moment) -> None:
    repeats = RepeatFilter(Clock(monotonic=lambda: clock.now))
    for _ in range(50):
        repeats.filter(said("aiokafka", "away"))
    clock.now = REPEAT_SECONDS
    second, third = said("aiokafka", "away"), said("aiokafka", "away")

    assert repeats.filter(second)
    assert vars(second)["held_back"] == 49
    clock.now = 2 * REPEAT_SECONDS
    assert repeats.filter(third)
    assert "held_back" not in vars(third)


def test_different_messages_do_not_hold_each_other_back() -> None:
    repeats = RepeatFilter()

    assert repeats.filter(said("aiokafka", "one"))
    assert repeats.filter(said("aiokafka", "another"))


def test_nobody_else_is_held_back() -> None:
    repeats = RepeatFilter()

    assert all(
        repeats.filter(said("pattern_metrics.consumer.worker.session", "batch_written")) for _ in range(10)
    )


@pytest.mark.usefixtures("clean_environment", "logging_as_it_was")
def test_logs_are_json_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_format="json"))
    structlog.get_logger("pattern_metrics.consumer.somewhere").warning(
        "not_ready", component="kafka", seconds=1.5
    )
    logging.getLogger("aiokafka.conn").warning("no connection to %s", "node 1")
    captured = capsys.readouterr()
    ours, theirs = [json.loads(line) for line in captured.err.splitlines()]

    assert captured.out == ""
    assert ours["event"] == "not_ready"
    assert (ours["component"], ours["seconds"], ours["level"]) == ("kafka", 1.5, "warning")
    assert ours["timestamp"].endswith("Z")
    assert theirs["event"] == "no connection to node 1"
    assert theirs["logger"] == "aiokafka.conn"


@pytest.mark.usefixtures("clean_environment", "logging_as_it_was")
def test_each_line_of_one_of_several_processes_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_format="json"), process=0)
    logger = structlog.get_logger("pattern_metrics.consumer.somewhere")
    logger.info("before")
    thread = threading.Thread(target=logger.info, args=("elsewhere",))
    thread.start()
    thread.join()
    logging.getLogger("aiokafka.conn").warning("no connection")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert [(line["event"], line["process"]) for line in lines] == [
        ("before", 0),
        ("elsewhere", 0),
        ("no connection", 0),
    ]


@pytest.mark.usefixtures("clean_environment", "logging_as_it_was")
def test_without_a_format_a_pipe_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    structlog.get_logger("pattern_metrics.consumer.somewhere").info("started")

    assert json.loads(capsys.readouterr().err)["event"] == "started"


@pytest.mark.usefixtures("clean_environment", "logging_as_it_was")
def test_the_console_format_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_format="console"))
    structlog.get_logger("pattern_metrics.consumer.somewhere").info("started", lag=3)

    assert "started" in capsys.readouterr().err


@pytest.mark.usefixtures("clean_environment", "logging_as_it_was")
@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_less_than_the_level_is_not_logged(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings.model_validate({"log_level": level, "log_format": "json"}))
    logger = structlog.get_logger("pattern_metrics.consumer.somewhere")
    logger.debug("detail")
    logger.info("batch_written")
    logger.error("lost")
    logging.getLogger("aiokafka.conn").info("chatter")
    reported = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]

    assert reported == (["batch_written", "lost"] if level == "INFO" else ["lost"])


@pytest.mark.usefixtures("clean_environment", "logging_as_it_was")
async def test_lines_that_nobody_reads_are_dropped_and_counted_once_somebody_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stderr", os.fdopen(writer, "w"))
    configure_logging(LogSettings(log_format="json"), is_patient=True)
    logger = structlog.get_logger("pattern_metrics.consumer.somewhere")
    count = LINES_MAX + 1000  # more than fit the queue and the pipe
    for number in range(count):
        logger.info("batch_written", number=number, padding="x" * 1000)

    os.set_blocking(reader, False)
    read = b""

    def dropped() -> int:
        nonlocal read
        read += os.read(reader, 1_000_000)
        [line] = [line for line in read.splitlines() if b"log_lines_dropped" in line]
        lines: int = json.loads(line)["lines"]
        return lines

    lines = await eventually(dropped)
    numbers = [json.loads(line)["number"] for line in read.splitlines() if b"batch_written" in line]
    os.close(reader)

    assert numbers == sorted(set(numbers))
    assert len(numbers) + lines == count
