"""The list of revisions, and the functions that run Alembic on them."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from pattern_metrics.migrations.sql_files import read_sql, run_driver_sql

FIRST_STATEMENTS: Final = (
    # The next migration waits here until this session ends, and then finds nothing to do. It waits in short
    # transactions, because the build of an index waits for every transaction that is older.
    "DO $$ BEGIN WHILE NOT pg_try_advisory_lock(hashtextextended('pattern-metrics migration', 0)) LOOP "
    "COMMIT; PERFORM pg_sleep(0.1); END LOOP; END $$",
    # The table may exist already, in a schema that is not the first of search_path. Our other tables then
    # belong into its schema, and no second table is created.
    "SELECT set_config("
    "'search_path', concat_ws(', ', relnamespace::regnamespace, current_setting('search_path')), false) "
    "FROM pg_class WHERE oid = to_regclass('pattern_quality_metrics')",
    # The limit for waits that block no other session. patiently.sql sets a shorter limit for all other waits.
    "SET lock_timeout = '60s'",
    # The build of an index may take longer than the statements of an application.
    "SET statement_timeout = 0",
)
"""The first statements of a migration's session."""

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


_HAS_TABLE: Final = "SELECT to_regclass('{}')"

_IS_EARLIER_TOPIC: Final = """
    EXISTS (
        SELECT FROM ingest_progress AS other
        WHERE (other.consumer_group, other.topic, other.partition)
                = (ingest_progress.consumer_group, ingest_progress.topic, ingest_progress.partition)
            AND (other.updated_at, other.ctid) > (ingest_progress.updated_at, ingest_progress.ctid)
    )
"""

_LOSSES: Final = (
    (
        "022",
        "{:,} recorded gaps of another topic of the same name",
        "ingest_gaps",
        "EXISTS (SELECT FROM ingest_gaps AS other "
        "WHERE (other.consumer_group, other.topic, other.partition, other.first_offset) = (ingest_gaps."
        "consumer_group, ingest_gaps.topic, ingest_gaps.partition, ingest_gaps.first_offset) "
        "AND (ingest_gaps.last_offset, ingest_gaps.ctid) < (other.last_offset, other.ctid))",
    ),
    (
        "022",
        "the progress of {:,} partitions of an earlier topic of the same name",
        "ingest_progress",
        _IS_EARLIER_TOPIC,
    ),
    ("022", "the reasons of {:,} recorded gaps", "ingest_gaps", "reason <> 'retention'"),
    (
        "016",
        "the status of {:,} dead letters, which count as open again",
        "dead_letters",
        "status <> 'open'",
    ),
    ("015", "{:,} dead letters", "dead_letters", "true"),
    ("015", "{:,} recorded gaps", "ingest_gaps", "true"),
    ("015", "the progress of {:,} partitions", "ingest_progress", "true"),
    (
        "015",
        "the ids of the events of {:,} measurements, which stay",
        "pattern_quality_metrics",
        "event_id <> '00000000-0000-0000-0000-000000000000'",
    ),
)
"""Rows that the `.down.sql` file of a revision deletes: the revision, a phrase, a table and a condition.

The files of 012 and 017 refuse to delete measurements, and the duplicates that 014 moved stay.
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
    """Begin the session of a migration, which is the only one until the connection ends."""
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
    """Run the revisions up to this one, each statement in a transaction of its own.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement. The statements before it took effect.
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


def losses(connection: Connection, undone: Sequence[str]) -> tuple[str, ...]:
    """Return what is deleted when these revisions are undone: a phrase with a count for each kind of rows."""
    found = list[str]()
    for revision, phrase, table, condition in _LOSSES:
        if revision not in undone or connection.exec_driver_sql(_HAS_TABLE.format(table)).scalar() is None:
            continue
        count = connection.exec_driver_sql(f"SELECT count(*) FROM {table} WHERE {condition}").scalar_one()  # noqa: S608 - constants
        if count:
            found.append(phrase.format(count))
    return tuple(found)


def rights() -> str:
    """Return the statements that create the roles and grant the rights that a database lacks."""
    return (_DIRECTORY / "grant_rights.sql").read_text(encoding="utf-8")


def refuse_unfit(connection: Connection) -> None:
    """Refuse tables of our names that do not fit, before anything is written.

    Raises:
        asyncpg.InvalidTableDefinitionError: the columns of a table do not fit.
        asyncpg.WrongObjectTypeError: the table of the measurements is partitioned, or a view.
    """
    run_driver_sql(connection, read_sql(_DIRECTORY / "refuse_unfit.sql"))


def script() -> str:
    """Return all revisions as one script for psql, safe to repeat."""
    output = StringIO()
    command.upgrade(_config(output=output), "head", sql=True)
    return output.getvalue().replace(
        f"CREATE TABLE {VERSION_TABLE}", f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE}"
    )
