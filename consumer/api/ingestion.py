"""Answers about the ingestion: progress, the last hour, gaps, and what became of an event."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pattern_metrics.consumer.api.answering import Answer, Answering, tagged
from pattern_metrics.consumer.api.database import Database, Shown
from pattern_metrics.consumer.api.failures import parameter
from pattern_metrics.consumer.api.rate import Pace
from pattern_metrics.consumer.api.recent import READING_SECONDS, LastHour, Reading
from pattern_metrics.consumer.api.search import EventSearch
from pattern_metrics.consumer.api.sql import statement
from pattern_metrics.consumer.http.probes import MetricsReport, Readiness
from pattern_metrics.consumer.operations.trace import trace_in_database
from pattern_metrics.consumer.postgres.later_clock import hint_of
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.pattern_id import pattern_id_from
from pattern_metrics.schemas.settings.timing import Clock

MEASURE_SECONDS: Final = 2.0
"""Interval of reading the worker's counts and lags."""

_TRACE_SECONDS_MAX: Final = 5.0
"""The trace of an event is kept no longer, because the event may arrive at any moment."""

OUTAGES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Watched:
    """The worker that serves the page.

    Attributes:
        health: the worker's readiness.
        metrics: the worker's counts.
        group: the worker's consumer group.
        topics: the topics that the worker reads.
    """

    health: Readiness
    metrics: MetricsReport
    group: str
    topics: Sequence[str]


def _of(row: asyncpg.Record | dict[str, Any]) -> tuple[str, str, int]:
    """Return group, topic and partition of a row of progress."""
    return row["consumer_group"], row["topic"], row["partition"]


async def read_gaps(database: Database) -> Shown:
    """Return the number of gaps, and the latest gaps."""
    [row] = await database.fetch(statement("select_gaps"))
    return {"gaps": row["gaps"], "offsets": row["offsets"], "latest": orjson.Fragment(row["latest"])}


