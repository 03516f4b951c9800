"""The program that `warm` starts: it imports what `pattern-metrics` imports, and forks for each run.

A run begins in `pattern_metrics.__main__.main`, like the installed program, and ends like any program.
"""

import gc
import importlib.util
import json
import os
import pkgutil
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from select import select
from typing import Any

ROOMS = ("pattern_metrics.consumer", "pattern_metrics.publisher")
"""The packages that contain everything that commands import."""

NEVER_BEFORE = {"pattern_metrics.consumer.telemetry.spans"}
"""A module that a command imports only on request. With OpenTelemetry, whose imports read the environment."""


@dataclass(frozen=True)
class Run:
    """One run, as `warm` orders it.

    Attributes:
        arguments: the program's arguments, with its name.
        environment: all variables.
        directory: the working directory.
        is_leader: whether it begins its own session.
        streams: descriptors of the standard streams.
    """

    arguments: list[str]
    environment: dict[str, str]
    directory: str
    is_leader: bool
    streams: list[int]

    def begin(self) -> None:
        """Become that program, in a new process."""
        if self.is_leader:
            os.setsid()
        os.chdir(self.directory)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv = self.arguments
        sys.path[1:1] = filter(None, self.environment.get("PYTHONPATH", "").split(os.pathsep))
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin, sys.stdout, sys.stderr = map(_opened, (sys.stdin, sys.stdout, sys.stderr), "rww")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _opened(before: Any, mode: str) -> Any:
    """Return a standard stream as Python opens it, for its present descriptor."""
    number = before.fileno()
    is_buffered_by_line = number == 2 or os.isatty(number)
    stream: Any = open(  # noqa: SIM115 - open as long as the process lives
        number,
        mode,
        buffering=1 if is_buffered_by_line else -1,
        encoding=before.encoding,
        errors=before.errors,
        closefd=False,
    )
    stream.buffer.raw.name = before.name
    return stream


def import_beforehand() -> None:
    """Import everything that any command needs. Without all extras, import what every command imports."""
    if importlib.util.find_spec("pytest") is None:
        importlib.import_module("pattern_metrics.consumer.cli.app")
    else:
        for room in map(importlib.import_module, ROOMS):
            for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
                if module.name not in NEVER_BEFORE:
                    importlib.import_module(module.name)
        importlib.import_module("uvloop")
    gc.freeze()  # searching all of it at the end of each run would take longer than the run


def wait_for_run(orders: socket.socket) -> Run | None:
    """Fork for each order. Return a run in the process that becomes it, and None at the end."""
    telling: dict[int, tuple[int, socket.socket]] = {}
    while True:
        waited_for: list[socket.socket | int] = [orders, *telling]
        ready, _, _ = select(waited_for, [], [])
        for ended in telling.keys() & set(ready):
            pid, connection = telling.pop(ended)
            os.close(ended)
            with connection, suppress(OSError):  # the process that ordered it may have ended
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        if orders not in ready:
            continue
        _, descriptors, *_ = socket.recv_fds(orders, 1, 4)
        if not descriptors:
            return None
        connection = socket.socket(fileno=descriptors.pop())
        with connection.makefile("rb") as order:
            wanted = Run(**json.loads(order.readline()), streams=descriptors)
        if (pid := os.fork()) == 0:
            for other, (_, others_connection) in telling.items():
                os.close(other)
                others_connection.close()
            connection.close()
            orders.close()
            return wanted
        for stream in descriptors:
            os.close(stream)
        telling[os.pidfd_open(pid)] = pid, connection
        connection.sendall(b"%d\n" % pid)


def main() -> None:
    """Serve on the socket that is standard input."""
    orders = socket.socket(fileno=os.dup(0))
    sys.path[0] = os.path.dirname(sys.argv[1])  # noqa: PTH120 - as for a program
    import_beforehand()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the tests
    run = wait_for_run(orders)
    if run is None:
        return
    run.begin()
    del run, orders
    from pattern_metrics.__main__ import main as program

    program()


if __name__ == "__main__":
    main()
