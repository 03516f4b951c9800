"""The installed command as a person or a supervisor runs it: a process with its own environment."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pattern_metrics.consumer.settings import GatewaySettings, LogSettings, WorkerSettings
from pattern_metrics.schemas.settings.variables import ENV_FILE, PREFIX
from tests.support import warm
from tests.support.waiting import eventually

PROGRAM = Path(sys.executable).with_name("pattern-metrics")

SECONDS_MAX = 240.0
"""Longest wait for anything; generous, because the machine may be busy."""

READ_AT_RUN = {"TERM", "COLUMNS", "LINES", "PYTHONPATH", ENV_FILE} | {
    prefix + name.upper()
    for settings in (LogSettings, GatewaySettings, WorkerSettings)
    for name in settings.model_fields
    for prefix in ("", PREFIX)
}
"""The variables of a run's environment that a warm run reads, beside those of OpenTelemetry.

PYTHONPATH counts for the modules that a setting names. The program's own are imported already.
"""

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

LogLine = dict[str, Any]


def environment_of(settings: WorkerSettings) -> dict[str, str]:
    """Return the settings that were set explicitly, as environment variables."""
    return {name.upper(): _text(getattr(settings, name)) for name in settings.model_fields_set}


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def json(self) -> Any:
        """Return the JSON on the last line of stdout, as `--json` prints it."""
        return json.loads(self.stdout.splitlines()[-1])

    @property
    def report(self) -> str:
        """Standard error without the line that names the database and the topic of a command."""
        lines = self.stderr.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(("database ", "topic ")))

    def succeeded(self) -> "Finished":
        assert self.code == 0, f"exit {self.code}: {self.stderr}"
        return self


@dataclass(frozen=True)
class CommandLine:
    """Runs `pattern-metrics` in a directory, with an environment that contains nothing else.

    Attributes:
        directory: the working directory.
        environment: the variables of each run.
        program: the program that `worker` runs.
        is_warm: whether `pattern-metrics` may be forked from a process that has imported it: see `warm`.
    """

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str | Path] = (PROGRAM,)
    is_warm: bool = True

    async def run(self, *arguments: str | Path, stdin: bytes = b"", **settings: object) -> Finished:
        """Run a command to its end; `settings` are named in lower case."""
        return await self.run_program(PROGRAM, *arguments, stdin=stdin, **settings)

    async def run_program(self, *command: str | Path, stdin: bytes = b"", **settings: object) -> Finished:
        """Run any program to its end."""
        return await _finish(await self._start(*command, **settings), stdin)

    async def interrupt(
        self,
        *arguments: str | Path,
        once: Callable[[], Awaitable[object]],
        number: signal.Signals = signal.SIGINT,
        **settings: object,
    ) -> Finished:
        """Run a command, send it a signal (Ctrl-C) once the condition holds, and wait for its end."""
        process = await self._start(PROGRAM, *arguments, **settings)
        try:
            await eventually(once, deadline_seconds=SECONDS_MAX)
            process.send_signal(number)
            return await _finish(process)
        finally:
            await _reap(process)

    async def _start(self, *command: str | Path, **settings: object) -> warm.Process:
        return await self.create_process(*command, settings=settings, stdin=PIPE, stdout=PIPE, stderr=PIPE)

    async def create_process(
        self, *command: str | Path, settings: Mapping[str, object], **options: Any
    ) -> warm.Process:
        """Start a process, forked from the warm program unless an import could see a variable of its own.

        Args:
            command: the program and its arguments.
            settings: the settings by their names in lower case.
            options: its streams, as for `asyncio.create_subprocess_exec`.
        """
        base = {"PATH": f"{PROGRAM.parent}:{os.defpath}", "HOME": str(self.directory), "LC_ALL": "C.UTF-8"}
        own = dict(self.environment) | {name.upper(): _text(value) for name, value in settings.items()}
        is_read_at_run = all(name in READ_AT_RUN or name.startswith("OTEL_") for name in own)
        is_warm = self.is_warm and command[0] in {PROGRAM, self.program[0]} and is_read_at_run
        is_warm = is_warm and Path(command[0]).name == PROGRAM.name
        create = warm.create_process if is_warm else asyncio.create_subprocess_exec
        return await create(*command, cwd=self.directory, env=base | own, **options)

    @asynccontextmanager
    async def watched(self, *arguments: str | Path, **settings: object) -> AsyncIterator["Watched"]:
        """Run a command in a terminal. It is killed at the end of the block if it still runs."""
        ours, its = os.openpty()
        try:
            process = await self.create_process(
                PROGRAM,
                *arguments,
                settings={"term": "xterm", "columns": 200, "lines": 50, **settings},
                stdin=its,
                stdout=its,
                stderr=its,
                start_new_session=True,
            )
        finally:
            os.close(its)
        try:
            yield Watched(process, ours)
        finally:
            await _reap(process)
            os.close(ours)

    @asynccontextmanager
    async def worker(self, *arguments: str, **settings: object) -> AsyncIterator["WorkerProcess"]:
        """Run `pattern-metrics consume` in the background. It is killed at the end of the block."""
        log = self.directory / f"worker-{len(list(self.directory.glob('worker-*')))}.log"
        with log.open("wb") as stderr:
            process = await self.create_process(
                *self.program,
                "consume",
                *arguments,
                settings={"log_format": "json", **settings},
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=stderr,
            )
        try:
            yield WorkerProcess(process, log)
        finally:
            await _reap(process)


async def _finish(process: warm.Process, stdin: bytes = b"") -> Finished:
    try:
        async with asyncio.timeout(SECONDS_MAX):
            stdout, stderr = await process.communicate(stdin)
    finally:
        await _reap(process)
    assert process.returncode is not None
    return Finished(process.returncode, stdout, stderr.decode())


async def _reap(process: warm.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@dataclass
class Watched:
    """A command that runs in a terminal, and its output there."""

    process: warm.Process
    terminal: int
    screen: str = ""

    async def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output since the last call matches, and return the match."""

        def found() -> re.Match[str] | None:
            os.set_blocking(self.terminal, False)
            with suppress(BlockingIOError):
                self.screen += os.read(self.terminal, 1_000_000).decode(errors="replace")
            return re.search(pattern, _COLOURS.sub("", self.screen))

        match = await eventually(found, deadline_seconds=SECONDS_MAX)
        assert match is not None
        self.screen = ""
        return match

    async def press_ctrl_c(self) -> int:
        """Send SIGINT, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(SECONDS_MAX):
            return await self.process.wait()


@dataclass(frozen=True)
class WorkerProcess:
    """A worker that runs in the background."""

    process: warm.Process
    log: Path

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    def events(self, name: str | None = None, **fields: object) -> list[LogLine]:
        """Return the log lines so far, or those of one event with these fields."""
        complete = [line for line in self.log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        assert all(line.startswith(b"{") for line in complete), self.log.read_text()
        lines: list[LogLine] = [json.loads(line) for line in complete]
        wanted = fields if name is None else {"event": name, **fields}
        return [line for line in lines if wanted.items() <= line.items()]

    async def wait_for_event(self, name: str, *, count: int = 1, **fields: object) -> LogLine:
        """Wait until the log has an event `count` times, and return the last of them."""

        def is_there() -> bool:
            return len(self.events(name, **fields)) >= count

        await eventually(lambda: is_there() or not self.is_running, deadline_seconds=SECONDS_MAX)
        assert is_there(), self.log.read_text()
        return self.events(name, **fields)[count - 1]

    async def wait_until_read(self, count: int) -> None:
        """Wait until `count` records are written."""

        def is_read() -> bool:
            return count <= sum(int(line["read"]) for line in self.events("batch_written"))

        await eventually(is_read, deadline_seconds=SECONDS_MAX)

    @property
    def partitions(self) -> set[int]:
        """Return the partitions of the worker's last assignment."""
        assigned = self.events("partitions_assigned")
        return set(assigned[-1]["partitions"]) if assigned else set()

    async def terminate(self, seconds_max: float = SECONDS_MAX) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.terminate()
        async with asyncio.timeout(seconds_max):
            return await self.process.wait()

    async def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        """Send SIGSTOP: it does nothing until it is thawed or killed."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT: it continues, and has not noticed."""
        self.process.send_signal(signal.SIGCONT)
