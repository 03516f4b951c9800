"""The rules that exist both in Python and as a function of PostgreSQL give the same results."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pattern_metrics.schemas.bands import BANDS, band_of
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.migration.databases import fetch
from tests.properties.test_fold_equals_sql import open_database
from tests.support.events import FEW_IDS, FEW_PATTERNS, FEW_TIMES, timestamps

Place: TypeAlias = tuple[datetime, UUID | None]
"""A time of measurement and an event; None as others wrote it."""

SUPERSEDES = """
    SELECT pattern_metrics_supersedes(new_time, new_event, old_time, old_event)
    FROM unnest($1::timestamptz[], $2::uuid[], $3::timestamptz[], $4::uuid[])
        WITH ORDINALITY AS pair (new_time, new_event, old_time, old_event, number)
    ORDER BY number
"""
BAND = """
    SELECT pattern_quality_band(score)
    FROM unnest($1::double precision[]) WITH ORDINALITY AS one (score, number)
    ORDER BY number
"""

times = st.sampled_from(FEW_TIMES) | timestamps
event_ids = st.none() | st.sampled_from(FEW_IDS) | st.uuids()
places: st.SearchStrategy[Place] = st.tuples(times, event_ids)
pairs = (
    st.tuples(places, places)
    | st.tuples(times, event_ids, event_ids).map(lambda one: ((one[0], one[1]), (one[0], one[2])))
    | places.map(lambda one: (one, one))
)

EDGES = [math.nextafter(least, to) for least in (*BANDS.values(), 1.0) for to in (least, -math.inf, math.inf)]
NO_SCORES = [math.nan, math.inf, -math.inf, -0.0, -1.0, 2.0]
scores = st.sampled_from([*EDGES, *NO_SCORES]) | st.floats(0, 1) | st.floats()


def event_at(place: Place) -> PatternScored:
    """Return an event of this order. A null has the smallest id, like a row from before events had ids."""
    time, event_id = place
    return PatternScored(
        pattern_id=FEW_PATTERNS[0],
        event_id=event_id or FEW_IDS[0],
        quality_score=0.5,
        confidence=0.5,
        measurement_timestamp=time,
    )


def test_the_law_of_the_database_is_that_of_the_model(any_migrated_database_url: str) -> None:
    with open_database(any_migrated_database_url) as (run, connection, _, _):

        async def check(drawn: Sequence[tuple[Place, Place]]) -> None:
            columns = ([place[at] for place in side] for side in zip(*drawn, strict=True) for at in (0, 1))
            answers = [row[0] for row in await connection.fetch(SUPERSEDES, *columns)]
            assert answers == [event_at(new).supersedes(event_at(old)) for new, old in drawn]

        @settings(max_examples=200, deadline=None)
        @given(st.lists(pairs, min_size=1))
        def examples(drawn: Sequence[tuple[Place, Place]]) -> None:
            run(check(drawn))

        examples()


@pytest.mark.parametrize("time", [datetime(2, 1, 1, tzinfo=UTC), FEW_TIMES[0]])
async def test_a_time_that_is_null_is_before_every_other(
    any_migrated_database_url: str, time: datetime
) -> None:
    async def supersedes(new: datetime | None, old: datetime | None) -> Any:
        ids = [FEW_IDS[1]], [FEW_IDS[2]]
        [answer] = await fetch(any_migrated_database_url, SUPERSEDES, [new], ids[0], [old], ids[1])
        return answer["pattern_metrics_supersedes"]

    assert [await supersedes(time, None), await supersedes(None, time)] == [True, False]
    assert await supersedes(None, None) is False


def test_the_bands_of_the_database_are_those_of_the_scorer(any_migrated_database_url: str) -> None:
    with open_database(any_migrated_database_url) as (run, connection, _, _):

        async def check(drawn: Sequence[float]) -> None:
            answers = [row[0] for row in await connection.fetch(BAND, drawn)]
            assert answers == [band_of(score) for score in drawn]

        @settings(max_examples=200, deadline=None)
        @given(st.lists(scores, min_size=1))
        def examples(drawn: Sequence[float]) -> None:
            run(check(drawn))

        examples()
        run(check([*EDGES, *NO_SCORES]))
