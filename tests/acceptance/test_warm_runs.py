"""A run that tests fork from a warm process behaves like the program: see `support/warm.py`."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.command import SECONDS_MAX, CommandLine, WorkerProcess
from tests.support.waiting import eventually

PROCESS_FACTS = ("Umask", "Groups", "SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs")
"""Lines of /proc/PID/status that do not depend on the time of reading."""


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """Neither Kafka nor PostgreSQL is running."""
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
    return CommandLine(tmp_path, nowhere | {"HTTP_PORT": "0"})


@pytest.mark.parametrize(
    "arguments", [["--help"], ["nonsense"], ["schema"], ["migrate", "status"], ["publish", "-"]], ids=" ".join
)
async def test_a_warm_run_ends_as_the_program_itself_does(command: CommandLine, arguments: list[str]) -> None:
    itself = replace(command, is_warm=False)

    assert await command.run(*arguments) == await itself.run(*arguments)


def surroundings(worker: WorkerProcess) -> dict[str, object]:
    """Return a process's surroundings, and its handling of signals."""
    pid = worker.process.pid
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    return {
        **{name: status[name] for name in PROCESS_FACTS},
        "directory": (proc / "cwd").readlink(),
        "limits": (proc / "limits").read_text(),
        "streams": [(proc / "fd" / str(number)).readlink() for number in range(2)],
        "sessions": (os.getsid(pid), os.getpgid(pid)),
        "log": (proc / "fd" / "2").readlink() == worker.log,
    }


def open_descriptors(worker: WorkerProcess) -> int:
    return len(list(Path(f"/proc/{worker.process.pid}/fd").iterdir()))


async def test_a_warm_worker_has_the_surroundings_of_the_program(command: CommandLine) -> None:
    itself = replace(command, is_warm=False)
    async with command.worker() as warm, itself.worker() as cold:
        await asyncio.gather(*(worker.wait_for_event("not_ready") for worker in (warm, cold)))

        assert surroundings(warm) == surroundings(cold)
        await eventually(
            lambda: open_descriptors(warm) == open_descriptors(cold), deadline_seconds=SECONDS_MAX
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT], ids=str)
async def test_a_warm_worker_that_gets_a_signal_ends_as_the_program_itself_does(
    command: CommandLine, number: signal.Signals
) -> None:
    async def code(command: CommandLine) -> int:
        async with command.worker() as worker:
            await worker.wait_for_event("not_ready")
            worker.process.send_signal(number)
            return await worker.process.wait()

    assert await code(command) == await code(replace(command, is_warm=False))
