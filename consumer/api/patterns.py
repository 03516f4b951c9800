"""Reads patterns from the database, for programs and for the page."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from pattern_metrics.consumer.api.database import WHOLE, Database, Scan, Shown, cursor_of, fragments_of
from pattern_metrics.consumer.api.failures import ParameterError, parameter
from pattern_metrics.consumer.api.sql import statement
from pattern_metrics.schemas.bands import BANDS, Band
from pattern_metrics.schemas.pattern_scored import DIMENSIONS
from pattern_metrics.schemas.shown_metadata import dimensions_of, name_of, parsed

DIMENSIONS_MAX: Final = 20
DIMENSION_CHARACTERS_MAX: Final = 60

BOUNDS: Final[dict[str, tuple[float | None, float | None]]] = {
    band: (least if band is not Band.POOR else None, below)
    for (band, least), below in zip(BANDS.items(), [None, *BANDS.values()], strict=False)
}
"""The least score of each band, and the first score above it; None for no bound."""

_ID_PREFIX: Final = re.compile(r"[0-9a-f]{8,32}")

_NO_DATETIME: Final = re.compile(
    r"-?infinity|\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00 BC|\d{5,6}-[-\d :.]+\+00"
)
"""PostgreSQL's text of a time that Python cannot hold."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The conditions that select patterns. A pattern has to fulfil each condition that is given.

    Attributes:
        least: the lower bound of the score, inclusive.
        below: the upper bound of the score, exclusive.
        version: the scorer's version.
        name: part of the name, in any case.
        ids: the least and the greatest id of a range. Patterns in it are found whatever their names.
        dimension: the dimension by which best and worst are meant. A pattern needs to have it.
    """

    least: float | None = None
    below: float | None = None
    version: str | None = None
    name: str | None = None
    ids: tuple[UUID | None, UUID | None] = (None, None)
    dimension: str | None = None


def filter_of(band: str | None, version: str | None, name: str, dimension: str | None) -> Filter:
    """Return the conditions that a client gave.

    Args:
        band: the band; None for each.
        version: the scorer's version; None for each.
        name: part of the name, or the first digits of the id, at least eight; empty for each pattern.
        dimension: see `Filter`.

    Raises:
        ParameterError: there is no such band.
    """
    if band is not None and band not in BOUNDS:
        raise ParameterError("band")
    least, below = BOUNDS[band] if band is not None else (None, None)
    name = name.strip()
    chosen = Filter(least, below, version, name or None, dimension=dimension)
    prefix = name.replace("-", "").lower()
    if _ID_PREFIX.fullmatch(prefix):
        chosen = replace(chosen, ids=(UUID(prefix.ljust(32, "0")), UUID(prefix.ljust(32, "f"))))
    return chosen


def patterns_of(rows: Sequence[asyncpg.Record]) -> list[Shown]:
    """Return rows with the names and the dimensions for people."""
    return [pattern_of(row) for row in rows]


def pattern_of(row: asyncpg.Record) -> Shown:
    """Return a row with the name and the dimensions for people. Both are limited, whatever was sent."""
    shown = orjson.loads(row["shown"])
    names = list(found := dimensions_of(parsed(row["dimensions"])))
    if not found.keys().isdisjoint(DIMENSIONS):  # each row has all of these, in the same order
        names = [*DIMENSIONS, *[name for name in names if name not in DIMENSIONS]]
    return {
        **shown,
        "name": name_of(parsed(row["name"]), shown["pattern_id"]),
        "dimensions": [
            {"name": name[:DIMENSION_CHARACTERS_MAX], "value": found.get(name)}
            for name in names[:DIMENSIONS_MAX]
        ],
        "dimensions_left_out": max(0, len(names) - DIMENSIONS_MAX),
    }


class PatternReader:
    """Answers each request with one or two statements.

    Args:
        database: the database.

    Raises:
        Exception: each method raises the errors of `Database.fetch`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def distribution(self) -> Shown:
        """Return the number of patterns by band, by fortieth of the scale, and by version."""
        scan = await self._database.scan(statement("select_distribution"))
        buckets = [row for row in scan.rows if row["bucket"] is not None]
        bands: Counter[str] = Counter()
        for row in buckets:
            bands[row["band"]] += row["patterns"]
        total = bands.total()
        scale = scan.table_rows / total if scan.table_rows and total else WHOLE / scan.percent
        return {
            "percent_read": scan.percent,
            "rows_read": total,
            "patterns": round(total * scale),
            "mean": sum(row["quality_sum"] for row in buckets) / total if total else None,
            "bands": {band: round(count * scale) for band, count in bands.items()},
            "buckets": [
                {"bucket": row["bucket"], "band": row["band"], "patterns": round(row["patterns"] * scale)}
                for row in buckets
            ],
            "versions": [
                {"version": row["version"], "patterns": round(row["patterns"] * scale)}
                for row in scan.rows
                if row["bucket"] is None
            ],
        }

    async def most_changed(self, limit: int) -> Shown:
        """Return the patterns whose score changed most since the measurement before."""
        scan = await self._database.scan(statement("select_most_changed"), limit)
        [[has_history]] = await self._database.fetch(statement("select_history_exists"))
        return {"percent_read": scan.percent, "rows": patterns_of(scan.rows), "has_history": has_history}

    async def page(
        self, order: str, chosen: Filter, after: str | None, limit: int, *, counts: bool = False
    ) -> Shown:
        """Return one page of patterns, and the start of the next.

        Args:
            order: one of ORDERS except `id`.
            chosen: the conditions.
            after: the start of the page, as the page before it returned; None for the first page.
            limit: the most patterns.
            counts: whether to count the patterns after the page, as `left_off`.

        Raises:
            ParameterError: `after` is not the end of an earlier page.
        """
        query = statement("select_pattern_page")
        least_id, greatest_id = chosen.ids
        conditions = (chosen.least, chosen.below, chosen.version, chosen.name, *chosen.ids)
        arguments = (order, *conditions, *_pattern_cursor(after), limit + 1, chosen.dimension, counts)
        scan = Scan([])
        if least_id is not None and least_id == greatest_id:  # one pattern: no block has to be scanned
            scan = Scan(await self._database.fetch(query, 0.0, 0.0, *arguments))
        if not scan.rows:
            scan = await self._database.scan(query, *arguments)
        rows, following = scan.rows[:limit], None
        if len(scan.rows) > limit:
            following = json.dumps([rows[-1]["number"], rows[-1]["words"], str(rows[-1]["pattern_id"])])
        page = {"percent_read": scan.percent, "rows": patterns_of(rows), "next": following}
        if counts:
            remaining = rows[0]["remaining"] if rows else 0
            page["left_off"] = round((remaining - len(rows)) * WHOLE / scan.percent)
        return page

    async def id_page(self, after: str | None, limit: int) -> Shown:
        """Return one page of all patterns in the order of their ids, always from the whole table.

        Raises:
            ParameterError: `after` is not an id.
        """
        return await self._range(statement("select_pattern_range"), after, limit)

    async def retired_page(self, after: str | None, limit: int) -> Shown:
        """Return one page of the retired patterns in the order of their ids.

        Raises:
            ParameterError: `after` is not an id.
        """
        return await self._range(statement("select_retired_range"), after, limit)

    async def _range(self, query: str, after: str | None, limit: int) -> Shown:
        first = UUID(int=0) if after is None else parameter("after", after, UUID)
        rows = await self._database.fetch(query, first, limit + 1)
        following = str(rows[limit]["pattern_id"]) if len(rows) > limit else None
        return {"percent_read": WHOLE, "rows": patterns_of(rows[:limit]), "next": following}

    async def retired(self, pattern_id: UUID) -> Shown | None:
        """Return a retired pattern, with its last row; None if the pattern is not retired."""
        page = await self.retired_page(str(pattern_id), 1)
        return next((row for row in page["rows"] if row["pattern_id"] == str(pattern_id)), None)

    async def pattern(self, pattern_id: UUID) -> Shown | None:
        """Return one pattern and its row as it is stored; None if there is none."""
        rows = await self._database.fetch(statement("select_pattern"), pattern_id)
        if not rows:
            return None
        [row] = rows
        return {
            **pattern_of(row),
            "stored": orjson.Fragment(row["stored"]),
            "metadata": row["metadata"],
            "metadata_is_cut": row["is_cut"],
        }

    async def patterns(self, ids: Sequence[UUID]) -> dict[UUID, Shown]:
        """Return the patterns with these ids that there are, by id."""
        rows = await self._database.fetch(statement("select_patterns_by_id"), ids)
        return {row["pattern_id"]: pattern_of(row) for row in rows}

    async def history(self, pattern_id: UUID, after: str | None, limit: int) -> Shown:
        """Return one page of a pattern's measurements, the newest first, and the start of the next.

        Raises:
            ParameterError: `after` is not the end of an earlier page.
        """
        before = None if after is None else parameter("after", after, time_of)
        rows = await self._database.fetch(statement("select_history"), pattern_id, before, limit + 1)
        following = rows[limit - 1]["measured"] if len(rows) > limit else None
        return {"rows": fragments_of(rows[:limit]), "next": following}


def _pattern_cursor(after: str | None) -> list[Any]:
    return [None] * 3 if after is None else cursor_of(after, float, str, lambda text: UUID(str(text)))


def time_of(text: str) -> datetime | str:
    """Return a time as `read_any_time` returns it.

    Raises:
        ValueError: the text is no time.
    """
    return text if _NO_DATETIME.fullmatch(text) else datetime.fromisoformat(text)
