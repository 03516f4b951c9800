"""A fork server: processes that start at once, and share the memory of everything imported before.

Python's `multiprocessing` runs its fork server as another program, which imports everything a second time.
This fork server is a copy of this program after its imports.
"""

import asyncio
import errno
import gc
import os
import select
import signal
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from pattern_metrics.schemas.settings.timing import TIMING, Timing

_PARENTS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that the parent handles. The fork server ignores them and exits with the parent."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A forked process's view of itself.

    Attributes:
        number: the process's number, from the request.
        connection: the connection to the parent that requested the process.
    """

    number: int
    connection: socket.socket


@dataclass(frozen=True, slots=True)
class Life:
    """The parent's view of a forked process.

    Attributes:
        pid: the process's id.
        connection: the connection to the process.
    """

    pid: int
    connection: socket.socket
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def wait(self) -> int:
        """Wait for the end. Return the exit code or the negative signal, like `subprocess`; 1 if unknown."""
        code = await self._reader.readline()
        self._writer.close()
        return int(code or b"1")

    def kill(self) -> None:
        """Kill the process, and limit the time that `wait` waits for the server's report."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        asyncio.get_running_loop().call_later(TIMING.fork, self._reader.feed_eof)


class ForkServer:
    """Forks processes on request.

    Args:
        orders: the connection to the server.
        timing: `fork` limits the wait for an answer. A process that is forked later finds its connection
            closed, and ends.
    """

    def __init__(self, orders: socket.socket, timing: Timing = TIMING) -> None:
        self._orders = orders
        self._seconds_max = timing.fork

    async def wait(self) -> None:
        """Return when the server has ended."""
        gone, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._orders, gone.set)  # the server never sends anything here
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._orders)

    async def fork(self, number: int) -> Life:
        """Request a process.

        Args:
            number: its number, from 0 to 255.

        Raises:
            OSError: too many open files or processes, or too little memory; or the server has ended.
            TimeoutError: a kind of OSError: the server does not answer.
        """
        with ExitStack() as failing:
            pairs = (*socket.socketpair(), *socket.socketpair())
            ours, its, answers, answering = map(failing.enter_context, pairs)
            socket.send_fds(self._orders, [bytes([number])], [its.fileno(), answering.fileno()])
            its.close()
            answering.close()
            reader, writer = await asyncio.open_connection(sock=answers)
            failing.callback(writer.close)
            async with asyncio.timeout(self._seconds_max):
                pid = int(await reader.readline() or -errno.EPIPE)
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
            failing.pop_all()
        return Life(pid, ours, reader, writer)


def start_fork_server() -> ForkServer | Forked:
    """Fork the server, which ends with this process.

    Like `os.fork`, this returns more than once: here, and in each process that the server forks. Therefore no
    file or connection may be open that those processes must not have, and no other thread may run.
    """
    gc.freeze()  # the collector would write to shared memory
    ours, its = socket.socketpair()
    if os.fork():
        its.close()
        return ForkServer(ours)
    ours.close()
    return _Server(its).run()


class _Server:
    """Forks on request, and reports the id and the end of each process."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._lives: dict[int, tuple[int, socket.socket]] = {}

    def run(self) -> Forked:
        """Serve. This returns only in the forked processes."""
        os.setsid()  # a terminal's signals go to the parent
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _PARENTS_SIGNALS}
        while True:
            waited_for: list[socket.socket | int] = [self._orders, *self._lives]
            ready, _, _ = select.select(waited_for, [], [])
            for end in self._lives.keys() & set(ready):
                self._report_end(end)
            if self._orders not in ready:
                continue
            number, descriptors, *_ = socket.recv_fds(self._orders, 1, 2)
            if not number:
                os._exit(0)
            connection, answering = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            if self._fork(answering):
                for signal_number, handler in handlers.items():
                    signal.signal(signal_number, handler)
                return Forked(number[0], connection)
            connection.close()

    def _fork(self, answering: socket.socket) -> bool:
        """Return whether this is the new process, which holds one end of a pipe as long as it lives."""
        try:
            end, held = os.pipe()
            pid = os.fork()
        except OSError as error:
            with answering:
                _answer(answering, -(error.errno or errno.EAGAIN))
            return False
        self._lives[end] = pid, answering
        if pid == 0:
            self._forget()
            return True
        os.close(held)
        _answer(answering, pid)
        return False

    def _report_end(self, end: int) -> None:
        pid, answering = self._lives.pop(end)
        os.close(end)
        with answering:
            _answer(answering, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def _forget(self) -> None:
        """Stop being a server in a new process, and leave standard input and output to the parent."""
        self._orders.close()
        for end, (_, answering) in self._lives.items():
            os.close(end)
            answering.close()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)


def _answer(answering: socket.socket, number: int) -> None:
    with suppress(OSError):  # the parent may have ended
        answering.sendall(b"%d\n" % number)
