"""The history of measurements: how long it is kept."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import connected

BLOCKS_PER_TRANSACTION: Final = 4096
"""32 MiB of the table: no lock and no snapshot of the server is held for long."""


async def prune_history(database_url: str, before: datetime, advance: Callable[[int, int], None]) -> int:
    """Delete the measurements that were made before that time; beside workers, and safe to interrupt.

    Args:
        database_url: any DSN that asyncpg knows.
        before: the earliest measurement time that is kept.
        advance: told how many blocks of the table are done, and of how many.

    Returns:
        How many measurements there were.

    Raises:
        asyncpg.PostgresError: a statement failed; what was deleted before stays deleted.
        OSError: PostgreSQL is not reachable.
    """
    deleted = 0
    async with connected(database_url) as connection:
        blocks = await connection.fetchval(statement("select_history_blocks"))
        for first in range(0, blocks, BLOCKS_PER_TRANSACTION):
            end = min(first + BLOCKS_PER_TRANSACTION, blocks)
            status = await connection.execute(statement("delete_history"), before, (first, 0), (end, 0))
            deleted += int(status.rpartition(" ")[2])
            advance(end, blocks)
    return deleted
