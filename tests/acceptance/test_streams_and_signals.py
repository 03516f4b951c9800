"""Bad surroundings of a worker: a log that nobody reads or that is full, signals at any moment."""

import asyncio
import fcntl
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pattern_metrics.consumer.cli.common import OPEN_FILES_MIN
from pattern_metrics.consumer.demo.embedded import free_port
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.consumer.telemetry.logs import LOG_FLUSH_SECONDS_MAX
from pattern_metrics.publisher.client import ScorePublisher
from pattern_metrics.schemas.settings.timing import TIMING
from tests.support.command import PROGRAM, SECONDS_MAX, CommandLine, environment_of
from tests.support.pipeline import an_event, expected_table, table
from tests.support.scraping import Scraper
from tests.support.waiting import eventually

GRACE_SECONDS = 4
SLACK_SECONDS = 5

PIPE_BYTES = 4096
EVENTS = [an_event(pattern) for pattern in range(2 * PIPE_BYTES // 200)]
"""Written one by one, these produce more log lines than the pipe holds."""


async def test_a_worker_whose_log_nobody_reads_continues_and_obeys_sigterm(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    unread, pipe = os.pipe()
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "consume",
        cwd=real_command.directory,
        env=environment_of(real_settings)
        | {"LOG_FORMAT": "json", "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS), "BATCH_MAX_RECORDS": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=pipe,
    )
    try:
        async with ScorePublisher(real_settings) as publisher:
            await publisher.publish_many(EVENTS)

        async def is_written() -> bool:
            return await table(real_settings) == expected_table(EVENTS)

        await eventually(is_written, deadline_seconds=SECONDS_MAX)
        os.set_blocking(pipe, False)
        with pytest.raises(BlockingIOError):
            os.write(pipe, bytes(PIPE_BYTES))
        process.terminate()
        async with asyncio.timeout(GRACE_SECONDS + TIMING.leave + LOG_FLUSH_SECONDS_MAX + SLACK_SECONDS):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(unread)
        os.close(pipe)


# A signal before the worker has begun

BLOCKED_IMPORT = """
import signal
from pathlib import Path
Path("importing").touch()
signal.pause()
"""
"""Stands in for a module that the command imports, and takes this long."""

INTERRUPTED = 130


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """Neither Kafka nor PostgreSQL is running."""
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
    return CommandLine(tmp_path, nowhere | {"HTTP_PORT": "0"})


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["consume"], signal.SIGTERM, 0),
        (["consume"], signal.SIGINT, 0),
        (["consume"], signal.SIGHUP, 0),
        (["--env-file", "f", "--env-file=f", "consume"], signal.SIGTERM, 0),
        (["migrate", "status"], signal.SIGINT, INTERRUPTED),
        (["score", "consume"], signal.SIGTERM, -signal.SIGTERM),
        (["consume", "--check"], signal.SIGINT, INTERRUPTED),
        (["consume", "--check"], signal.SIGTERM, -signal.SIGTERM),
    ],
    ids=str,
)
async def test_a_signal_in_the_middle_of_the_imports_ends_a_command_without_a_word(
    command: CommandLine, arguments: list[str], number: signal.Signals, code: int
) -> None:
    (command.directory / "typer.py").write_text(BLOCKED_IMPORT)
    importing = command.directory / "importing"

    async def is_importing() -> bool:
        return importing.exists()

    ended = await replace(command, is_warm=False).interrupt(
        *arguments, once=is_importing, number=number, pythonpath=command.directory
    )

    assert (ended.code, ended.stdout, ended.stderr) == (code, b"", "")


async def test_a_terminal_that_closes_stops_a_worker_cleanly(command: CommandLine) -> None:
    async with command.worker() as worker:
        await worker.wait_for_event("not_ready")
        worker.process.send_signal(signal.SIGHUP)

        assert await worker.process.wait() == 0
        assert worker.events("worker_stopped")


async def test_a_worker_under_nohup_does_not_hear_that_its_terminal_closes(command: CommandLine) -> None:
    under_nohup = replace(command, program=("nohup", PROGRAM))
    async with under_nohup.worker() as worker:
        await eventually(lambda: b"not_ready" in worker.log.read_bytes())
        worker.process.send_signal(signal.SIGHUP)

        assert await worker.terminate() == 0  # a second signal would not end cleanly if it were handled
        assert worker.log.read_bytes().count(b"stop_requested") == 1


# Standard error that takes nothing


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["migrate", "status"], 1), (["nonsense"], 2), (["schema"], 0)],
    ids=lambda argument: " ".join(argument) if isinstance(argument, list) else str(argument),
)
async def test_a_full_disk_under_standard_error_changes_no_exit_code(
    command: CommandLine, arguments: list[str], code: int
) -> None:
    ended = await command.run_program("sh", "-c", 'exec "$0" "$@" 2>/dev/full', PROGRAM, *arguments)

    assert ended.code == code


async def test_a_worker_whose_log_is_on_a_full_disk_runs_and_ends_cleanly(command: CommandLine) -> None:
    full = replace(command, program=("sh", "-c", 'exec "$0" "$@" 2>/dev/full', PROGRAM))
    port = free_port()
    async with full.worker(http_port=port) as worker:
        await Scraper(port).wait_for_obstacles("kafka", "postgresql", "assignment")

        assert await worker.terminate() == 0


async def test_a_worker_that_may_open_hardly_any_files_says_so_in_one_line(command: CommandLine) -> None:
    few = f'ulimit -n {OPEN_FILES_MIN - 1}; exec "$0" consume'
    ended = await command.run_program("sh", "-c", few, PROGRAM)

    assert ended.code == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "ulimit -n" in ended.stderr
