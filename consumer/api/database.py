"""The page's access to the database: few connections and short statements that do not slow down a writer."""

import asyncio
from typing import Final

import asyncpg

from pattern_metrics.consumer.postgres.connection import (
    TIMES_AS_TEXT,
    Connection,
    connect_to_any,
    read_any_time,
)
from pattern_metrics.schemas.settings.timing import TIMING, Timing

READER_CONNECTIONS_MAX: Final = 2
ANSWER_SECONDS_MAX: Final = 4.0
"""Longest time of one statement, with the wait for a connection."""

_SERVER_SETTINGS: Final = {
    "application_name": "pattern-metrics page",
    "default_transaction_read_only": "on",
    "statement_timeout": "2s",
    "lock_timeout": "500ms",
    "idle_in_transaction_session_timeout": "5s",
    "max_parallel_workers_per_gather": "0",  # the CPU belongs to the writer
    "jit": "off",
    **TIMES_AS_TEXT,
}


class Database:
    """Runs statements that only read, each by itself.

    Args:
        database_url: as in DATABASE_URL.
        timing: an unused connection is closed after `page_idle`.
    """

    def __init__(self, database_url: str, timing: Timing = TIMING) -> None:
        self._database_url = database_url
        self._idle_seconds_max = timing.page_idle
        self._idle: list[tuple[Connection, asyncio.TimerHandle]] = []
        self._slots = asyncio.Semaphore(READER_CONNECTIONS_MAX)

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement.

        Raises:
            asyncpg.PostgresError: PostgreSQL refused; `asyncpg.QueryCanceledError`: it took too long.
            asyncpg.InterfaceError: the connection broke.
            OSError: PostgreSQL cannot be reached.
            TimeoutError: PostgreSQL did not answer in time.
        """
        async with asyncio.timeout(ANSWER_SECONDS_MAX), self._slots:
            connection = await self._connected()
            try:
                rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            except BaseException:
                connection.terminate()
                raise
            self._keep(connection)
            return rows

    async def _connected(self) -> Connection:
        while self._idle:
            connection, expiry = self._idle.pop()
            expiry.cancel()
            if not connection.is_closed():
                return connection
        connection = await connect_to_any(self._database_url, _SERVER_SETTINGS)
        try:
            await read_any_time(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _keep(self, connection: Connection) -> None:
        expiry = asyncio.get_running_loop().call_later(self._idle_seconds_max, self._expire, connection)
        self._idle.append((connection, expiry))

    def _expire(self, connection: Connection) -> None:
        self._idle = [(each, expiry) for each, expiry in self._idle if each is not connection]
        connection.terminate()

    def close(self) -> None:
        """Drop the connections without a message to a server that may not listen."""
        while self._idle:
            connection, expiry = self._idle.pop()
            expiry.cancel()
            connection.terminate()
