from typing import Any

import asyncpg
import pytest
import structlog
from structlog.testing import LogCapture

import pattern_metrics.consumer.faults.health
from pattern_metrics.consumer.faults.diagnosis import Diagnosis, Fault, diagnose, diagnose_beyond_rows
from pattern_metrics.consumer.faults.health import REMINDER_SECONDS, Health
from pattern_metrics.schemas.settings.kafka import SettingFileError
from pattern_metrics.schemas.settings.timing import Clock


class Scene:
    """A clock that the test moves, and the log."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.capture = LogCapture()

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now)

    @property
    def lines(self) -> list[Any]:
        """Return the lines that were logged since the last call."""
        lines = [dict(line) for line in self.capture.entries]
        self.capture.entries.clear()
        return lines


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()
    logger = structlog.wrap_logger(None, processors=[scene.capture])
    monkeypatch.setattr(pattern_metrics.consumer.faults.health, "logger", logger)
    return scene


def test_a_worker_is_ready_until_something_is_wrong() -> None:
    assert Health().conditions == {}


def test_a_condition_is_logged_once_when_it_begins(scene: Scene) -> None:
    health = Health(clock=scene.clock)
    for _ in range(100):
        health.fail("postgresql", ConnectionRefusedError("hunter2"), "waiting for it")

    assert scene.lines == [
        {
            "event": "not_ready",
            "log_level": "warning",
            "component": "postgresql",
            "error": "ConnectionRefusedError",
            "hint": "waiting for it",
            "seconds": 0.0,
        }
    ]
    assert health.conditions == {"postgresql": "waiting for it"}


def test_the_log_has_postgresqls_message_if_the_hint_is_a_general_one(scene: Scene) -> None:
    fields = {
        "S": "ERROR",
        "C": "P0001",
        "M": "not\ntoday",
        "D": "hunter2",
        "W": "PL/pgSQL function refuse() line 1 at RAISE",
    }
    error = asyncpg.PostgresError.new(fields)
    health = Health(clock=scene.clock)
    health.report("postgresql", error, diagnose_beyond_rows(error))
    [line] = scene.lines

    assert line["said"] == "not today; PL/pgSQL function refuse() line 1 at RAISE"
    assert "refuses" in line["hint"]
    assert "hunter2" not in str(line)


def test_a_condition_that_lasts_is_logged_again_as_a_reminder(scene: Scene) -> None:
    health = Health(clock=scene.clock)
    health.fail("kafka", "Away", "waiting")
    for _ in range(int(REMINDER_SECONDS * 2.5)):
        scene.now += 1
        health.fail("kafka", "Away", "waiting")
    seconds = [line["seconds"] for line in scene.lines]

    assert seconds == [0, REMINDER_SECONDS, 2 * REMINDER_SECONDS]


def test_another_hint_is_news_and_is_logged_at_once(scene: Scene) -> None:
    health = Health(clock=scene.clock)
    health.fail("postgresql", "Away", "waiting")
    scene.now += 1
    health.fail("postgresql", "Missing", "migrate")

    assert [(line["hint"], line["seconds"]) for line in scene.lines] == [("waiting", 0), ("migrate", 1)]
    assert health.conditions == {"postgresql": "migrate"}


def test_an_end_is_logged_once_with_how_long_it_took(scene: Scene) -> None:
    health = Health(clock=scene.clock)
    health.fail("kafka", "Away", "waiting")
    assert scene.lines
    scene.now += 12.34
    health.recover("kafka")
    health.recover("kafka")

    assert scene.lines == [{"event": "recovered", "log_level": "info", "component": "kafka", "seconds": 12.3}]
    assert health.conditions == {}


def test_a_component_that_never_failed_logs_no_recovery(scene: Scene) -> None:
    Health().recover("kafka")

    assert scene.lines == []


def test_a_second_outage_is_timed_separately(scene: Scene) -> None:
    health = Health(clock=scene.clock)
    for _ in range(2):
        health.fail("kafka", "Away", "waiting")
        scene.now += 5
        health.recover("kafka")

    assert [(line["event"], line["seconds"]) for line in scene.lines] == [
        ("not_ready", 0),
        ("recovered", 5),
    ] * 2


def test_components_are_kept_apart(scene: Scene) -> None:
    health = Health(clock=scene.clock)
    health.fail("kafka", "Away", "waiting")
    health.fail("postgresql", "Away", "waiting")
    health.recover("kafka")

    assert health.conditions == {"postgresql": "waiting"}
    assert [line["component"] for line in scene.lines] == ["kafka", "postgresql", "kafka"]


def test_the_conditions_that_are_handed_out_are_a_copy() -> None:
    health = Health()
    health.conditions["kafka"] = "broken from outside"

    assert health.conditions == {}


def test_a_report_names_the_class_and_the_sqlstate_and_what_was_said(scene: Scene) -> None:
    health = Health(clock=scene.clock)
    error = asyncpg.UndefinedTableError('relation "x"\ndoes not exist')
    error.detail = "hunter2"
    away = TimeoutError()
    away.add_note("db.example:5432")
    health.report("postgresql", error, diagnose(error))
    health.report("kafka", away, Diagnosis(Fault.TRANSIENT, "waiting"))
    health.report("file", SettingFileError("x.pem: no"), diagnose(SettingFileError("x.pem: no")))
    lines = scene.lines

    assert [line["error"] for line in lines] == [
        "UndefinedTableError (42P01)",
        "TimeoutError",
        "SettingFileError",
    ]
    assert [line.get("said") for line in lines] == [
        'relation "x" does not exist',
        "TimeoutError; db.example:5432",
        None,
    ]
    assert "hunter2" not in str(lines)
