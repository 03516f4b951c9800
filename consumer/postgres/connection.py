"""Connects to PostgreSQL, for all callers: the worker, `consume --check`, every command and the page."""

import configparser
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeAlias

import asyncpg

from pattern_metrics.consumer.faults.diagnosis import Fault, UnfitDatabaseError, diagnose, is_outage
from pattern_metrics.consumer.faults.driver import (
    RefusedLoginError,
    RefusedSessionError,
    UnusableOptionsError,
)
from pattern_metrics.consumer.postgres.sql import statement
from pattern_metrics.consumer.postgres.tls import read_files
from pattern_metrics.schemas.settings.database_url import DatabaseUrl, effective_database_url

_OF_POOLERS: Final = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)

CONNECT_SECONDS_MAX: Final = 10
STATEMENT_SECONDS_MAX: Final = 45
"""A statement that takes longer is given up together with its connection, which may be half-open."""

APPLICATION_NAME: Final = "pattern-metrics"

Connection: TypeAlias = "asyncpg.Connection[Any]"

Fetch: TypeAlias = Callable[..., Awaitable[Sequence[Any]]]
"""Runs a statement with its arguments."""

SERVER_SETTINGS: Final = {
    # The server gives up a little before the client does, so that no lock outlives a client that is gone.
    "statement_timeout": "40s",
    "idle_in_transaction_session_timeout": "30s",
    # Rows of a batch are found by their index, whatever the size of the table. The planner does not know the
    # size of the stage, and would read the whole of a table of 100,000 rows for each batch.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # The server's limits do not apply to a COPY whose client has gone. Only the network can notice that.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""The settings of a connection that writes batches."""

TIMES_AS_TEXT: Final = {"timezone": "UTC", "datestyle": "ISO"}
"""The settings that `read_any_time` needs."""

_OUR_SETTINGS: Final = {
    "application_name": APPLICATION_NAME,
    # The copied bytes and the statements are UTF-8, whatever the role, the database or a pooler has set.
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    # A stricter level, which the statements do not need, refuses a batch if another writer was active.
    "default_transaction_isolation": "read committed",
}


async def connect(
    database_url: str,
    settings: Mapping[str, str] | None = None,
    *,
    command_timeout: float | None = None,
) -> Connection:
    """Connect to a database whose encoding is UTF8.

    Args:
        database_url: as in DATABASE_URL.
        settings: see `connect_to_any`.
        command_timeout: see `connect_to_any`.

    Raises:
        UnfitDatabaseError: the database was created with another encoding than UTF8.
        Exception: see `connect_to_any`.
    """
    connection = await connect_to_any(database_url, settings, command_timeout=command_timeout)
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":
        connection.terminate()
        raise UnfitDatabaseError(
            f"the database's encoding is {encoding}, and events hold any text: create a database with UTF8"
        )
    return connection


async def connect_to_any(
    database_url: str,
    settings: Mapping[str, str] | None = None,
    *,
    command_timeout: float | None = None,
) -> Connection:
    """Connect to a database of any encoding.

    Error messages do not repeat the login of the URL. A note of the error names the hosts.

    Args:
        database_url: as in DATABASE_URL.
        settings: server settings for this session. They are set after the login, like those of the URL,
            because a pooler refuses most settings in the login.
        command_timeout: seconds that a statement may take; None for any time.

    Raises:
        InvalidDatabaseUrlError: the URL cannot be used.
        SettingFileError: a file of a certificate, a key or a password cannot be used.
        UnusableOptionsError: PG* variables, a service file or a password file cannot be used.
        RefusedLoginError: a pooler refused the login.
        RefusedSessionError: PostgreSQL refused a setting of the session, such as a role that does not exist.
        asyncpg.PostgresError: PostgreSQL refused the login or a setting.
        OSError: PostgreSQL cannot be reached, or did not answer in time.
    """
    url = effective_database_url(database_url)
    context = read_files(url)
    try:
        connection: Connection = await asyncpg.connect(
            **url.driver_options(),
            ssl=context,
            server_settings={"application_name": APPLICATION_NAME},
            timeout=CONNECT_SECONDS_MAX,
            command_timeout=command_timeout,
        )
        try:
            await _set(connection, {**url.settings, **_OUR_SETTINGS, **(settings or {})})
        except asyncpg.PostgresError as error:
            connection.terminate()
            is_refusal = not is_outage(error) and not isinstance(error, _OF_POOLERS)
            raise RefusedSessionError(*error.args) if is_refusal else error from None
        except BaseException:
            connection.terminate()
            raise
    except asyncpg.PostgresError as error:
        raise _refusal(error, url) from None  # the cause may be the server's answer to a first attempt
    except (OSError, asyncpg.InterfaceError) as error:
        error.add_note(f"PostgreSQL at {url.places}")
        raise
    except (ValueError, LookupError, TypeError, AttributeError, configparser.Error) as error:
        raise UnusableOptionsError(f"the driver failed with {type(error).__name__}") from None
    return connection


@asynccontextmanager
async def connected(
    database_url: str, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Connection]:
    """Open a connection for a command that runs once. Statements have no time limit.

    The connection returns times as `read_any_time` describes.

    Raises:
        Exception: see `connect`.
    """
    connection = await connect(database_url, {**TIMES_AS_TEXT, **(settings or {})})
    try:
        await read_any_time(connection)
        yield connection
    except BaseException:
        connection.terminate()
        raise
    await connection.close()


async def read_any_time(connection: Connection) -> None:
    """Make a connection with `TIMES_AS_TEXT` return times that Python cannot hold as PostgreSQL's text.

    Such times are infinity, times before Christ, and times after the year 9999. Other programs can write them
    into the table. All other times are returned as `datetime`.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused a statement.
        asyncpg.InterfaceError: the connection broke.
    """
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=str, decoder=_time_or_text, format="text"
    )


def _time_or_text(text: str) -> datetime | str:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


async def _set(connection: Connection, settings: Mapping[str, str]) -> None:
    names, values = list(settings), list(settings.values())
    await connection.execute(statement("set_settings"), names, values, timeout=CONNECT_SECONDS_MAX)


def _refusal(error: asyncpg.PostgresError, url: DatabaseUrl) -> asyncpg.PostgresError:
    """Return the error without the login, and with the hosts."""
    if isinstance(error, asyncpg.ProtocolViolationError):
        error = RefusedLoginError(*error.args)
    elif diagnose(error).fault is Fault.RECORD:
        error = RefusedSessionError(*error.args)
    error.args = tuple(url.without_login(str(text)) for text in error.args)
    for name in ("message", "detail", "hint", "context"):
        text = getattr(error, name, None)
        if text is not None:
            setattr(error, name, url.without_login(text))
    error.add_note(f"PostgreSQL at {url.places}")
    return error
