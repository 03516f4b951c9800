"""Connections to PostgreSQL: only to a database that can hold what events hold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from pattern_metrics.consumer.faults.diagnosis import UnfitDatabaseError

CONNECT_SECONDS_MAX: Final = 10
STATEMENT_SECONDS_MAX: Final = 45
"""A statement that takes longer is given up, with its connection: it may be half-open."""

Connection: TypeAlias = "asyncpg.Connection[Any]"


async def connect(database_url: str, **options: Any) -> Connection:  # noqa: ANN401 - the driver's
    """Connect.

    Args:
        database_url: any DSN that asyncpg knows.
        options: asyncpg's own.

    Raises:
        UnfitDatabaseError: it was created with another encoding than UTF8.
        asyncpg.PostgresError: PostgreSQL refused.
        OSError: PostgreSQL is not reachable.
    """
    connection: Connection = await asyncpg.connect(database_url, **options)
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":
        connection.terminate()
        raise UnfitDatabaseError(
            f"the database's encoding is {encoding}, and events hold any text: create one with UTF8"
        )
    return connection


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
