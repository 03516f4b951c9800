"""Revision 014 verifies itself: it fails where it should, and leaves no trace if it succeeds."""

import asyncpg
import pytest

from pattern_metrics.consumer.operations.migration import migrate_up
from tests.migration.databases import (
    TWO_MEASUREMENTS,
    apply_by_hand,
    execute,
    fetch,
    make_elsewhere,
    measurements,
    stamp,
)

FORBID = """
    CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''read only''; END';
    CREATE TRIGGER forbid BEFORE {event} ON pattern_quality_metrics FOR EACH ROW EXECUTE FUNCTION forbid();
"""

SWALLOW = """
    CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER swallow BEFORE {event} ON pattern_quality_metrics FOR EACH ROW EXECUTE FUNCTION swallow();
"""

LATE_FOREIGN_KEY = """
    CREATE TABLE lineage (id uuid PRIMARY KEY);
    ALTER TABLE pattern_quality_metrics ADD FOREIGN KEY (pattern_id) REFERENCES lineage (id)
        DEFERRABLE INITIALLY DEFERRED;
"""


@pytest.mark.parametrize(
    ("obstacle", "expected"),
    [
        (FORBID.format(event="INSERT"), "an upsert by pattern_id does not work: read only"),
        (FORBID.format(event="UPDATE"), "an upsert by pattern_id does not work: read only"),
        (SWALLOW.format(event="INSERT"), "two upserts of one pattern left 0 rows"),
        (SWALLOW.format(event="UPDATE"), "two upserts of one pattern left 1 rows, with the score 0"),
        (LATE_FOREIGN_KEY, "an upsert by pattern_id does not work: .*violates foreign key"),
        (
            "ALTER TABLE pattern_quality_metrics ADD COLUMN owner text NOT NULL",
            'an upsert by pattern_id does not work: null value in column "owner"',
        ),
        (
            "ALTER TABLE pattern_quality_metrics ADD CONSTRAINT pattern_quality_metrics_pattern_id_unique "
            "UNIQUE (pattern_id) DEFERRABLE",
            "is not a valid, non-deferrable UNIQUE .pattern_id.",
        ),
        (
            "ALTER TABLE pattern_quality_metrics ADD CONSTRAINT pattern_quality_metrics_pattern_id_unique "
            "UNIQUE (pattern_id, version)",
            "is not a valid, non-deferrable UNIQUE .pattern_id.",
        ),
        (
            "ALTER TABLE pattern_quality_metrics ADD CONSTRAINT pattern_quality_metrics_pattern_id_unique "
            "CHECK (pattern_id IS NOT NULL)",
            "is not a valid, non-deferrable UNIQUE .pattern_id.",
        ),
    ],
    ids=[
        "insert forbidden",
        "update forbidden",
        "insert swallowed",
        "update swallowed",
        "late foreign key",
        "column not ours",
        "deferrable",
        "other columns",
        "other kind",
    ],
)
async def test_014_fails_where_an_upsert_would(any_database_url: str, obstacle: str, expected: str) -> None:
    await migrate_up(any_database_url, "013")
    await execute(any_database_url, obstacle)

    with pytest.raises(asyncpg.PostgresError, match=expected) as refused:
        await migrate_up(any_database_url)

    assert refused.value.hint
    assert await measurements(any_database_url) == []


async def test_a_failed_verification_keeps_the_database_at_the_revision_it_had(any_database_url: str) -> None:
    await migrate_up(any_database_url, "013")
    await execute(any_database_url, FORBID.format(event="UPDATE"))

    with pytest.raises(asyncpg.RaiseError, match="read only"):
        await migrate_up(any_database_url)
    assert await stamp(any_database_url) == ["013"]


async def test_the_upsert_that_verifies_leaves_no_trace(any_database_url: str) -> None:
    await make_elsewhere(any_database_url, "013")
    await execute(any_database_url, TWO_MEASUREMENTS)
    await execute(
        any_database_url,
        """
        CREATE TABLE audit (pattern_id uuid);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN INSERT INTO audit VALUES (NEW.pattern_id); RETURN NEW; END';
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON pattern_quality_metrics
            FOR EACH ROW EXECUTE FUNCTION note();
        """,
    )
    before = await measurements(any_database_url)

    for _ in range(2):
        output = await apply_by_hand(any_database_url, "014")
        assert (
            "verified: the constraint exists, no duplicate is left, an upsert by pattern_id works" in output
        )

    assert await measurements(any_database_url) == before
    assert await fetch(any_database_url, "TABLE audit") == []
