"""The read API: its parts, and its document."""

import asyncio
from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pattern_metrics.consumer.api.answering import Answering
from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.api.ingestion import IngestionAnswers, Watched
from pattern_metrics.consumer.api.letters import LetterAnswers, LetterReader
from pattern_metrics.consumer.api.openapi import openapi
from pattern_metrics.consumer.api.pattern_answers import PatternAnswers
from pattern_metrics.consumer.api.patterns import PatternReader
from pattern_metrics.consumer.api.quality import QualityAnswers, QualityReader
from pattern_metrics.consumer.http.access import THIS_MACHINE, Access
from pattern_metrics.consumer.settings import DatabaseSettings, WorkerSettings
from pattern_metrics.schemas.settings.timing import CLOCK, TIMING, Clock, Timing


class Api:
    """Answers the read API's requests, for one worker or for a database alone.

    Args:
        settings: the database.
        watched: the worker, if one serves the API.
        timing: `page` limits the wait for the database.
        clock: the time that each answer shows.
        access: who may read; by default this machine.
        topics: the broker and the topics, in which events are searched; None if only the database is.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        watched: Watched | None = None,
        timing: Timing = TIMING,
        clock: Clock = CLOCK,
        access: Access = THIS_MACHINE,
        topics: WorkerSettings | None = None,
    ) -> None:
        self._database = Database(settings.database_url.get_secret_value(), timing)
        self._reader = PatternReader(self._database)
        answering = Answering(access, timing, clock)
        # The setting is unknown without a worker.
        history_enabled = settings.history_enabled if watched else None
        self._ingestion = IngestionAnswers(answering, self._database, watched, clock, topics)
        self._measuring: asyncio.Task[None] | None = None
        self._openapi = orjson.dumps(openapi(access))
        self._routes: list[BaseRoute] = [
            Route("/openapi.json", self._document),
            *PatternAnswers(answering, self._reader, history_enabled).routes,
            *QualityAnswers(answering, QualityReader(self._database, clock)).routes,
            *self._ingestion.routes,
            *LetterAnswers(answering, LetterReader(self._database)).routes,
        ]

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routes to serve."""
        return self._routes

    def open(self) -> None:
        """Start to measure the rates, whether or not anybody looks."""
        self._measuring = asyncio.create_task(self._ingestion.measure())

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
        await self._ingestion.check()
        await self._reader.id_page(None, 1)
        self.close()

    async def _document(self, _: Request) -> Response:
        return Response(self._openapi, media_type="application/json")
