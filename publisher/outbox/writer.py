"""Group commit: all callers that wait at one time share one sync."""

import asyncio
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.place import OutboxError, OutboxFullError
from pattern_metrics.publisher.outbox.row import OutboxRow

_ROWS_MAX: Final = 5_000
"""The most events of one transaction, so that no caller waits long for another one's."""

_RETRY_SECONDS: Final = 0.05
"""Time between two attempts to store events that wait for space."""


class Stored(NamedTuple):
    """The result of storing events.

    Attributes:
        events: the number of the first events that are stored.
        error: why the others are not, if there are any.
    """

    events: int
    error: OutboxError | None = None


class _Job:
    """The events of one caller, who waits.

    Attributes:
        rows: the events that are not stored yet.
        deadline: the end of the wait for space.
        stored: the number of events that are stored.
        error: why the others are not.
        waiter: a lock that a thread waits for, or the turn of an event loop in which the job came.
    """

    __slots__ = ("deadline", "error", "rows", "stored", "waiter")

    def __init__(self, rows: Sequence[OutboxRow], deadline: float, waiter: "threading.Lock | _Turn") -> None:
        self.rows = rows
        self.deadline = deadline
        self.stored = 0
        self.error: OutboxError | None = None
        self.waiter = waiter


class _Turn:
    """The jobs that come in one turn of an event loop: they share the way to the thread and back."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._futures = dict[_Job, asyncio.Future[None]]()
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, job: _Job) -> "asyncio.Future[None]":
        """Return the future of a job, which is done when its caller continues."""
        future = self._futures[job] = self.loop.create_future()
        return future

    def begin(self, seconds: float) -> list[_Job]:
        """Return the jobs. Their callers continue after this time, even if the thread does not answer."""
        jobs = list(self._futures)
        self._left = len(jobs)
        self._timer = self.loop.call_later(seconds, self._wake, jobs)
        return jobs

    def end(self, jobs: list[_Job]) -> None:
        """Continue the callers of jobs."""
        self._left -= len(jobs)
        if self._left == 0 and self._timer is not None:
            self._timer.cancel()
        self._wake(jobs)

    def _wake(self, jobs: list[_Job]) -> None:
        for job in jobs:
            future = self._futures[job]
            if not future.done():
                future.set_result(None)


class OutboxWriter:
    """Stores events for any number of threads and tasks. A thread of its own writes and syncs.

    Args:
        file: the outbox.
        block_seconds: how long an event waits for space at the bound; 0 to refuse it at once.
        wait_seconds: the longest wait for the file.
    """

    def __init__(self, file: OutboxFile, *, block_seconds: float = 0.0, wait_seconds: float = 30.0) -> None:
        self._file = file
        self._block_seconds = block_seconds
        self._wait_seconds = wait_seconds
        self._turns = dict[asyncio.AbstractEventLoop, _Turn]()
        self._begin()
        _WRITERS.add(self)

    def _begin(self) -> None:
        self._submitted = SimpleQueue[list[_Job] | None]()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def put(self, parts: Iterable[Sequence[OutboxRow]]) -> Stored:
        """Store events, one part after the other, and wait until they are synced."""
        stored = 0
        for rows in parts:
            lock = threading.Lock()
            lock.acquire()
            job = _Job(rows, self._deadline(), lock)
            self._submit([job])
            lock.acquire(timeout=self._wait_seconds + self._block_seconds)
            stored += job.stored
            if error := self._error(job):
                return Stored(stored, error)
        return Stored(stored)

    async def put_soon(self, parts: Iterable[Sequence[OutboxRow]]) -> Stored:
        """Store events, as `put` does, without blocking the event loop."""
        stored, loop = 0, asyncio.get_running_loop()
        for rows in parts:
            turn = self._turns.get(loop)
            if turn is None:
                turn = self._turns[loop] = _Turn(loop)
                loop.call_soon(self._hand_over, turn)
            job = _Job(rows, self._deadline(), turn)
            await turn.add(job)
            stored += job.stored
            if error := self._error(job):
                return Stored(stored, error)
        return Stored(stored)

    def close(self) -> None:
        """End the thread, after the jobs that wait, and close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._submitted.put(None)
            thread.join(self._wait_seconds)
        self._file.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._block_seconds

    def _error(self, job: _Job) -> OutboxError | None:
        if job.rows and job.error is None:
            return OutboxError(f"outbox {self._file.path}: not stored within {self._wait_seconds:g} s")
        return job.error

    def _hand_over(self, turn: _Turn) -> None:
        self._turns.pop(turn.loop, None)
        self._submit(turn.begin(self._wait_seconds + self._block_seconds))

    def _submit(self, jobs: list[_Job]) -> None:
        if self._pid != os.getpid():
            self._begin()
        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="outbox-writer", daemon=True)
                    self._thread.start()
        self._submitted.put(jobs)

    def _work(self) -> None:
        blocked, is_open = list[_Job](), True
        while is_open or blocked:
            try:
                jobs, is_open = self._take(is_open, _RETRY_SECONDS if blocked else None)
            except Empty:
                jobs = []
            waiting = blocked + jobs
            blocked = self._store(waiting)
            _wake([job for job in waiting if job not in blocked])
            if blocked and not jobs:
                time.sleep(0 if is_open else _RETRY_SECONDS)

    def _take(self, is_open: bool, seconds: float | None) -> tuple[list[_Job], bool]:
        """Return the jobs that wait now, at least one, and whether more may come."""
        if not is_open:
            return [], False
        jobs = list[_Job]()
        size, more = 0, self._submitted.get(timeout=seconds)
        while more is not None:
            jobs += more
            size += sum([len(job.rows) for job in more])
            if size >= _ROWS_MAX or self._submitted.empty():
                return jobs, True
            more = self._submitted.get()
        return jobs, False

    def _store(self, jobs: list[_Job]) -> list[_Job]:
        """Store the events of jobs together. Return the jobs that wait for space."""
        blocked = list[_Job]()
        try:
            accepted = self._file.append([job.rows for job in jobs])
        except Exception as error:  # noqa: BLE001 - the thread has to go on, and its callers to be answered
            if not isinstance(error, OutboxError):
                error = OutboxError(f"outbox {self._file.path}: {error!r}")
            for job in jobs:
                job.error = error
            return []
        now = time.monotonic()
        for job, count in zip(jobs, accepted, strict=True):
            job.stored += count
            job.rows = () if count == len(job.rows) else job.rows[count:]
            if job.rows and now < job.deadline:
                blocked.append(job)
            elif job.rows:
                job.error = OutboxFullError(
                    f"outbox {self._file.path}: is full (OUTBOX_MAX_BYTES={self._file.max_bytes})"
                )
        return blocked


def _wake(jobs: list[_Job]) -> None:
    """Continue the callers of jobs, with one call for all of a turn."""
    turns = dict[_Turn, list[_Job]]()
    for job in jobs:
        if isinstance(job.waiter, _Turn):
            turns.setdefault(job.waiter, []).append(job)
        else:
            job.waiter.release()
    for turn, finished in turns.items():
        if not turn.loop.is_closed():
            turn.loop.call_soon_threadsafe(turn.end, finished)


_WRITERS: Final = weakref.WeakSet[OutboxWriter]()


def _after_fork_in_child() -> None:
    """Forget the jobs of the parent, whose thread stores them."""
    for writer in list(_WRITERS):
        writer._begin()  # noqa: SLF001 - this module's


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)
