"""A fork server: processes that begin at once, and share the memory of what was imported before the first.

That of Python's `multiprocessing` is another program, which imports everything a second time; this one is
this program, as it was when it had imported what it needs.
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

from pattern_metrics.consumer.timing import TIMING, Timing

_NOT_MEANT_FOR_IT: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a program ends who asks for processes, and with that one the server."""


@dataclass(frozen=True, slots=True)
class Forked:
    """What a forked process knows of itself.

    Attributes:
        number: what it was asked for as.
        connection: to who asked for it.
    """

    number: int
    connection: socket.socket


@dataclass(frozen=True, slots=True)
class Life:
    """A forked process, for who asked for it.

    Attributes:
        pid: its id.
        connection: to the process.
    """

    pid: int
    connection: socket.socket
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def wait(self) -> int:
        """Its exit code, or a signal's number below zero, as of `subprocess`; 1 where nobody tells."""
        code = await self._reader.readline()
        self._writer.close()
        return int(code or b"1")

    def kill(self) -> None:
        """End it at once, and wait for what the server tells of it no longer than that may take."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        asyncio.get_running_loop().call_later(TIMING.fork, self._reader.feed_eof)


class ForkServer:
    """Forks processes on request.

    Args:
        orders: to the server.
        timing: `fork` bounds its answer. What the server forks later finds nobody, and ends.
    """

    def __init__(self, orders: socket.socket, timing: Timing = TIMING) -> None:
        self._orders = orders
        self._seconds_max = timing.fork

    async def wait(self) -> None:
        """Return when the server is gone."""
        gone, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._orders, gone.set)  # it never says anything here
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._orders)

    async def fork(self, number: int) -> Life:
        """Ask for a process.

        Args:
            number: to tell it by, from 0 to 255.

        Raises:
            OSError: too many files or processes, too little memory; or the server is gone.
            TimeoutError: one of these, too: the server does not answer.
        """
        with ExitStack() as failing:
            pairs = (*socket.socketpair(), *socket.socketpair())
            ours, its, told, telling = map(failing.enter_context, pairs)
            socket.send_fds(self._orders, [bytes([number])], [its.fileno(), telling.fileno()])
            its.close()
            telling.close()
            reader, writer = await asyncio.open_connection(sock=told)
            failing.callback(writer.close)
            async with asyncio.timeout(self._seconds_max):
                pid = int(await reader.readline() or -errno.EPIPE)
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
            failing.pop_all()
        return Life(pid, ours, reader, writer)


def start_fork_server() -> ForkServer | Forked:
    """Fork the server; it ends with this process.

    This returns here and, as `os.fork` does, in each process that the server will ever fork. Hence nothing
    may be open that those must not have, and there may be no other thread.
    """
    gc.freeze()  # looking for what can be let go would write to what is shared
    ours, its = socket.socketpair()
    if os.fork():
        its.close()
        return ForkServer(ours)
    ours.close()
    return _Server(its).run()


class _Server:
    """Forks when asked to, and tells of each process its id and how it ended."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._lives: dict[int, tuple[int, socket.socket]] = {}

    def run(self) -> Forked:
        """Serve; this returns in the processes alone."""
        os.setsid()  # a terminal's signals are for who asks
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _NOT_MEANT_FOR_IT}
        while True:
            waited_for: list[socket.socket | int] = [self._orders, *self._lives]
            ready, _, _ = select.select(waited_for, [], [])
            for end in self._lives.keys() & set(ready):
                self._tell_end(end)
            if self._orders not in ready:
                continue
            number, descriptors, *_ = socket.recv_fds(self._orders, 1, 2)
            if not number:
                os._exit(0)
            connection, telling = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            if self._fork(telling):
                for signal_number, handler in handlers.items():
                    signal.signal(signal_number, handler)
                return Forked(number[0], connection)
            connection.close()

    def _fork(self, telling: socket.socket) -> bool:
        """Whether this is the new process, which holds one end of a pipe as long as it lives."""
        try:
            end, held = os.pipe()
            pid = os.fork()
        except OSError as error:
            with telling:
                _tell(telling, -(error.errno or errno.EAGAIN))
            return False
        self._lives[end] = pid, telling
        if pid == 0:
            self._forget()
            return True
        os.close(held)
        _tell(telling, pid)
        return False

    def _tell_end(self, end: int) -> None:
        pid, telling = self._lives.pop(end)
        os.close(end)
        with telling:
            _tell(telling, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def _forget(self) -> None:
        """In a new process: be no server any more, and leave standard input and output to who asked."""
        self._orders.close()
        for end, (_, telling) in self._lives.items():
            os.close(end)
            telling.close()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)


def _tell(telling: socket.socket, number: int) -> None:
    with suppress(OSError):  # who asked may be gone
        telling.sendall(b"%d\n" % number)
