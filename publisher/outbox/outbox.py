"""The outbox of a publisher: it stores events, and delivers them in the background while it is open."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Final

from pattern_metrics.publisher.outbox.events import rows_of
from pattern_metrics.publisher.outbox.file import BATCH_ROWS, OutboxFile, warn
from pattern_metrics.publisher.outbox.flusher import Flushed, OutboxFlusher
from pattern_metrics.publisher.outbox.row import OutboxRow, headers_text
from pattern_metrics.publisher.outbox.writer import OutboxWriter, Stored
from pattern_metrics.publisher.records import Headers
from pattern_metrics.schemas.pattern_retired import PatternEvent
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from pattern_metrics.schemas.settings.outbox import OutboxSettings

_LAST_FLUSH_SECONDS: Final = 5.0
"""The longest wait for the delivery of the last events when a publisher is closed. They stay in the file."""


class Outbox:
    """Stores events for any number of threads and tasks, and delivers them in a task of its own.

    Args:
        path: the file; None for OUTBOX_PATH.
        settings: the brokers and the topic.
        source: the CloudEvents `source`.
        seconds: the longest wait for the acknowledgement of an event, for space, and for the file.
    """

    def __init__(
        self, path: str | os.PathLike[str], settings: KafkaSettings, source: str, seconds: float
    ) -> None:
        bounds = OutboxSettings()
        self._file = OutboxFile(
            path,
            max_bytes=bounds.outbox_max_bytes,
            is_coalescing=bounds.outbox_when_full == "coalesce",
            lock_seconds=seconds,
        )
        block_seconds = seconds if bounds.outbox_when_full == "block" else 0.0
        self._writer = OutboxWriter(self._file, block_seconds=block_seconds, wait_seconds=seconds)
        self._flusher = OutboxFlusher(self._file, settings, seconds, _log)
        self._source = source
        self._headers = headers_text(source)
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    async def open(self) -> None:
        """Begin to deliver in the background.

        Raises:
            OutboxError: the file cannot be used.
        """
        await asyncio.to_thread(self._file.open)
        self._pid, self._loop = os.getpid(), asyncio.get_running_loop()
        self._task = asyncio.create_task(self._flusher.run())

    async def put(self, events: Sequence[PatternEvent], headers: Headers) -> Stored:
        """Store events, and return when they are synced."""
        stored = await self._writer.put_soon(self._rows(events, headers))
        if not self._flusher.is_notified:
            self._flusher.notify()
        return stored

    def put_blocking(self, events: Sequence[PatternEvent], headers: Headers) -> Stored:
        """Store events, as `put` does, from any thread without an event loop, also in a forked child."""
        stored = self._writer.put(self._rows(events, headers))
        if not self._flusher.is_notified and self._loop is not None and self._pid == os.getpid():
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(self._flusher.notify)
        return stored

    async def close(self) -> None:
        """Deliver the last events if the broker is there, and close the file. Others stay in it."""
        task, self._task = self._task, None
        if task is not None and self._pid == os.getpid():
            await self._flusher.settle(_LAST_FLUSH_SECONDS)
            self._flusher.stop()  # for a library that swallows the cancellation
            task.cancel()
            await asyncio.wait({task})
            await self._flusher.close()
        await asyncio.to_thread(self._writer.close)

    def _rows(self, events: Sequence[PatternEvent], headers: Headers) -> Iterable[Sequence[OutboxRow]]:
        """Return the rows of events, in parts that are made and stored one after the other."""
        text = headers_text(self._source, headers) if headers else self._headers
        return map(rows_of, _parts(events), repeat(text))


def _parts(events: Sequence[PatternEvent]) -> Iterable[Sequence[PatternEvent]]:
    if len(events) <= BATCH_ROWS:
        return (events,)
    return (events[begin : begin + BATCH_ROWS] for begin in range(0, len(events), BATCH_ROWS))


def _log(flushed: Flushed, error: Exception | None) -> None:
    if error is not None:
        warn(f"events stay in the outbox: {str(error) or type(error).__name__}")
    elif flushed.refused:
        warn(f"{flushed.refused} events were refused for good, and are kept in the outbox")
