"""Answers about the quality of many patterns: by the parts of their names, and over time."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pattern_metrics.consumer.api.answering import Answering
from pattern_metrics.consumer.api.database import WHOLE, Database, Shown
from pattern_metrics.consumer.api.sql import statement
from pattern_metrics.consumer.api.trend import WEEK, WEEKS, direction_of, first_week, weeks_of
from pattern_metrics.schemas.settings.timing import Clock
from pattern_metrics.schemas.shown_metadata import SHOWN_NAME_CHARACTERS_MAX

PARTS_MAX: Final = 500
"""Most parts of a rollup."""

CHANGE_DAYS: Final = 7
"""A rollup compares the scores with those of this many days ago."""


class QualityReader:
    """Reads the quality of many patterns.

    Args:
        database: the database.
        clock: the present time.

    Raises:
        Exception: each method raises the errors of `Database.fetch`.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def rollup(self, prefix: str) -> Shown:
        """Return the patterns whose names begin with a prefix, by the next part of the name."""
        scan = await self._database.scan(
            statement("select_rollup"), prefix, PARTS_MAX, SHOWN_NAME_CHARACTERS_MAX, part=prefix
        )
        earlier = self._now() - timedelta(days=CHANGE_DAYS)
        changes = await self._database.scan(
            statement("select_rollup_changes"),
            prefix,
            earlier,
            SHOWN_NAME_CHARACTERS_MAX,
            part=prefix,
            looks_up=not prefix,
        )
        scale = WHOLE / scan.percent
        changed = {row["part"]: row["change"] for row in changes.rows if not row["is_total"]}
        total = next((row["change"] for row in changes.rows if row["is_total"]), None)
        first = scan.rows[0] if scan.rows else None
        return {
            "percent_read": scan.percent,
            "percent_compared": changes.percent,
            "prefix": prefix,
            "patterns": round(first["all_patterns"] * scale) if first else 0,
            "mean": first["all_quality_sum"] / first["all_patterns"] if first else None,
            "worst": first["all_worst"] if first else None,
            "change": total,
            "change_days": CHANGE_DAYS,
            "parts": first["parts"] if first else 0,
            "rows": [_part(row, changed.get(row["part"]), scale) for row in scan.rows],
        }

    async def trend(self) -> Shown:
        """Return the mean quality of all patterns at the end of each week, by the history."""
        today = self._now().date()
        first = first_week(today)
        start, end = (datetime.combine(day, time(), UTC) for day in (first, first + WEEKS * WEEK))
        scan = await self._database.scan(statement("select_trend"), start, end, looks_up=True)
        weeks = weeks_of(_by_week(scan.rows), today)
        direction, since = direction_of(weeks) if weeks else (None, None)
        return {
            "percent_read": scan.percent,
            "weeks": [
                {"week": one.week, "patterns": round(one.patterns * WHOLE / scan.percent), "mean": one.mean}
                for one in weeks
            ],
            "direction": direction,
            "since": None if since is None else since.week,
        }

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def _part(row: asyncpg.Record, change: float | None, scale: float) -> Shown:
    bands = Counter[str](json.loads(row["bands"]))
    return {
        "part": row["part"],
        "patterns": round(row["patterns"] * scale),
        "mean": row["quality_sum"] / row["patterns"],
        "worst": row["worst"],
        "bands": {band: round(count * scale) for band, count in bands.items()},
        "change": change,
        "pattern_id": row["pattern_id"] if row["patterns"] == 1 else None,
    }


def _by_week(rows: Sequence[asyncpg.Record]) -> dict[date, tuple[float, int]]:
    return {date.fromisoformat(row["week"]): (row["quality"], row["patterns"]) for row in rows}


class QualityAnswers:
    """Answers about the quality of many patterns.

    Args:
        answering: turns them into responses.
        reader: reads the database.

    Attributes:
        routes: the routes to serve.
    """

    def __init__(self, answering: Answering, reader: QualityReader) -> None:
        self._answering = answering
        self._reader = reader
        self.routes: list[BaseRoute] = [
            Route("/v1/rollup", answering.guarded(self._rollup)),
            Route("/v1/trend", answering.guarded(self._trend)),
        ]

    async def _rollup(self, request: Request) -> Response:
        prefix = request.query_params.get("prefix", "")
        return await self._answering.shared(request, lambda: self._reader.rollup(prefix))

    async def _trend(self, request: Request) -> Response:
        return await self._answering.shared(request, self._reader.trend)
