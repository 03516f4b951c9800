"""The revisions, and what Alembic does with them."""

from io import StringIO
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FIRST_STATEMENTS: Final = (
    # Whoever migrates next waits here until we are done, and then finds nothing to do.
    "SELECT pg_advisory_xact_lock(hashtextextended('pattern-metrics migration', 0))",
    # The table may be here already, in a schema that is not the first of search_path: all that belongs to it
    # then goes beside it, and no second one is made.
    "SELECT set_config("
    "'search_path', concat_ws(', ', relnamespace::regnamespace, current_setting('search_path')), true) "
    "FROM pg_class WHERE oid = to_regclass('pattern_quality_metrics')",
    # A migration that waits for a busy table makes everybody behind it wait too: give up instead.
    "SET LOCAL lock_timeout = '60s'",
)
"""What a migration's transaction begins with."""

_DIRECTORY: Final = Path(__file__).parent


def _config(connection: Connection | None = None, output: StringIO | None = None) -> Config:
    config = Config(output_buffer=output, attributes={"connection": connection})
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    return config


REVISIONS: Final = tuple(
    script.revision for script in reversed(list(ScriptDirectory.from_config(_config()).walk_revisions()))
)
"""All revisions, the oldest first."""


def begin(connection: Connection) -> None:
    """Begin the transaction of a migration: from here on it is the only one.

    SQLAlchemy tells the server to begin at the first statement; the SQL files, which go past it, come later.
    """
    for statement in FIRST_STATEMENTS:
        connection.exec_driver_sql(statement)


def stamps(connection: Connection) -> tuple[str, ...]:
    """What the table `alembic_version` holds; nothing where there is none."""
    return MigrationContext.configure(connection).get_current_heads()


def recognise(connection: Connection) -> str | None:
    """The last revision whose work, and that of all before it, is done in this database, stamped or not."""
    query = (_DIRECTORY / "recognise_revision.sql").read_text(encoding="utf-8")
    revision: str | None = connection.exec_driver_sql(query).scalar()
    return revision


def upgrade(connection: Connection, revision: str) -> None:
    """Run the revisions up to this one, in the connection's transaction."""
    command.upgrade(_config(connection), revision)


def stamp(connection: Connection, revision: str) -> None:
    """Say where the database stands; `base` for nowhere."""
    command.stamp(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undo the revisions after this one, in the connection's transaction."""
    command.downgrade(_config(connection), revision)


def script() -> str:
    """All revisions as one script for psql, safe to repeat."""
    output = StringIO()
    command.upgrade(_config(output=output), "head", sql=True)
    return output.getvalue().replace(
        "CREATE TABLE alembic_version", "CREATE TABLE IF NOT EXISTS alembic_version"
    )
