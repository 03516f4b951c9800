"""Migrates the database's schema up and down, and reports its revision."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from pattern_metrics.consumer.faults.diagnosis import UnfitDatabaseError
from pattern_metrics.consumer.postgres import connection as connecting
from pattern_metrics.migrations import revisions
from pattern_metrics.migrations.revisions import REVISIONS
from pattern_metrics.migrations.sql_files import run_driver_sql

logger = structlog.get_logger()

HEAD_REVISION: Final = REVISIONS[-1]
"""The revision that this release works with."""

_ATTEMPTS: Final = 120
"""Attempts to lock the tables for a downgrade: some 60 seconds."""

_Result = TypeVar("_Result")


class MigrationError(UnfitDatabaseError):
    """The database or the request does not fit the known revisions. The message says what to do."""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """The revision of a database.

    Attributes:
        current: the revision that it is stamped with; None without a stamp.
        recognised: without a stamp, the last revision whose work is done already; None if there is none.
        head: the newest revision.
        pending: the revisions that `migrate_up` would run, in order. On a database without a stamp these are
            all revisions, because each leaves unchanged what exists already.
    """

    current: str | None
    recognised: str | None
    head: str
    pending: tuple[str, ...]

    @property
    def up_to_date(self) -> bool:
        """True if `migrate_up` has nothing to do."""
        return not self.pending

    def __str__(self) -> str:
        unstamped = f"no stamp, as of {self.recognised}" if self.recognised else "no stamp, and no table"
        where = f"at {self.current}" if self.current else unstamped
        pending = f"pending: {', '.join(self.pending)}" if self.pending else "nothing is pending"
        return f"{where}; {pending}"


async def migrate_up(database_url: str, revision: str = "head") -> tuple[str, ...]:
    """Bring a database to a revision. A database at a later revision stays as it is.

    A database that has the table from elsewhere and no stamp is taken over. A database that lost a table, the
    constraint, a role or a right gets it back. Readers and writers may run meanwhile. If several callers
    migrate at once, one migrates, and the others wait and find nothing to do. A call after a failed or
    interrupted one continues from there, with the same result.

    Args:
        database_url: as in DATABASE_URL.
        revision: one of `REVISIONS`, or `head`.

    Returns:
        The revisions that were run, in order.

    Raises:
        MigrationError: there is no such revision, or the stamp is unknown.
        asyncpg.PostgresError: PostgreSQL refused (55P03: a table was busy for a minute). The revisions before
            that one are done.
        OSError: PostgreSQL cannot be reached (`asyncpg.InterfaceError` if the connection broke).
    """
    _position(revision, "head")

    def work(connection: Connection) -> tuple[str, ...]:
        stamped = _begin(connection)
        before = _done_position(connection)
        revisions.refuse_unfit(connection)
        if before < stamped:
            revisions.stamp(connection, REVISIONS[before - 1] if before else "base")
        revisions.upgrade(connection, revision)
        run_driver_sql(connection, revisions.rights())
        return REVISIONS[before : _stamped_position(connection)]

    return await _in_session(database_url, work)


async def migrate_down(database_url: str, revision: str) -> tuple[str, ...]:
    """Take a database back to an earlier revision, in one transaction.

    Args:
        database_url: as in DATABASE_URL.
        revision: one of `REVISIONS`, or `base` for none.

    Returns:
        The revisions that were undone, in the order of undoing.

    Raises:
        MigrationError: there is no such revision, the stamp is unknown, or the database is at an earlier
            revision.
        asyncpg.PostgresError: PostgreSQL refused; nothing was changed.
        OSError: PostgreSQL cannot be reached (`asyncpg.InterfaceError` if the connection broke).
    """
    after = _position(revision, "base")

    def work(connection: Connection) -> tuple[str, ...]:
        before = _begin(connection)
        if before < after:
            raise MigrationError(
                f"the database is not stamped with {revision} or later: run migrate up first"
            )
        _patiently(connection, lambda: revisions.downgrade(connection, revision))
        return REVISIONS[after:before][::-1]

    return await _in_session(database_url, work)


async def losses_of_migrate_down(database_url: str, revision: str) -> tuple[str, ...]:
    """Return what `migrate_down` to this revision would delete: a phrase with a count for each kind.

    Raises:
        Exception: see `migrate_down`.
    """
    after = _position(revision, "base")

    def work(connection: Connection) -> tuple[str, ...]:
        return revisions.losses(connection, REVISIONS[after : _stamped_position(connection)])

    return await _in_session(database_url, work)


async def migration_status(database_url: str) -> MigrationStatus:
    """Return the revision of a database. Changes nothing.

    Raises:
        MigrationError: the stamp is unknown.
        asyncpg.PostgresError: PostgreSQL refused.
        OSError: PostgreSQL cannot be reached (`asyncpg.InterfaceError` if the connection broke).
    """

    def work(connection: Connection) -> MigrationStatus:
        position = _stamped_position(connection)
        return MigrationStatus(
            current=REVISIONS[position - 1] if position else None,
            recognised=None if position else revisions.recognise(connection),
            head=HEAD_REVISION,
            pending=REVISIONS[_done_position(connection) :],
        )

    return await _in_session(database_url, work)


def migration_sql() -> str:
    """Return the script that brings any database to the newest revision, to review and run with psql.

    It runs all revisions on any database: empty or not, stamped or not. It is safe to repeat.
    """
    return revisions.script()


def _position(revision: str, end: str) -> int:
    if revision == end:
        return len(REVISIONS) if end == "head" else 0
    if revision not in REVISIONS:
        raise MigrationError(f"there is no revision {revision!r}: choose {', '.join(REVISIONS)} or {end}")
    return REVISIONS.index(revision) + 1


def _begin(connection: Connection) -> int:
    revisions.begin(connection)
    return _stamped_position(connection)


def _stamped_position(connection: Connection) -> int:
    """Return the number of revisions that the database has, by its stamp."""
    stamps = revisions.stamps(connection)
    if not stamps:
        return 0
    if len(stamps) > 1 or stamps[0] not in REVISIONS:
        raise MigrationError(
            f"the table {revisions.VERSION_TABLE} holds {', '.join(stamps)}, which this release does not "
            "know: use the release that made it"
        )
    return REVISIONS.index(stamps[0]) + 1


def _done_position(connection: Connection) -> int:
    """Return the number of revisions that are done: at most the stamp's, fewer if something was dropped.

    A foreign key on `pattern_id`, by which 012 is recognised, may be the operator's own. It stays.
    """
    stamped, recognised = _stamped_position(connection), revisions.recognise(connection)
    if not stamped or recognised == REVISIONS[0]:
        return stamped
    return min(stamped, 0 if recognised is None else REVISIONS.index(recognised) + 1)


def _patiently(connection: Connection, work: Callable[[], None]) -> None:
    """Do work in one transaction, as migrations/patiently.sql does, so that other queries hardly wait."""
    for attempt in range(1, _ATTEMPTS + 1):
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '200ms'")
        try:
            work()
        except asyncpg.LockNotAvailableError:
            connection.exec_driver_sql("ROLLBACK")
            if attempt == _ATTEMPTS:
                raise
            connection.exec_driver_sql("SELECT pg_sleep(0.3)")
        else:
            connection.exec_driver_sql("COMMIT")
            return


async def _in_session(database_url: str, work: Callable[[Connection], _Result]) -> _Result:
    async def connect() -> "asyncpg.Connection[Any]":
        try:
            connection = await connecting.connect(database_url)
        except UnfitDatabaseError as error:
            raise MigrationError(str(error)) from None
        connection.add_log_listener(_log_notice)
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    except DBAPIError as error:
        raise error.driver_exception from None


def _log_notice(_: object, notice: asyncpg.PostgresLogMessage) -> None:
    level = logging.WARNING if notice.severity == "WARNING" else logging.INFO
    logger.log(level, "migration_notice", message=notice.message)
