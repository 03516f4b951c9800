"""The page of tables, views, functions and roles, from the catalog of a migrated database."""

import asyncio
from typing import Any, Final

from pattern_metrics.consumer.demo.embedded import PostgresServer
from pattern_metrics.consumer.operations.migration import migrate_up
from tests.migration.databases import fetch
from tests.reference.text import code, fenced, item, page, paragraphs, wrapped

DESCRIPTIONS: Final = {
    "id": "An id of the row. Nothing refers to it.",
    "pattern_id": "The pattern that was measured.",
    "quality_score": "The score, 0 to 1.",
    "confidence": "The scorer's confidence in the score, 0 to 1.",
    "measurement_timestamp": "The time of the measurement.",
    "version": "The version of the scorer.",
    "metadata": "The event's metadata: dimensions, a name, anything.",
    "created_at": "The time at which the row was first written.",
    "updated_at": "The time at which the row was last written.",
    "event_id": "The event that the row holds.",
    "name": "The member `name` of the metadata.",
    "band": "The band of the score: excellent, good, fair or poor.",
    "completeness": "A dimension of the score, from the metadata; null if the scorer wrote none.",
    "documentation": "A dimension of the score, as above.",
    "compliance": "A dimension of the score, as above.",
    "metadata_richness": "A dimension of the score, as above.",
    "complexity": "A dimension of the score, as above.",
    "is_retirement": "Whether the event is a retirement, which has no score.",
    "reason": "Why the pattern was retired.",
    "quality_change": "The score minus the score of the measurement before.",
    "previous_quality_score": "The score of the measurement before.",
    "previous_measurement_timestamp": "The time of the measurement before.",
    "version_num": "The revision.",
    "pattern_metrics_alembic_version": "The revision that the database was migrated to.",
    "pattern_metrics_reader": """
        For `export`, `status` and dashboards. It may select from all tables and views.""",
    "pattern_metrics_worker": """
        For `consume`, `replay`, `backfill`, `verify`, `dead-letters`, `history prune` and `retired prune`. It
        may also write, but not alter a table.""",
}
"""Descriptions by name, for objects without a comment in the database."""

_ROLES: Final = ("pattern_metrics_reader", "pattern_metrics_worker")

_INTRODUCTION: Final = """
`pattern-metrics migrate up` creates everything on this page. Readers select from `pattern_quality_current`. A
database that had several rows per pattern also gets the table `pattern_quality_metrics_duplicates`, which
holds the rows that revision 014 removed.
"""

_ROLES_INTRODUCTION: Final = """
`pattern-metrics migrate up` creates two roles without a login, and grants the rights that they lack, each
time that it runs. To give a login these rights, make it a member: `GRANT pattern_metrics_reader TO somebody`.
Each role may use the schema and execute the functions.
"""

_RELATIONS: Final = """
    SELECT oid, relname AS name, relkind = 'v' AS is_view, obj_description(oid, 'pg_class') AS comment
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
    ORDER BY relkind, relname
"""

_COLUMNS: Final = """
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS is_required,
        pg_get_expr(adbin, adrelid) AS value, col_description(attrelid, attnum) AS comment
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""

_CONSTRAINTS: Final = """
    SELECT conname AS name, pg_get_constraintdef(oid, true) AS definition
    FROM pg_constraint WHERE conrelid = $1 AND contype IN ('p', 'u', 'f', 'c', 'x')
    UNION ALL
    SELECT relname, pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = $1 AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
    ORDER BY 1
"""

_RIGHTS: Final = """
    SELECT grantee::regrole::text AS role, string_agg(privilege_type, ', ' ORDER BY privilege_type) AS rights
    FROM pg_class, aclexplode(relacl)
    WHERE pg_class.oid = $1 AND grantee::regrole::text = ANY ($2)
    GROUP BY grantee ORDER BY 1
"""

_FUNCTIONS: Final = """
    SELECT proname AS name, obj_description(oid, 'pg_proc') AS comment,
        format('%s(%s) RETURNS %s', proname, pg_get_function_arguments(oid), pg_get_function_result(oid))
            AS call
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1
"""


async def tables_page(url: str) -> str:
    """Return each relation with its columns, keys and rights, and the functions and roles.

    Args:
        url: a database that `migrate_up` has migrated.
    """
    blocks = [*paragraphs(_INTRODUCTION)]
    for relation in await fetch(url, _RELATIONS):
        oid, kind = relation["oid"], "View" if relation["is_view"] else "Table"
        blocks += [f"## {kind} `{relation['name']}`", *paragraphs(_description(relation))]
        blocks += ["\n".join(_column(column) for column in await fetch(url, _COLUMNS, oid))]
        if constraints := await fetch(url, _CONSTRAINTS, oid):
            blocks += ["Keys and checks:"]
            blocks += ["\n".join(f"- `{one['name']}`: `{one['definition']}`" for one in constraints)]
        rights = [f"`{one['role']}` may {one['rights']}" for one in await fetch(url, _RIGHTS, oid, _ROLES)]
        blocks += [wrapped(f"{'; '.join(rights)}.")]
    for function in await fetch(url, _FUNCTIONS):
        blocks += [f"## Function `{function['name']}`", fenced(function["call"])]
        blocks += paragraphs(function["comment"])
    blocks += ["## Roles", *paragraphs(_ROLES_INTRODUCTION)]
    blocks += ["\n".join(item(role, DESCRIPTIONS[role]) for role in _ROLES)]
    source = "the comments in migrations and tests/reference/tables.py"
    return page("Tables, views, functions and roles", source, blocks)


def _description(named: dict[str, Any]) -> str:
    return named["comment"] or DESCRIPTIONS[named["name"]]


def _column(column: dict[str, Any]) -> str:
    parts = [column["type"], *(["not null"] if column["is_required"] else [])]
    if column["value"] is not None:
        parts.append(f"default `{column['value']}`")
    return wrapped(f"- `{column['name']}` ({', '.join(parts)}): {code(_description(column))}", "  ")


def generated_tables_page() -> str:
    """Return the page of a database that is created and migrated for it."""

    async def migrate_and_read(url: str) -> str:
        await migrate_up(url)
        return await tables_page(url)

    with PostgresServer() as server:
        return asyncio.run(migrate_and_read(server.dsn()))
