"""The page and its answers, as routes for `serving`."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import version
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from pattern_metrics.consumer.api.api import Api
from pattern_metrics.consumer.api.cache import Cache
from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.api.failures import ERRORS, SLOW, Failure, failure_of
from pattern_metrics.consumer.api.patterns import Filter
from pattern_metrics.consumer.dashboard.rate import Pace
from pattern_metrics.consumer.dashboard.reader import Reader
from pattern_metrics.consumer.http.bearer import client_name
from pattern_metrics.consumer.http.probes import MetricsReport, Readiness
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.postgres.later_clock import hint_of
from pattern_metrics.consumer.settings import DatabaseSettings
from pattern_metrics.schemas.pattern_id import pattern_id_from
from pattern_metrics.schemas.settings.timing import CLOCK, TIMING, Clock, Timing

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]

SHORT_LIST: Final = 8

MEASURE_SECONDS: Final = 2.0
"""Interval of reading the worker's counts and lags."""


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


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _failed(failure: Failure) -> Response:
    hint = {} if failure.hint is None else {"hint": failure.hint}
    return _json({"error": failure.kind, **hint}, failure.status)


def _of(row: dict[str, Any]) -> tuple[str, str, int]:
    """Return group, topic and partition of a row of progress."""
    return row["consumer_group"], row["topic"], row["partition"]


