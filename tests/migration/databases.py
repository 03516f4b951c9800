"""Helpers of the migration tests: make databases, apply files, and read the catalog."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg

import pattern_metrics.migrations
from pattern_metrics.migrations.revisions import VERSION_TABLE
from tests.support.postgres import wheel_program

MIGRATIONS = Path(pattern_metrics.migrations.__file__).parent

# The table as other software made it, with its own name for the key to the lineage table.
MADE_ELSEWHERE = {
    "012": """
        CREATE TABLE pattern_lineage_nodes (id uuid PRIMARY KEY);
        CREATE TABLE pattern_quality_metrics (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            pattern_id uuid NOT NULL CONSTRAINT fk_of_another_name REFERENCES pattern_lineage_nodes (id),
            quality_score double precision NOT NULL CHECK (quality_score >= 0 AND quality_score <= 1),
            confidence double precision NOT NULL CHECK (confidence >= 0 AND confidence <= 1),
            measurement_timestamp timestamptz NOT NULL DEFAULT now(),
            version text DEFAULT '1.0.0',
            metadata jsonb DEFAULT '{}',
            created_at timestamptz DEFAULT now(),
            updated_at timestamptz DEFAULT now()
        );
    """,
    "013": "ALTER TABLE pattern_quality_metrics DROP CONSTRAINT fk_of_another_name;",
    "014": """
        ALTER TABLE pattern_quality_metrics
            ADD CONSTRAINT pattern_quality_metrics_pattern_id_unique UNIQUE (pattern_id);
    """,
}

# Two patterns, one of them measured with unusual values. The lineage table has them too, if there is one.
TWO_MEASUREMENTS = """
    INSERT INTO pattern_quality_metrics (pattern_id, quality_score, confidence, version, metadata, updated_at)
    VALUES
        ('00000000-0000-0000-0000-00000000000a', 0.25, 0.5, '2.0.0', '{"ü": [1, null]}', '2020-01-01Z'),
        ('00000000-0000-0000-0000-00000000000b', 1, 0, NULL, NULL, NULL);
"""

_CATALOG = {
    "columns": """
        SELECT attrelid::regclass::text AS relation, attname, attnotnull,
            format_type(atttypid, atttypmod) AS type, pg_get_expr(adbin, adrelid) AS value,
            col_description(attrelid, attnum) AS comment
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = ANY ($1::oid[]) AND attnum > 0 AND NOT attisdropped
        ORDER BY 1, attnum
    """,
    "constraints": """
        SELECT conrelid::regclass::text AS relation, conname, convalidated,
            pg_get_constraintdef(oid) AS definition
        FROM pg_constraint WHERE conrelid = ANY ($1::oid[]) ORDER BY 1, 2
    """,
    "indexes": """
        SELECT pg_get_indexdef(indexrelid) AS definition, indisvalid, indisreplident
        FROM pg_index WHERE indrelid = ANY ($1::oid[]) ORDER BY 1
    """,
    "views": """
        SELECT oid::regclass::text AS relation, pg_get_viewdef(oid) AS definition,
            obj_description(oid, 'pg_class') AS comment
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v' AND $1::oid[] IS NOT NULL
        ORDER BY 1
    """,
    "functions": """
        SELECT pg_get_functiondef(oid) AS definition, obj_description(oid, 'pg_proc') AS comment,
            has_function_privilege('public', oid, 'EXECUTE') AS everybody_may
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND $1::oid[] IS NOT NULL
        ORDER BY 1
    """,
    "tables": """
        SELECT oid::regclass::text AS relation, reloptions, relreplident::text AS replica_identity,
            obj_description(oid, 'pg_class') AS comment
        FROM pg_class WHERE oid = ANY ($1::oid[]) ORDER BY 1
    """,
}

Catalog = dict[str, list[dict[str, Any]]]

NO_SCHEMA: Catalog = {name: [] for name in _CATALOG}
"""The catalog of an empty database."""


def sql_file(revision: str, suffix: str = ".sql") -> Path:
    """Return the one SQL file of a revision."""
    stem = next(path.stem for path in (MIGRATIONS / "versions").glob(f"{revision}_*.py"))
    return MIGRATIONS / "versions" / f"{stem}{suffix}"


async def execute(url: str, sql: str) -> None:
    """Run statements."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def fetch(url: str, query: str, *args: Any) -> list[dict[str, Any]]:
    """Run a query."""
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(query, *args)]
    finally:
        await connection.close()


async def make_elsewhere(url: str, revision: str) -> None:
    """Bring an empty database to the state that other software would leave, without a stamp."""
    for step in [step for step in MADE_ELSEWHERE if step <= revision]:
        await execute(url, MADE_ELSEWHERE[step])
    if revision == "012":
        await execute(
            url,
            "INSERT INTO pattern_lineage_nodes VALUES "
            "('00000000-0000-0000-0000-00000000000a'), ('00000000-0000-0000-0000-00000000000b')",
        )


async def measurements(url: str, table: str = "pattern_quality_metrics") -> list[dict[str, Any]]:
    """Return the rows of the table, with the columns that it has from 012 on, as text."""
    return await fetch(
        url,
        "SELECT id::text, pattern_id::text, quality_score, confidence, measurement_timestamp::text, version, "
        f"metadata::text, created_at::text, updated_at::text FROM {table} ORDER BY id",
    )


async def catalog(url: str) -> Catalog:
    """Return the whole schema, except Alembic's own table, the lineage table and the duplicates."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND "
            "relname <> ALL ($1)",
            [VERSION_TABLE, "alembic_version", "pattern_lineage_nodes", "pattern_quality_metrics_duplicates"],
        )
        oids = [row["oid"] for row in tables]
        return {
            name: [dict(row) for row in await connection.fetch(query, oids)]
            for name, query in _CATALOG.items()
        }
    finally:
        await connection.close()


async def stamp(url: str) -> list[str]:
    """Return the content of the table of the revision."""
    return [row["version_num"] for row in await fetch(url, f"SELECT version_num FROM {VERSION_TABLE}")]


async def psql(url: str, file: Path, *options: str) -> tuple[int, str]:
    """Run a file with the wheel's psql. Return its exit status and its output."""
    program = wheel_program("psql")
    process = await asyncio.create_subprocess_exec(
        program, "--no-psqlrc", "--dbname", url, *options, "--file", file,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def apply_by_hand(url: str, revision: str) -> str:
    """Apply a revision's file as a DBA would. Return psql's output."""
    status, output = await psql(url, sql_file(revision), "-v", "ON_ERROR_STOP=1")
    assert status == 0, output
    return output
