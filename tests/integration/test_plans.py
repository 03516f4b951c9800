"""The functions of revision 020 cost nothing: the planner replaces each call by its expression."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg

from pattern_metrics.consumer.operations.migration import migrate_down
from pattern_metrics.consumer.postgres.connection import SERVER_SETTINGS
from tests.migration.databases import execute
from tests.quality.test_sql_files import CREATED_FIRST, FILES, text_of

Plan: TypeAlias = "dict[str, Any]"
Shape: TypeAlias = "tuple[str, ...]"

CALL = re.compile(r"(?<!')\b(pattern_metrics_supersedes|pattern_quality_band)\(")
"""A call; a quoted name does not count."""

CALLING = [
    path
    for path in FILES
    if path.stem not in CREATED_FIRST
    and re.search(rf"{CALL.pattern}|\bpattern_quality_current\b|\bFROM differences\b", text_of(path))
]
"""The statements that call a function, directly or through a view."""

LAW = re.compile(r"pattern_metrics_supersedes\(\s*([\w.]+), ([\w.]+), ([\w.]+), ([\w.]+)\s*\)")
BAND = re.compile(r"pattern_quality_band\(([\w.]+)\)")

ROWS = """
    INSERT INTO pattern_quality_metrics
        (pattern_id, event_id, quality_score, confidence, measurement_timestamp)
    SELECT md5(n::text)::uuid, md5('event' || n)::uuid, n / 20000.0, 1, now() - n * interval '1 second'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO pattern_quality_history
        (pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata)
    SELECT pattern_id, event_id, quality_score, confidence, measurement_timestamp, version, metadata
    FROM pattern_quality_metrics;
    ANALYZE pattern_quality_metrics, pattern_quality_history
"""

LATER = """
    ALTER TABLE pattern_quality_history ADD COLUMN reason text;
    CREATE TABLE pattern_quality_retired (
        pattern_id uuid CONSTRAINT pattern_quality_retired_pkey PRIMARY KEY, event_id uuid NOT NULL,
        retired_at timestamptz NOT NULL, reason text, retirement_metadata jsonb NOT NULL, last_event_id uuid,
        quality_score double precision, confidence double precision, measurement_timestamp timestamptz,
        version text, metadata jsonb, updated_at timestamptz NOT NULL DEFAULT now()
    )
"""
"""The additions of revision 023, in a database without the functions."""

RETIRED_PATTERNS: Shape = (
    " ModifyTable pattern_quality_retired",
    "  Nested Loop",
    "   CTE Scan",
    "   Index Scan pattern_quality_retired_pkey pattern_quality_retired",
)

WRITES: dict[str, Shape] = {
    "update_patterns": (
        "ModifyTable pattern_quality_metrics",
        " Nested Loop",
        "  Subquery Scan",
        "   Sort",
        "    Seq Scan pattern_metrics_stage",
        "  Index Scan pattern_quality_metrics_pattern_id_unique pattern_quality_metrics",
    ),
    "upsert_history": (
        "ModifyTable pattern_quality_history",
        " Subquery Scan",
        "  Sort",
        "   Nested Loop",
        "    Seq Scan pattern_metrics_stage",
        "    Index Scan pattern_quality_history_measurement_unique pattern_quality_history",
    ),
    "upsert_patterns": (
        "ModifyTable pattern_quality_metrics",
        " Seq Scan pattern_metrics_stage",
        *RETIRED_PATTERNS,
        *RETIRED_PATTERNS,
        " Subquery Scan",
        "  Sort",
        "   Nested Loop",
        "    Nested Loop",
        "     CTE Scan",
        "     Index Scan pattern_quality_retired_pkey pattern_quality_retired",
        "    Index Scan pattern_quality_metrics_pattern_id_unique pattern_quality_metrics",
    ),
}
"""The plans of the writes, as without the functions: each node below the node that reads its rows."""


def without_calls(sql: str) -> str:
    """Return the statement as it was in the release before revision 020."""
    sql = LAW.sub(r"((\1, \2) > (\3, \4)) IS NOT FALSE", sql)
    bands = "CASE WHEN {0} >= 0.9 THEN 'excellent' WHEN {0} >= 0.7 THEN 'good' WHEN {0} >= 0.5 THEN 'fair'"
    sql = BAND.sub(lambda call: f"{bands.format(call[1])} ELSE 'poor' END", sql)
    assert not CALL.search(sql)
    return sql


def shape(node: Plan, depth: int = 0) -> Shape:
    """Return the nodes of a plan with their indexes and tables, without costs and expressions."""
    names = [node[key] for key in ("Node Type", "Index Name", "Relation Name") if key in node]
    below = [line for child in node.get("Plans", ()) for line in shape(child, depth + 1)]
    return (" " * depth + " ".join(names), *below)


async def plan_of(url: str, path: Path, rewrite: Callable[[str], str]) -> Plan:
    """Return the generic plan of a statement, on a connection like those that run it."""
    settings: Mapping[str, str] = SERVER_SETTINGS if path.stem in WRITES else {}
    connection = await asyncpg.connect(url, server_settings=dict(settings))
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        before = "create_shadow" if "difference" in path.stem else "create_stage"
        [created] = [text_of(one) for one in FILES if one.stem == before]
        await connection.execute(rewrite(created))
        sql = rewrite(text_of(path))
        await connection.execute(f"PREPARE planned AS {sql}")
        nulls = ["NULL"] * max((int(number) for number in re.findall(r"\$(\d+)", sql)), default=0)
        arguments = f"({', '.join(nulls)})" if nulls else ""
        [explained] = json.loads(
            await connection.fetchval(f"EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE planned{arguments}")
        )
        plan: Plan = explained["Plan"]
        return plan
    finally:
        await connection.close()


async def test_the_planner_inlines_every_call_and_plans_as_it_did_without(
    any_migrated_database_url: str,
) -> None:
    url = any_migrated_database_url
    connection = await asyncpg.connect(url)
    await connection.execute(ROWS)
    await connection.close()

    plans = {path.stem: await plan_of(url, path, lambda sql: sql) for path in CALLING}
    await migrate_down(url, "019")
    await execute(url, LATER)
    before = {path.stem: await plan_of(url, path, without_calls) for path in CALLING}

    assert [name for name, plan in plans.items() if CALL.search(json.dumps(plan))] == []
    shapes = {name: shape(plan) for name, plan in plans.items()}
    assert shapes == {name: shape(plan) for name, plan in before.items()}
    assert {name: shapes[name] for name in WRITES} == WRITES


async def test_the_statements_of_the_release_before_still_prepare(any_migrated_database_url: str) -> None:
    for path in CALLING:
        await plan_of(any_migrated_database_url, path, without_calls)
