"""Connections to PostgreSQL: only to a database that can hold what events hold."""

import configparser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from pattern_metrics.consumer.database_url import DatabaseUrl, parse_database_url
from pattern_metrics.consumer.faults.diagnosis import UnfitDatabaseError
from pattern_metrics.consumer.faults.driver import UnusableOptionsError

CONNECT_SECONDS_MAX: Final = 10
STATEMENT_SECONDS_MAX: Final = 45
"""A statement that takes longer is given up, with its connection: it may be half-open."""

Connection: TypeAlias = "asyncpg.Connection[Any]"

SERVER_SETTINGS: Final = {
    "application_name": "pattern-metrics",
    # The server gives up a little before the client does, so that no lock outlives a client that is gone.
    "statement_timeout": "40s",
    "idle_in_transaction_session_timeout": "30s",
    # A batch's rows are looked up by their index, however many the table has: the planner, which does not
    # know the stage's size, would read all of a table of 100,000 rows for each batch.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # It does not count a COPY whose client is gone: only the network can tell.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


async def connect(database_url: str, **options: Any) -> Connection:  # noqa: ANN401 - the driver's
    """Connect to a database whose encoding is UTF8.

    Args:
        database_url: as `parse_database_url` reads it.
        options: asyncpg's own.

    Raises:
        UnfitDatabaseError: the database was created with another encoding than UTF8.
        Exception: as `connect_to_any`.
    """
    connection = await connect_to_any(database_url, **options)
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":
        connection.terminate()
        raise UnfitDatabaseError(
            f"the database's encoding is {encoding}, and events hold any text: create one with UTF8"
        )
    return connection


async def connect_to_any(database_url: str, **options: Any) -> Connection:  # noqa: ANN401 - the driver's
    """Connect to a database of any encoding.

    Args:
        database_url: as `parse_database_url` reads it.
        options: asyncpg's own.

    Raises:
        InvalidDatabaseUrlError: the URL cannot be used.
        UnusableOptionsError: PG* variables, a service file or a password file cannot be used.
        asyncpg.PostgresError: PostgreSQL refused; the error does not repeat the URL's user.
        OSError: PostgreSQL is not reachable.
    """
    url = parse_database_url(database_url)
    try:
        connection: Connection = await asyncpg.connect(**url.driver_options(), **options)
    except asyncpg.PostgresError as error:
        _hide_user(error, url)
        raise error from None  # the cause may be the server's answer to a first attempt
    except (OSError, asyncpg.InterfaceError):
        raise
    except (ValueError, LookupError, TypeError, AttributeError, configparser.Error) as error:
        raise UnusableOptionsError(f"the driver failed with {type(error).__name__}") from None
    return connection


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[Connection]:
    """A connection of its own, for a command that does one thing; no statement is limited in time.

    Raises:
        UnfitDatabaseError: as `connecting.connect`.
        asyncpg.PostgresError: PostgreSQL refused.
        OSError: PostgreSQL is not reachable.
    """
    connection = await connect(
        database_url,
        timeout=CONNECT_SECONDS_MAX,
        server_settings={"application_name": SERVER_SETTINGS["application_name"]},
    )
    try:
        yield connection
    except BaseException:
        connection.terminate()
        raise
    await connection.close()


def _hide_user(error: asyncpg.PostgresError, url: DatabaseUrl) -> None:
    error.args = tuple(url.without_user(str(text)) for text in error.args)
    for name in ("message", "detail", "hint", "context"):
        text = getattr(error, name, None)
        if text is not None:
            setattr(error, name, url.without_user(text))