class Page:
    """The page, for one worker or for a database alone.

    Args:
        settings: the database.
        watched: the worker, if one serves the page.
        timing: `page` limits the wait for the database.
        clock: the time that each answer shows.
        tokens: the tokens of clients; None if none are required.

    Attributes:
        routes: the routes to serve.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        watched: Watched | None = None,
        timing: Timing = TIMING,
        clock: Clock = CLOCK,
        tokens: Tokens | None = None,
    ) -> None:
        self._clock = clock
        self._watched = watched
        self._database = Database(settings.database_url.get_secret_value(), timing)
        self._reader = Reader(self._database)
        # The setting is unknown without a worker.
        history_enabled = settings.history_enabled if watched else None
        self._api = Api(self._reader, Cache(), tokens, history_enabled, timing, clock)
        self._tokens = tokens
        self._pace = Pace()  # the worker's
        self._pace_written = Pace()  # by the progress in the database
        self._measuring: asyncio.Task[None] | None = None
        self._files = StaticFiles(packages=[(__package__, "static")])
        answers: dict[str, Answer] = {
            "/api/extremes": self._extremes,
            "/api/trace": self._trace,
            "/api/progress": self._progress,
            "/api/gaps": self._gaps,
            "/api/dead-letters": self._letters,
            "/api/dead-letter": self._letter,
        }
        self.routes: list[BaseRoute] = [
            Mount("/static", self._files),
            *self._api.routes,
            Route("/", self._index),
            *(Route(path, self._guarded(answer)) for path, answer in answers.items()),
        ]

    def open(self) -> None:
        """Start measuring the worker's rate, whether or not anybody looks."""
        if self._watched is not None:
            self._measuring = asyncio.create_task(self._measure(self._watched.metrics))

    def close(self) -> None:
        """Drop the connections to the database, and stop measuring."""
        if self._measuring is not None:
            self._measuring.cancel()
        self._database.close()

    async def check(self) -> None:
        """Query the database once.

        Raises:
            asyncpg.PostgresError: PostgreSQL refused the login or a statement, for example for a missing
                table.
            OSError: PostgreSQL cannot be reached.
            TimeoutError: PostgreSQL did not answer in time.
        """
        await self._reader.progress()
        await self._reader.id_page(None, SHORT_LIST)
        self.close()

    def _guarded(self, answer: Answer) -> Answer:
        """Require a token, and turn each failure into an answer for the page."""

        @wraps(answer)
        async def wrapped(request: Request) -> Response:
            try:
                client_name(request, self._tokens)
                return await answer(request)
            except HTTPException as error:
                return _json({"error": "token"}, error.status_code)
            except ERRORS as error:
                return _failed(failure_of(error))

        return wrapped

    async def _cached(self, request: Request, compute: Callable[[], Awaitable[dict[str, Any]]]) -> Response:
        found = await self._api.cached(request, compute)
        if found is None:
            return _failed(SLOW)
        content, age = found
        return Response(content, headers={"Age": str(int(age))}, media_type="application/json")

    async def _index(self, request: Request) -> Response:
        return await self._files.get_response("index.html", request.scope)

    # Patterns

    async def _extremes(self, request: Request) -> Response:
        async def compute() -> dict[str, Any]:
            return {
                "best": await self._reader.page("best", Filter(), None, SHORT_LIST),
                "worst": await self._reader.page("worst", Filter(), None, SHORT_LIST),
                "changed": await self._reader.most_changed(SHORT_LIST),
            }

        return await self._cached(request, compute)

    async def _trace(self, request: Request) -> Response:
        asked = request.query_params
        pattern = asked.get("pattern", "").strip()
        pattern_id = pattern_id_from(pattern) if pattern else None
        return _json(await self._reader.trace(UUID(asked.get("event", "").strip()), pattern_id))

    # Ingestion

    async def _progress(self, _: Request) -> Response:
        """Return the progress. During an outage of the database, it has what the worker knows."""
        watched = self._watched
        try:
            rows = [dict(row) for row in await self._reader.progress()]
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            if watched is None:
                raise
            rows = []
        lags = watched.metrics.lags() if watched else {}
        outcomes = watched.metrics.outcomes() if watched else {}
        known = {_of(row) for row in rows}
        for topic, partition in lags:
            if watched and (watched.group, topic, partition) not in known:
                row = {"consumer_group": watched.group, "topic": topic, "partition": partition}
                rows.append({**row, "next_offset": None, "updated_at": None})
        self._pace_written.look(
            self._clock.monotonic(),
            {_of(row): row["next_offset"] for row in rows if row["next_offset"] is not None},
        )
        rows = [self._with_pace(row) for row in rows]
        return _json(
            {
                "version": version("pattern-metrics"),
                "now": self._clock.wall(),
                "worker": None
                if watched is None
                else {
                    "group": watched.group,
                    "topics": watched.topics,
                    "obstacles": watched.health.obstacles,
                    "clocks": hint_of(watched.metrics.clock_difference() or 0.0),
                    "outcomes": outcomes,
                    "records_per_second": self._pace.rate("records"),
                    "lag": sum(lag.offsets for lag in lags.values()) if lags else None,
                    "seconds_until_clear": self._pace.seconds_until_zero("lag"),
                },
                "partitions": rows,
            }
        )

    async def _measure(self, metrics: MetricsReport) -> None:
        while True:
            lags = metrics.lags()
            values: dict[Hashable, float] = {partition: lag.offsets for partition, lag in lags.items()}
            if lags:
                values["lag"] = sum(values.values())
            values["records"] = sum(metrics.outcomes().values())
            self._pace.look(self._clock.monotonic(), values)
            await asyncio.sleep(MEASURE_SECONDS)

    def _with_pace(self, row: dict[str, Any]) -> dict[str, Any]:
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

    async def _gaps(self, request: Request) -> Response:
        return await self._cached(request, self._reader.gaps)

    # Dead letters

    async def _letters(self, request: Request) -> Response:
        asked = request.query_params

        async def compute() -> dict[str, Any]:
            page = await self._reader.letter_page(asked.get("reason"), asked.get("after"))
            return {**page, "reasons": await self._reader.letter_reasons()}

        return await self._cached(request, compute)

    async def _letter(self, request: Request) -> Response:
        asked = request.query_params
        numbers = [int(asked.get(name, "")) for name in ("partition", "offset", "timestamp")]
        found = await self._reader.letter(asked.get("topic", ""), *numbers)
        return _json({"error": "absent"}, 404) if found is None else _json(found)
