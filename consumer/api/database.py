"""The page's access to the database: few connections and short statements that do not slow down a writer."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import asyncpg
import orjson

from pattern_metrics.consumer.api.failures import ParameterError
from pattern_metrics.consumer.api.sql import statement
from pattern_metrics.consumer.postgres.connection import (
    TIMES_AS_TEXT,
    Connection,
    connect_to_any,
    read_any_time,
)
from pattern_metrics.schemas.settings.timing import TIMING, Timing

Shown: TypeAlias = dict[str, Any]
"""An answer, as JSON has it."""

READER_CONNECTIONS_MAX: Final = 2
ANSWER_SECONDS_MAX: Final = 4.0
"""Longest time of one statement, with the wait for a connection."""

SAMPLE_BLOCKS: Final = 4096
"""Number of blocks in a sample of a table that is too large to be read in time."""

SAMPLE_BLOCKS_MIN: Final = 64

SMALLER: Final = 4
"""A sample that took too long is followed by one of this part of its size."""

SAMPLE_SECONDS: Final = 600.0
"""After this many seconds, reading the whole table is tried again, and another sample is drawn."""

WHOLE: Final = 100.0

PATTERNS: Final = "pattern_quality_metrics"

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


@dataclass(frozen=True, slots=True)
class Scan:
    """The result of reading a table.

    Attributes:
        rows: the rows of the statement.
        percent: the percentage of the table's blocks that was read.
        table_rows: approximate number of rows of the whole table, if it is known and not all were read.
    """

    rows: list[asyncpg.Record]
    percent: float = WHOLE
    table_rows: float | None = None


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
        self._scanning = asyncio.Lock()
        self._sizes: dict[tuple[str, str], tuple[int, float]] = {}

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

    async def scan(
        self, query: str, *arguments: object, table: str = PATTERNS, part: str = "", looks_up: bool = False
    ) -> Scan:
        """Read the whole table, one scan at a time; if that takes too long, a sample, ever smaller.

        Args:
            query: the statement, whose first arguments are the percentage of the blocks and a seed.
            arguments: its further arguments.
            table: the table that is sampled.
            part: the part of the table that the statement is about, if it is quick for some parts only.
            looks_up: whether each row costs a search in another table. A table larger than a sample is
                then never tried whole.

        Raises:
            Exception: the errors of `fetch`.
        """
        async with self._scanning:
            blocks = self._known_size(query, part) or (SAMPLE_BLOCKS if looks_up else None)
            while True:
                try:
                    return await self._scan(query, arguments, table, blocks)
                except asyncpg.QueryCanceledError:
                    if blocks is not None and blocks <= SAMPLE_BLOCKS_MIN:
                        raise
                    blocks = SAMPLE_BLOCKS if blocks is None else blocks // SMALLER
                    self._sizes[query, part] = blocks, time.monotonic() + SAMPLE_SECONDS

    async def _scan(self, query: str, arguments: tuple[object, ...], table: str, blocks: int | None) -> Scan:
        if blocks is None:
            return Scan(await self.fetch(query, WHOLE, 0.0, *arguments))
        [size] = await self.fetch(statement("select_table_size"), table)
        percent = min(WHOLE, WHOLE * blocks / max(1, size["blocks"]))
        seed = float(time.time() // SAMPLE_SECONDS)  # so that the pages of a list come from one sample
        return Scan(await self.fetch(query, percent, seed, *arguments), percent, size["rows"])

    def _known_size(self, query: str, part: str) -> int | None:
        """Return the number of blocks that was quick enough lately; None if the whole table may be."""
        now = time.monotonic()
        self._sizes = {key: (blocks, until) for key, (blocks, until) in self._sizes.items() if until > now}
        blocks, _ = self._sizes.get((query, part), (None, now))
        return blocks

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


def fragments_of(rows: Sequence[asyncpg.Record]) -> list[orjson.Fragment]:
    """Pass PostgreSQL's JSON on unchanged."""
    return [orjson.Fragment(row[0]) for row in rows]


def cursor_of(after: str, *types: Callable[[Any], Any]) -> list[Any]:
    """Return the end of an earlier page, converted to these types.

    Raises:
        ParameterError: no page ended so.
    """
    try:
        return [make(part) for make, part in zip(types, json.loads(after), strict=True)]
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise ParameterError("after") from None
