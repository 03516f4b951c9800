"""Runs the SQL file that lies beside a revision."""

from pathlib import Path

from alembic import op
from sqlalchemy import Connection


def run_sql(revision_file: str, suffix: str) -> None:
    """Run the file of the revision's own name, or print it in offline mode.

    Args:
        revision_file: the `__file__` of the revision.
        suffix: `.sql` on the way up, `.down.sql` on the way down.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement; nothing of the file remains.
    """
    sql = Path(revision_file).with_suffix(suffix).read_text(encoding="utf-8")
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(sql)
    else:
        run_driver_sql(op.get_bind(), sql)


def run_driver_sql(connection: Connection, sql: str) -> None:
    """Run several statements at once.

    SQLAlchemy would prepare them, which works for one statement only; the driver takes several.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement.
    """
    connection.connection.run_async(lambda driver: driver.execute(sql))
