"""A process and a directory that end with our process, however it ends."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

Command = Sequence[str | Path]


_STOP_SECONDS_MAX = 30.0


# Runs the server ("$@") and prints its pid. When our end of stdin is closed, sends the server the signals in
# "$1". All processes of the server inherit stdout, so its end of file means that the last one has ended.
_GUARD = """
signals=$1; shift
exec 3<&0
"$@" </dev/null 4>&1 >&2 3<&- &
server=$!
echo "$server"
(read -r _ <&3; for signal in $signals; do kill -s "$signal" "$server"; done) >/dev/null 2>&1 &
watcher=$!
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""


_SWEEPER = 'exec >/dev/null 2>&1; read -r _; rm -rf -- "$1"'


class GuardedDirectory:
    """A temporary directory that is removed when our process and all holders of its `lease` have ended."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pattern-metrics-"))
        reading_end, writing_end = os.pipe()
        # Children inherit the lease under this number. The guard uses the low numbers.
        self.lease = fcntl.fcntl(writing_end, fcntl.F_DUPFD_CLOEXEC, 100)
        self._sweeper = subprocess.Popen(  # noqa: S603 - our own script
            ["/bin/sh", "-c", _SWEEPER, "sh", self.path], stdin=reading_end, start_new_session=True, cwd="/"
        )
        os.close(reading_end)
        os.close(writing_end)

    def close(self) -> None:
        """Remove the directory."""
        os.close(self.lease)
        self._sweeper.wait(_STOP_SECONDS_MAX)


class GuardedProcess:
    """A child process in its own session that does not outlive us. `pid` is the program's, not the guard's.

    Args:
        command: the program and its arguments.
        directory: its working directory; its output is appended to the file `log` there.
        abandon_signals: names of the signals that the program gets in turn when our process has ended.
        identity: `user`, `group` and `extra_groups` of `subprocess.Popen`, to run as another user.
    """

    def __init__(
        self, command: Command, directory: GuardedDirectory, abandon_signals: str, identity: Mapping[str, Any]
    ) -> None:
        with (directory.path / "log").open("ab") as log:
            self._guard = subprocess.Popen(  # noqa: S603 - our own script
                ["/bin/sh", "-c", _GUARD, "sh", abandon_signals, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=directory.path,
                env={"PATH": os.defpath, "LC_ALL": "C", "HOME": str(directory.path)},
                start_new_session=True,
                pass_fds=[directory.lease],
                **identity,
            )
        self._lifeline, self._output = (
            cast("IO[bytes]", self._guard.stdin),
            cast("IO[bytes]", self._guard.stdout),
        )
        self.pid = int(self._output.readline())

    def is_running(self) -> bool:
        """Return whether the program still runs."""
        return self._guard.poll() is None

    def wait(self, seconds_max: float) -> int:
        """Wait for the end of the program and of all its children, and return its exit status.

        After `seconds_max` the program gets its `abandon_signals`.
        """
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(seconds_max)
        self._lifeline.close()
        status = self._guard.wait()
        self._output.read()
        self._output.close()
        return status
