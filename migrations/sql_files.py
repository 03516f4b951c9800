"""Runs the SQL file beside a revision."""

from pathlib import Path

from alembic import op
from sqlalchemy import Connection


def run_sql(revision_file: str, suffix: str) -> None:
    """Run the SQL file named like the revision, or print it in offline mode.

    Args:
        revision_file: the `__file__` of the revision.
        suffix: `.sql` for an upgrade, `.down.sql` for a downgrade.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement; none of the file's statements took effect.
    """
    sql = Path(revision_file).with_suffix(suffix).read_text(encoding="utf-8")
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(sql)
    else:
        run_driver_sql(op.get_bind(), sql)


def run_driver_sql(connection: Connection, sql: str) -> None:
    """Run several statements at once.

    SQLAlchemy would prepare the text, which works for a single statement only. The driver takes several.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement.
    """
    connection.connection.run_async(lambda driver: driver.execute(sql))
