"""A worker whose clock is wrong: PostgreSQL's clock counts if it is the later one."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from pattern_metrics.consumer.dead_letters.selection import Coordinates
from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.consumer.postgres.later_clock import LaterClock
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.telemetry.metric_table import CLOCK_DIFFERENCE
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.settings.timing import Clock
from tests.support.command import PROGRAM, SECONDS_MAX, CommandLine, Finished, environment_of
from tests.support.kafka import Broker, create_topic, missing
from tests.support.letters import a_record, add_letters
from tests.support.pipeline import an_event, expected_table, running, send, table, worker_settings
from tests.support.scraping import Scraper
from tests.support.waiting import eventually

SLOW = -600
"""Seconds; twice the skew that an event may have."""


@pytest.fixture
def faketime() -> str:
    """The program that shifts the clock of another program."""
    found = shutil.which("faketime")
    if found is None:
        missing("a wrong clock needs faketime")
    return found


@pytest.fixture
async def clock_settings(embedded_broker: Broker, migrated_database_url: str) -> WorkerSettings:
    topic = await create_topic(embedded_broker.bootstrap_servers)
    return worker_settings(embedded_broker.bootstrap_servers, topic, migrated_database_url)


async def test_no_command_of_a_slow_machine_refuses_what_is_measured_now(
    clock_settings: WorkerSettings, tmp_path: Path, faketime: str
) -> None:
    settings, command = clock_settings, CommandLine(tmp_path, environment_of(clock_settings))
    number = iter(range(1, 100))

    def an_event_of_now() -> Any:
        return an_event(next(number), measurement_timestamp=datetime.now(UTC))

    async def run_slow(*arguments: str | Path) -> Finished:
        return await command.run_program(faketime, "-f", f"{SLOW}s", PROGRAM, *arguments)

    events = [an_event_of_now() for _ in range(3)]
    await send(settings, [event.to_json() for event in events])

    consumed = (await run_slow("consume", "--until-caught-up", "--json")).succeeded()
    replayed = (await run_slow("replay", "--json")).succeeded()
    verified = (await run_slow("verify", "--against-topic", "--json")).succeeded()

    file = tmp_path / "measurements.jsonl"
    filled = an_event_of_now()
    file.write_bytes(filled.to_json())
    backfilled = (await run_slow("backfill", file, "--json")).succeeded()

    redriven = an_event_of_now()
    letter = a_record(1, redriven.to_json(), "elsewhere")
    await add_letters(
        settings.database_url.get_secret_value(), [letter], reason=RejectReason.TIMESTAMP_IN_FUTURE
    )
    mended = (await run_slow("dead-letters", "redrive", str(Coordinates("elsewhere", 0, 1)))).succeeded()

    status = (await run_slow("status", "--json")).succeeded()
    screen = (await run_slow("status")).succeeded()

    assert consumed.json["applied"] == 3
    assert replayed.json["dead_letters"] == verified.json["dead_letters"] == 0
    assert backfilled.json["applied"] == 1
    assert await table(settings) == expected_table([*events, filled, redriven])
    assert consumed.stderr.count("clocks_differ") == 1
    assert "this machine's clock is 60" in mended.stderr
    assert status.json["held_back"] == 0
    assert status.json["clock_difference"] == pytest.approx(-SLOW, abs=60)
    assert b"PostgreSQL's clock: synchronise both by NTP" in b" ".join(screen.stdout.split())


def slow_clock(faketime: str) -> dict[str, str]:
    """Return the variables of a slow clock. The program `faketime` is a parent that its program outlives."""
    shown = subprocess.run([faketime, "-f", f"{SLOW}s", "env"], capture_output=True, check=True, text=True)
    lines = re.findall(r"^(?:LD_PRELOAD|FAKETIME)=.*", shown.stdout, re.MULTILINE)
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("processes", [(), ("--processes", "2")])
async def test_the_page_of_a_slow_machine_says_so(
    clock_settings: WorkerSettings, tmp_path: Path, faketime: str, processes: tuple[str, ...]
) -> None:
    command = CommandLine(tmp_path, environment_of(clock_settings) | slow_clock(faketime))
    scraper = Scraper(free_port())

    async def is_shown() -> bool:
        answer = await scraper.ask("/v1/progress")
        return "this machine's clock is 60" in str(answer.json["worker"]["clocks"])

    async with command.worker(*processes, http_port=scraper.port):
        await scraper.wait_until_ready()
        await eventually(is_shown, deadline_seconds=SECONDS_MAX)


async def test_a_worker_measures_the_difference_of_the_clocks(clock_settings: WorkerSettings) -> None:
    async with running(clock_settings) as worker:

        def is_measured() -> bool:
            lines = worker.metrics.render({}).decode().splitlines()
            [value] = [line.split()[1] for line in lines if line.startswith(CLOCK_DIFFERENCE.name)]
            return abs(float(value)) < 60  # NaN before the first comparison

        await eventually(is_measured)


async def test_a_difference_is_logged_once_for_each_change(migrated_database_url: str) -> None:
    ahead = 0.0
    clock = LaterClock(Clock(wall=lambda: datetime.now(UTC).timestamp() + ahead))
    connection = await asyncpg.connect(migrated_database_url)
    try:
        with capture_logs() as logs:
            for ahead in (0.0, -600.0, -600.0, 600.0, 600.0, 0.0, 0.0):
                difference = await clock.compare(connection)
                assert difference == pytest.approx(-ahead, abs=4)
                later_by = (clock.now() - datetime.now(UTC)).total_seconds()
                assert later_by == pytest.approx(max(0.0, ahead), abs=4)
    finally:
        await connection.close()

    assert [(log["event"], round(log.get("seconds", 0), -2)) for log in logs] == [
        ("clocks_differ", 600),
        ("clocks_differ", -600),
        ("clocks_agree", 0),
    ]
    assert "this machine's clock is 600.0 s behind" in logs[0]["hint"]
    assert "PostgreSQL's clock is 600.0 s behind this machine's" in logs[1]["hint"]


async def test_the_later_clock_goes_on_between_comparisons_and_not_back(migrated_database_url: str) -> None:
    """A machine whose own clock is set right must not count as ten minutes ahead."""
    wall, monotonic = 0.0, 0.0
    clock = LaterClock(Clock(wall=lambda: wall, monotonic=lambda: monotonic))
    connection = await asyncpg.connect(migrated_database_url)
    try:
        await clock.compare(connection)
    finally:
        await connection.close()
    first = clock.now()
    monotonic += 10
    assert clock.now() - first == timedelta(seconds=10)
    wall = first.timestamp() + 10
    assert clock.now() - first == timedelta(seconds=10)
