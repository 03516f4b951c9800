"""Group commit: all callers that wait at one time share one sync."""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Final

from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.place import OutboxError, OutboxFullError
from pattern_metrics.publisher.outbox.row import OutboxRow

_ROWS_MAX: Final = 5_000
"""The most events of one transaction, so that no caller waits long for another one's."""

_RETRY_SECONDS: Final = 0.05
"""Time between two attempts to store events that wait for space."""


class _Job:
    """The events of one caller, who waits.

    Attributes:
        rows: the events that are not stored yet.
        stored: the number of events that are stored.
        error: why the others are not.
    """

    __slots__ = ("deadline", "error", "future", "loop", "rows", "stored", "waiter")

    def __init__(self, rows: Sequence[OutboxRow], deadline: float) -> None:
        self.rows = rows
        self.deadline = deadline
        self.stored = 0
        self.error: OutboxError | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[None] | None = None
        self.waiter: threading.Lock | None = None


class OutboxWriter:
    """Stores events for any number of threads and tasks. A thread of its own writes and syncs.

    Args:
        file: the outbox.
        block_seconds: how long an event waits for space at the bound; 0 to refuse it at once.
        wait_seconds: the longest wait of one call.
    """

    def __init__(self, file: OutboxFile, *, block_seconds: float = 0.0, wait_seconds: float = 30.0) -> None:
        self._file = file
        self._block_seconds = block_seconds
        self._wait_seconds = wait_seconds
        self._begin()
        _WRITERS.add(self)

    def _begin(self) -> None:
        self._jobs = SimpleQueue[_Job | None]()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def put(self, rows: Sequence[OutboxRow]) -> tuple[int, OutboxError | None]:
        """Store events and wait until they are synced.

        Returns:
            The number of its first events that are stored, and the error of the others, if there are any.
        """
        job = self._job(rows)
        waiter = job.waiter = threading.Lock()
        waiter.acquire()
        self._submit(job)
        if not waiter.acquire(timeout=self._wait_seconds + self._block_seconds):
            return job.stored, self._late()
        return job.stored, job.error

    async def put_soon(self, rows: Sequence[OutboxRow]) -> tuple[int, OutboxError | None]:
        """Store events, as `put` does, without blocking the event loop."""
        job = self._job(rows)
        job.loop = asyncio.get_running_loop()
        job.future = job.loop.create_future()
        timer = job.loop.call_later(self._wait_seconds + self._block_seconds, _end, job.future)
        self._submit(job)
        try:
            await job.future
        finally:
            timer.cancel()
        return job.stored, job.error if job.rows == () or job.error else self._late()

    def close(self) -> None:
        """End the thread, after the jobs that wait, and close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join(self._wait_seconds)
        self._file.close()

    def _job(self, rows: Sequence[OutboxRow]) -> _Job:
        return _Job(rows, time.monotonic() + self._block_seconds)

    def _late(self) -> OutboxError:
        return OutboxError(f"outbox {self._file.path}: not stored within {self._wait_seconds:g} s")

    def _submit(self, job: _Job) -> None:
        if self._pid != os.getpid():
            self._begin()
        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="outbox-writer", daemon=True)
                    self._thread.start()
        self._jobs.put(job)

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
        jobs, size = list[_Job](), 0
        job = self._jobs.get(timeout=seconds)
        while job is not None:
            jobs.append(job)
            size += len(job.rows)
            if size >= _ROWS_MAX or self._jobs.empty():
                return jobs, True
            job = self._jobs.get()
        return jobs, False

    def _store(self, jobs: list[_Job]) -> list[_Job]:
        """Store the events of jobs together. Return the jobs that wait for space."""
        blocked = list[_Job]()
        try:
            accepted = self._file.append([job.rows for job in jobs])
        except OutboxError as error:
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
    """Continue the callers of jobs, with one call for all of an event loop."""
    loops = dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]()
    for job in jobs:
        if job.waiter is not None:
            job.waiter.release()
        elif job.loop is not None and job.future is not None:
            loops.setdefault(job.loop, []).append(job.future)
    for loop, futures in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_end_all, futures)


def _end_all(futures: list["asyncio.Future[None]"]) -> None:
    for future in futures:
        _end(future)


def _end(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


_WRITERS: Final = weakref.WeakSet[OutboxWriter]()


def _after_fork_in_child() -> None:
    """Forget the jobs of the parent, whose thread stores them."""
    for writer in list(_WRITERS):
        writer._begin()  # noqa: SLF001 - this module's


os.register_at_fork(after_in_child=_after_fork_in_child)
