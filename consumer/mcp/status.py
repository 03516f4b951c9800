"""The tool that reads the state of the pipeline: `ingest_status`."""

import asyncio
from collections.abc import Awaitable
from datetime import datetime
from typing import Final, TypeVar

from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.mcp.answers import IngestStatus
from pattern_metrics.consumer.mcp.failures import FAILURES, failure_sentence
from pattern_metrics.consumer.operations.status import read_counts, read_partitions
from pattern_metrics.consumer.postgres.connection import connected
from pattern_metrics.consumer.settings import McpSettings
from pattern_metrics.publisher.outbox.file import OutboxFile, OutboxStatus

T = TypeVar("T")

STATUS_SECONDS: Final = 10.0
"""Longest wait for each part of the answer."""


class StatusTools:
    """Reads the state of the pipeline for a language model. A part that cannot be read is a problem.

    Args:
        settings: the group, its topics, and the outbox.
        database: reads the numbers of the tables.
    """

    def __init__(self, settings: McpSettings, database: Database) -> None:
        self._settings = settings
        self._database = database

    async def ingest_status(self) -> IngestStatus:
        """Read the pipeline's state: lag, newest row, dead letters by reason, outbox.

        lag: events not yet in the table. A part that cannot be read is null, and in problems.
        """
        problems, lag_problems = list[str](), list[str]()
        counts, lag, outbox = await asyncio.gather(
            _part(read_counts(self._database.fetch, self._settings), problems),
            _part(self._lag(), lag_problems, of_kafka=True),
            _part(asyncio.to_thread(self._outbox), problems),
        )
        if counts is not None:  # the lag needs PostgreSQL too
            problems += lag_problems
        newest = counts and counts.last_write
        return {
            "lag": lag,
            "patterns": counts and counts.patterns,
            "newest_row": newest.isoformat() if isinstance(newest, datetime) else newest,
            "dead_letters": counts and counts.dead_letters,
            "outbox_waiting": outbox and outbox.events,
            "outbox_oldest_seconds": outbox and outbox.oldest_seconds,
            "outbox_refused": outbox and outbox.refused,
            "problems": problems,
        }

    async def _lag(self) -> int:
        async with connected(self._settings.database_url.get_secret_value()) as connection:
            partitions = await read_partitions(connection, self._settings)
        return sum(partition.lag or 0 for partition in partitions)

    def _outbox(self) -> OutboxStatus | None:
        if self._settings.outbox_path is None:
            return None
        file = OutboxFile(self._settings.outbox_path, lock_seconds=STATUS_SECONDS)
        try:
            return file.status()
        finally:
            file.close()


async def _part(reading: Awaitable[T], problems: list[str], *, of_kafka: bool = False) -> T | None:
    try:
        async with asyncio.timeout(STATUS_SECONDS):
            return await reading
    except FAILURES as error:
        problems.append(failure_sentence(error, of_kafka=of_kafka))
        return None
