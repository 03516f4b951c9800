"""Connections to PostgreSQL: only to a database that can hold what events hold."""

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
