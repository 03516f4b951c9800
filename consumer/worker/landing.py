"""Writes and commits the batches in flight: one batch is written while the batch before it is committed."""

import asyncio
from collections.abc import Awaitable, Callable

from pattern_metrics.consumer.postgres.store import ProgressLostError
from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.stopping import cancel
from pattern_metrics.consumer.worker.batch_log import BatchLog
from pattern_metrics.consumer.worker.equipment import Equipment
from pattern_metrics.consumer.worker.pipeline import Flight, Pipeline


class Landing:
    """The last two steps of each batch, which run in tasks of their own.

    Args:
        equipment: the objects that the sessions share.
        pipeline: writes and commits.
        log: logs the batches that are committed.
        written: called after each write.
        check: called when the database went back, before the pipeline goes back. It may raise an error that
            explains why.
    """

    def __init__(
        self,
        equipment: Equipment,
        pipeline: Pipeline,
        log: BatchLog,
        written: Callable[[], None],
        check: Callable[[], Awaitable[None]],
    ) -> None:
        self._stop = equipment.stop
        self._clock = equipment.clock
        self._pipeline = pipeline
        self._log = log
        self._written = written
        self._check = check
        self._writing: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None

    def begin(self, flight: Flight) -> None:
        """Begin to write a batch, once `finish_writing` has returned True for the batch before it."""
        self._writing = asyncio.create_task(self._write(flight))

    async def finish_writing(self) -> bool:
        """Wait for the batch being written. Return False if it, and everything read since, is void.

        Raises:
            GraceExpiredError: a stop could not wait any longer.
            Exception: whatever the write raised, or `check`.
        """
        if self._writing is None:
            return True
        writing, self._writing = self._writing, None
        try:
            await self._stop.finish(writing)
        except ProgressLostError:
            await self._check()
            self._pipeline.go_back()
            return False
        return True

    async def finish(self) -> None:
        """Wait for the batch being written, and for the batch being committed.

        Raises:
            Exception: see `finish_writing`.
        """
        await self.finish_writing()
        await self._finish_committing()

    async def finish_what_is_done(self) -> None:
        """Raise what a task that is done has raised; do not wait.

        Raises:
            Exception: see `finish_writing`.
        """
        if self._writing is not None and self._writing.done():
            await self.finish_writing()
        if self._committing is not None and self._committing.done():
            await self._finish_committing()

    async def close(self) -> None:
        """Give up what is still in flight, and log what was committed."""
        for task in (self._writing, self._committing):
            if task is not None:
                await cancel(task)
        self._log.flush()

    async def _write(self, flight: Flight) -> None:
        """Write, and commit only then. The next batch is written while this one is committed."""
        began_at = self._clock.monotonic()
        try:
            with flight.trace.ending_on_failure():
                accounting = await self._pipeline.write(flight)
                self._written()
                write_ms = (self._clock.monotonic() - began_at) * 1000
                await self._finish_committing()
        except BaseException:
            self._pipeline.land()
            raise
        self._committing = asyncio.create_task(self._commit(flight, accounting, write_ms))

    async def _commit(self, flight: Flight, accounting: Accounting, write_ms: float) -> None:
        began_at = self._clock.monotonic()
        try:
            with flight.trace:
                await self._pipeline.commit(flight.trace)
        finally:
            self._pipeline.land()
        commit_ms = (self._clock.monotonic() - began_at) * 1000
        self._log.add(accounting, write_ms=write_ms, commit_ms=commit_ms)

    async def _finish_committing(self) -> None:
        committing, self._committing = self._committing, None
        if committing is not None:
            await self._stop.finish(committing)
