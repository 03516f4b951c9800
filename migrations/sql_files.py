"""Runs the SQL file of a revision."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg
from alembic import op
from sqlalchemy import Connection

_DROP_PROCEDURES: Final = """
    DROP PROCEDURE IF EXISTS pattern_metrics_patiently(text), pattern_metrics_probe(text, text)
"""

_INCLUDE: Final = re.compile(r"^\\ir (\S+)$", flags=re.MULTILINE)
_PSQL_SETTING: Final = re.compile(r"^\\set .*$", flags=re.MULTILINE)

# A quoted text or a comment may contain characters that end a statement elsewhere.
_TOKEN: Final = re.compile(r"--[^\n]*|'[^']*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|(;|\\gexec)", flags=re.DOTALL)


def run_upwards(revision_file: str) -> None:
    """Run the `.sql` file of the revision, or print it in offline mode.

    Each statement is a transaction of its own, because an index cannot be built concurrently in a larger one.

    Args:
        revision_file: the `__file__` of the revision.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement. The work of the statements before it remains,
            and the file can be run again.
    """
    sql = read_sql(Path(revision_file).with_suffix(".sql"))
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(sql)
        return
    try:
        _run_each(op.get_bind(), statements(sql))
    except asyncpg.PostgresError:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # where the connection broke
            run_driver_sql(op.get_bind(), _DROP_PROCEDURES)
        raise


def _run_each(connection: Connection, found: Iterable[tuple[str, bool]]) -> None:
    for statement, has_commands in found:
        if has_commands:
            for command in connection.exec_driver_sql(statement).scalars().all():
                run_driver_sql(connection, command)
        else:
            run_driver_sql(connection, statement)


def run_downwards(revision_file: str) -> None:
    """Run the `.down.sql` file of the revision, all of it in the transaction that is open.

    Args:
        revision_file: the `__file__` of the revision.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement; nothing of the transaction remains.
    """
    run_driver_sql(op.get_bind(), read_sql(Path(revision_file).with_suffix(".down.sql")))


def read_sql(path: Path) -> str:
    r"""Return the text of an SQL file, with each file that it includes by `\ir` in the place of that line."""
    text = path.read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: read_sql(path.parent / found[1]), text)


def statements(sql: str) -> Iterator[tuple[str, bool]]:
    r"""Yield each statement, and whether it ends with `\gexec`: then its result is a list of commands to run.

    Args:
        sql: the text of one of our files. `\gexec` and `\set` are the only commands of psql in it.
    """
    sql = _PSQL_SETTING.sub("", sql)
    begin = 0
    for token in _TOKEN.finditer(sql):
        if token[2] is not None:
            yield sql[begin : token.start()], token[2] != ";"
            begin = token.end()


def run_driver_sql(connection: Connection, sql: str) -> None:
    """Run an SQL text of one or several statements.

    SQLAlchemy would prepare the text, which works for one statement only; the driver takes several.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement.
    """
    connection.connection.run_async(lambda driver: driver.execute(sql))
