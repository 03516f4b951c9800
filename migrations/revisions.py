"""The list of revisions, and the functions that run Alembic on them."""

from io import StringIO
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

FIRST_STATEMENTS: Final = (
    # The next migration waits here until this one is done, and then finds nothing to do.
    "SELECT pg_advisory_xact_lock(hashtextextended('pattern-metrics migration', 0))",
    # The table may exist already, in a schema that is not the first of search_path. Our other tables then
    # belong into its schema, and no second table is created.
    "SELECT set_config("
    "'search_path', concat_ws(', ', relnamespace::regnamespace, current_setting('search_path')), true) "
    "FROM pg_class WHERE oid = to_regclass('pattern_quality_metrics')",
    # A migration that waits for a busy table makes all later queries wait too: give up instead.
    "SET LOCAL lock_timeout = '60s'",
)
"""The first statements of a migration's transaction."""

VERSION_TABLE: Final = "pattern_metrics_alembic_version"
"""Table that holds the revision of the database, beside our tables. No other software uses this name."""

_DIRECTORY: Final = Path(__file__).parent

_SCHEMA: Final = """
    SELECT coalesce(
        (SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE pg_class.oid = to_regclass('pattern_quality_metrics')),
        current_schema())
"""

# Releases before 021 stored the revision in Alembic's usual table, which other software may share.
_HAS_FORMER_STAMPS: Final = """
    SELECT EXISTS (
        SELECT FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE attrelid = to_regclass('alembic_version') AND attname = 'version_num'
            AND has_table_privilege(attrelid, 'SELECT')
            AND relnamespace = (
                SELECT relnamespace FROM pg_class WHERE oid = to_regclass('pattern_quality_metrics'))
    )
"""


def _config(connection: Connection | None = None, output: StringIO | None = None) -> Config:
    config = Config(output_buffer=output, attributes={"connection": connection})
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    return config


REVISIONS: Final = tuple(
    script.revision for script in reversed(list(ScriptDirectory.from_config(_config()).walk_revisions()))
)
"""All revisions, the oldest first."""


def begin(connection: Connection) -> None:
    """Begin the transaction of a migration, which is the only one from here on.

    SQLAlchemy sends BEGIN with its first statement. The SQL files go to the driver directly, so they come
    later.
    """
    for statement in FIRST_STATEMENTS:
        connection.exec_driver_sql(statement)
    if not _has_place_of_stamp(connection) and (former := _former_stamps(connection)):
        stamp(connection, *former)


def place_of_stamp(connection: Connection) -> dict[str, Any]:
    """Return Alembic's options for the table that holds the revision: its name and its schema."""
    schema = connection.exec_driver_sql(_SCHEMA).scalar()
    return {"version_table": VERSION_TABLE, "version_table_schema": schema}


def stamps(connection: Connection) -> tuple[str, ...]:
    """Return the revisions that the database is stamped with; empty if it was never migrated."""
    if not _has_place_of_stamp(connection):
        return _former_stamps(connection)
    return MigrationContext.configure(connection, opts=place_of_stamp(connection)).get_current_heads()


def _has_place_of_stamp(connection: Connection) -> bool:
    schema = place_of_stamp(connection)["version_table_schema"]
    return inspect(connection).has_table(VERSION_TABLE, schema=schema)


def _former_stamps(connection: Connection) -> tuple[str, ...]:
    """Return the revision in `alembic_version` of an earlier release; empty if another program's is there."""
    if not connection.exec_driver_sql(_HAS_FORMER_STAMPS).scalar():
        return ()
    found = tuple(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars())
    return found if len(found) == 1 and found[0] in REVISIONS else ()


def recognise(connection: Connection) -> str | None:
    """Return the last revision that is fully applied with all before it, whatever the stamp says."""
    query = (_DIRECTORY / "recognise_revision.sql").read_text(encoding="utf-8")
    revision: str | None = connection.exec_driver_sql(query).scalar()
    return revision


def upgrade(connection: Connection, revision: str) -> None:
    """Run the revisions up to this one, in the connection's transaction.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement.
    """
    command.upgrade(_config(connection), revision)


def stamp(connection: Connection, revision: str) -> None:
    """Record the revision of the database; `base` for no revision."""
    command.stamp(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undo the revisions after this one, in the connection's transaction.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement.
    """
    command.downgrade(_config(connection), revision)


def rights() -> str:
    """Return the statements that create the roles and grant the rights that a database lacks."""
    return (_DIRECTORY / "grant_rights.sql").read_text(encoding="utf-8")


def script() -> str:
    """Return all revisions as one script for psql, safe to repeat."""
    output = StringIO()
    command.upgrade(_config(output=output), "head", sql=True)
    return output.getvalue().replace(
        f"CREATE TABLE {VERSION_TABLE}", f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE}"
    )
