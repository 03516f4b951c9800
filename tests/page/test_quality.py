"""The rollup and the trend against models of them in Python."""

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from pattern_metrics.consumer.api.database import Database
from pattern_metrics.consumer.api.quality import CHANGE_DAYS, QualityReader
from pattern_metrics.consumer.postgres.connection import Connection
from pattern_metrics.schemas.bands import band_of
from pattern_metrics.schemas.settings.timing import Clock
from pattern_metrics.schemas.shown_metadata import SHOWN_NAME_CHARACTERS_MAX
from tests.properties.test_fold_equals_sql import open_database

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)

PATTERN = """
    INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, metadata)
    VALUES ($1, $2, 1, jsonb_build_object('name', to_jsonb($3::text)))
"""
EVENT = """
    INSERT INTO pattern_quality_history (pattern_id, measurement_timestamp, event_id, quality_score, metadata)
    VALUES ($1, $2, gen_random_uuid(), $3, '{}')
"""

FAR = """
    INSERT INTO pattern_quality_history (pattern_id, measurement_timestamp, event_id, quality_score, metadata)
    SELECT $1, far, gen_random_uuid(), 1, '{}'
    FROM unnest('{2030-01-01,20000-01-01,infinity}'::timestamptz[]) AS far
"""
"""After this week: by a clock that was wrong, after what Python can hold, and never."""

texts = st.text("ab.:/ ", max_size=8)
names = st.none() | texts | st.just("a" * (SHOWN_NAME_CHARACTERS_MAX + 1))
scores = st.integers(0, 8).map(lambda eighths: eighths / 8)
"""Their sums are exact in any order."""

days = st.integers(0, 200)
patterns = st.lists(st.tuples(names, scores, st.none() | scores), max_size=12)
events = st.lists(st.tuples(st.integers(1, 3), days, st.none() | scores), unique_by=lambda one: one[:2])


class Inside(Database):
    """The page's database inside the transaction of a test."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("")
        self._connection = connection

    @override
    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._connection.fetch(statement, *arguments)
        return rows


def reader_of(connection: Connection) -> QualityReader:
    return QualityReader(Inside(connection), Clock(wall=NOW.timestamp))


def part_of(name: str | None, prefix: str) -> str | None:
    if name is None or not name.strip() or len(name) > SHOWN_NAME_CHARACTERS_MAX:
        return None
    found = re.match(r"[^.:/]*[.:/]?", name[len(prefix) :])
    assert found is not None
    return prefix + found[0]


def mean_of(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def test_a_rollup_has_the_patterns_of_each_part_of_the_names(migrated_database_url: str) -> None:
    with open_database(migrated_database_url, "SET timezone = 'UTC'") as (run, connection, _, _):

        async def check(drawn: list[tuple[str | None, float, float | None]], prefix: str) -> None:
            rows = [(UUID(int=number), score, name) for number, (name, score, _) in enumerate(drawn)]
            earlier = [
                (UUID(int=number), NOW - CHANGE_DAYS * DAY, score)
                for number, (_, _, score) in enumerate(drawn)
                if score is not None
            ]
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.executemany(PATTERN, rows)
                await connection.executemany(EVENT, earlier)
                shown = await reader_of(connection).rollup(prefix)
            finally:
                await transaction.rollback()

            parts = defaultdict[str | None, list[tuple[float, float | None]]](list)
            for name, score, before in drawn:
                if not prefix or (name or "").startswith(prefix):
                    parts[part_of(name, prefix)].append((score, before))
            assert {row["part"]: row for row in shown["rows"]}.keys() == parts.keys()
            assert shown["parts"] == len(parts)
            for row in shown["rows"]:
                members = parts[row["part"]]
                assert row["patterns"] == len(members)
                assert row["mean"] == mean_of([score for score, _ in members])
                assert row["worst"] == min(score for score, _ in members)
                assert row["change"] == mean_of(
                    [score - before for score, before in members if before is not None]
                )
                assert sum(row["bands"].values()) == len(members)
                assert row["bands"].keys() == {str(band_of(score)) for score, _ in members}
            everything = [one for members in parts.values() for one in members]
            assert shown["patterns"] == len(everything)
            assert shown["mean"] == mean_of([score for score, _ in everything])

        @settings(max_examples=100, deadline=None)
        @given(patterns, st.just("") | texts)
        def examples(drawn: list[tuple[str | None, float, float | None]], prefix: str) -> None:
            run(check(drawn, prefix))

        examples()


def test_a_week_has_the_mean_of_the_latest_scores_at_its_end(migrated_database_url: str) -> None:
    with open_database(migrated_database_url, "SET timezone = 'UTC'") as (run, connection, _, _):

        async def check(drawn: list[tuple[int, int, float | None]]) -> None:
            transaction = connection.transaction()
            await transaction.start()
            try:
                known = {UUID(int=number) for number, _, _ in drawn}
                await connection.executemany(PATTERN, [(pattern, 0.5, None) for pattern in known])
                rows = [(UUID(int=number), NOW - ago * DAY, score) for number, ago, score in drawn]
                await connection.executemany(EVENT, rows)
                await connection.executemany(FAR, [(pattern,) for pattern in known])
                shown = await reader_of(connection).trend()
            finally:
                await transaction.rollback()

            weeks: list[dict[str, Any]] = []
            for number in range(26):
                week = (NOW - NOW.weekday() * DAY).date() - (25 - number) * 7 * DAY
                latest = dict[int, float | None]()
                for pattern, ago, score in sorted(drawn, key=lambda one: -one[1]):
                    if (NOW - ago * DAY).date() < week + 7 * DAY:
                        latest[pattern] = score
                scored = [score for score in latest.values() if score is not None]
                if scored:
                    weeks.append({"week": week, "patterns": len(scored), "mean": mean_of(scored)})
            assert shown["weeks"] == weeks

        @settings(max_examples=100, deadline=None)
        @given(events)
        def examples(drawn: list[tuple[int, int, float | None]]) -> None:
            run(check(drawn))

        examples()
