"""Searches an event in the database and in the topic, within a time."""

import asyncio
from typing import Final
from uuid import UUID

from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.faults.diagnosis import Fault, diagnose_beyond_rows, is_of_postgresql
from pattern_metrics.consumer.operations.trace import (
    TopicSearch,
    Trace,
    trace_in_database,
    trace_with,
)
from pattern_metrics.consumer.settings import WorkerSettings

SEARCH_SECONDS_MAX: Final = 5.0
"""Longest time of reading the topic for one event."""

SEARCH_START_SECONDS_MAX: Final = 2.0

SEARCH_RECORDS: Final = 1_000
"""Records that are read between two looks at the clock; few, because a worker decodes in this process."""


class EventSearch:
    """A search for an event, one at a time.

    Args:
        database: the database.
        topics: the broker and the topics.
    """

    def __init__(self, database: Database, topics: WorkerSettings) -> None:
        self._database = database
        self._topics = topics.model_copy(update={"batch_max_records": SEARCH_RECORDS})
        self._searching = asyncio.Lock()

    async def trace(self, event_id: UUID, pattern_id: UUID | None) -> Trace:
        """Return the place of an event. While Kafka is away, only the database is searched.

        Raises:
            Exception: the errors of `Database.fetch`.
        """
        async with self._searching:
            search = TopicSearch(self._topics, lambda _done, _total: None, SEARCH_SECONDS_MAX)
            try:
                async with asyncio.timeout(SEARCH_SECONDS_MAX + SEARCH_START_SECONDS_MAX):
                    return await trace_with(self._database.fetch, search, event_id, pattern_id=pattern_id)
            except Exception as error:
                diagnosis = diagnose_beyond_rows(error)
                if is_of_postgresql(error) or diagnosis.fault not in {Fault.TRANSIENT, Fault.CONFIGURATION}:
                    raise
                found = await trace_in_database(self._database.fetch, event_id, pattern_id)
                return found.before(f"not the topic: {diagnosis.hint}")