class IngestionAnswers:
    """Answers about the ingestion.

    Args:
        answering: turns them into responses.
        database: the database.
        watched: the worker, if one serves the API.
        clock: the time that each answer shows.
        topics: the broker and the topics, in which events are searched; None if only the database is.

    Attributes:
        routes: the routes to serve.
    """

    def __init__(
        self,
        answering: Answering,
        database: Database,
        watched: Watched | None,
        clock: Clock,
        topics: WorkerSettings | None,
    ) -> None:
        self._answering = answering
        self._database = database
        self._watched = watched
        self._clock = clock
        self._search = None if topics is None else EventSearch(database, topics)
        self._pace = Pace()  # the worker's
        self._pace_written = Pace()  # by the progress in the database
        self._hour = LastHour()
        self._written: dict[tuple[str, str, int], int] = {}
        self._offsets_written = 0  # since the start, of all groups
        answers: dict[str, Answer] = {
            "/v1/progress": self._progress,
            "/v1/last-hour": self._last_hour,
            "/v1/gaps": self._gaps,
            "/v1/events/{event_id}": self._event,
        }
        self.routes: list[BaseRoute] = [
            Route(path, answering.guarded(answer)) for path, answer in answers.items()
        ]

    async def measure(self) -> None:
        """Read the counts until cancelled, whether or not anybody looks."""
        if self._watched is None:
            await self._measure_database()
        else:
            await self._measure_worker(self._watched.metrics)

    async def check(self) -> None:
        """Query the database once.

        Raises:
            Exception: the errors of `Database.fetch`.
        """
        await self._read_progress()

    async def _measure_worker(self, metrics: MetricsReport) -> None:
        read_at = -float(READING_SECONDS)
        while True:
            lags, outcomes = metrics.lags(), metrics.outcomes()
            values: dict[Hashable, float] = {partition: lag.offsets for partition, lag in lags.items()}
            lag = sum(lag.offsets for lag in lags.values()) if lags else None
            if lag is not None:
                values["lag"] = lag
            values["records"] = sum(outcomes.values())
            now = self._clock.monotonic()
            self._pace.look(now, values)
            if now - read_at >= READING_SECONDS:
                read_at = now
                letters = outcomes.get("dead_letter", 0)
                self._hour.add(Reading(self._clock.wall(), sum(outcomes.values()), letters, lag))
            await asyncio.sleep(MEASURE_SECONDS)

    async def _measure_database(self) -> None:
        while True:
            try:
                rows = await self._read_progress()
            except OUTAGES:
                rows = []  # the hour has no reading of this time
            if rows:
                progress = {_of(row): row["next_offset"] for row in rows}
                for partition, offset in progress.items():
                    self._offsets_written += max(0, offset - self._written.get(partition, offset))
                self._written = progress
                self._hour.add(Reading(self._clock.wall(), self._offsets_written))
            await asyncio.sleep(READING_SECONDS)

    async def _read_progress(self) -> list[asyncpg.Record]:
        return await self._database.fetch(statement("select_all_progress"))

    async def _progress(self, _: Request) -> Response:
        """Return the progress. During an outage of the database, it has what the worker knows."""
        watched = self._watched
        try:
            rows = [dict(row) for row in await self._read_progress()]
        except OUTAGES:
            if watched is None:
                raise
            rows = []
        lags = watched.metrics.lags() if watched else {}
        known = {_of(row) for row in rows}
        for topic, partition in lags:
            if watched and (watched.group, topic, partition) not in known:
                row = {"consumer_group": watched.group, "topic": topic, "partition": partition}
                rows.append({**row, "next_offset": None, "updated_at": None})
        self._pace_written.look(
            self._clock.monotonic(),
            {_of(row): row["next_offset"] for row in rows if row["next_offset"] is not None},
        )
        shown = {
            "version": version("pattern-metrics"),
            "now": self._clock.wall(),
            "worker": None if watched is None else self._worker(watched),
            "partitions": [self._with_pace(row) for row in rows],
        }
        return Response(orjson.dumps(shown), media_type="application/json")

    def _worker(self, watched: Watched) -> Shown:
        lags = watched.metrics.lags()
        return {
            "group": watched.group,
            "topics": watched.topics,
            "obstacles": watched.health.obstacles,
            "clocks": hint_of(watched.metrics.clock_difference() or 0.0),
            "outcomes": watched.metrics.outcomes(),
            "records_per_second": self._pace.rate("records"),
            "lag": sum(lag.offsets for lag in lags.values()) if lags else None,
            "seconds_until_clear": self._pace.seconds_until_zero("lag"),
        }

    def _with_pace(self, row: dict[str, Any]) -> Shown:
        """Add the rates and lags of a partition. Some are unknown if another group or worker reads it."""
        group, topic, number = _of(row)
        partition = (topic, number)
        is_ours = self._watched is not None and self._watched.group == group
        lags = self._watched.metrics.lags() if self._watched and is_ours else {}
        lag = lags.get(partition)
        return {
            **row,
            "next_offset": None if row["next_offset"] is None else str(row["next_offset"]),
            "per_second": self._pace_written.rate(_of(row)),
            "lag": None if lag is None else lag.offsets,
            "lag_seconds": None if lag is None else lag.seconds,
            "lag_change": self._pace.rate(partition) if lag else None,
            "seconds_until_clear": self._pace.seconds_until_zero(partition) if lag else None,
        }

    async def _last_hour(self, request: Request) -> Response:
        return tagged(request, orjson.dumps({**self._hour.as_dict(), "now": self._clock.wall()}))

    async def _gaps(self, request: Request) -> Response:
        return await self._answering.shared(request, lambda: read_gaps(self._database))

    async def _event(self, request: Request) -> Response:
        event_id = parameter("event_id", request.path_params["event_id"], UUID)
        pattern = request.query_params.get("pattern", "").strip()
        pattern_id = parameter("pattern", pattern, pattern_id_from) if pattern else None

        async def compute() -> Shown:
            if self._search is not None:
                return (await self._search.trace(event_id, pattern_id)).as_dict()
            return (await trace_in_database(self._database.fetch, event_id, pattern_id)).as_dict()

        return await self._answering.shared(request, compute, _TRACE_SECONDS_MAX)
