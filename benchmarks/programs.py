"""Programs under test. Each ends with our process, whatever happens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from pattern_metrics.consumer.demo.guarded_process import GuardedDirectory, GuardedProcess

END_SECONDS_MAX: Final = 60.0
_LOG_LINES_SHOWN: Final = 15


class ProgramError(Exception):
    """A program failed. The message shows the end of its output."""


class Program:
    """A program that runs inside a `with` block, in its own temporary directory.

    Args:
        command: the program and its arguments.
        environment: its variables, besides a plain PATH, HOME and LC_ALL.
    """

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        self._command = ["/usr/bin/env", *variables, *command]
        self._directory: GuardedDirectory
        self._process: GuardedProcess
        self._status: int | None = None

    def __enter__(self) -> Self:
        self._directory = GuardedDirectory()
        self._process = GuardedProcess(self._command, self._directory, "KILL", {})
        return self

    def __exit__(self, *_: object) -> None:
        self._end(0)
        self._directory.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def output(self) -> list[str]:
        """Return the lines that it has printed so far."""
        return (self._directory.path / "log").read_text(errors="replace").splitlines()

    def require_running(self, *, may_succeed: bool = False) -> None:
        """Check that it still runs; with `may_succeed`, it may also have ended with success.

        Raises:
            ProgramError: it has ended.
        """
        if not self._process.is_running() and not (may_succeed and self._end(0) == 0):
            raise self._failure("ended by itself")

    def require_success(self) -> None:
        """Wait for its end.

        Raises:
            ProgramError: it failed, or did not end in time.
        """
        if self._end(END_SECONDS_MAX) != 0:
            raise self._failure("failed, or did not end in time")

    def _end(self, seconds_max: float) -> int:
        """Wait for its end, and kill it after `seconds_max`."""
        if self._status is None:
            self._status = self._process.wait(seconds_max)
        return self._status

    def _failure(self, what: str) -> ProgramError:
        return ProgramError("\n".join([f"the program {what}:", *self.output[-_LOG_LINES_SHOWN:]]))
