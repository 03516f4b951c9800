"""Prunes the history of measurements."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import connected

BLOCKS_PER_TRANSACTION: Final = 4096
"""32 MiB of the table per transaction, so that no lock and no snapshot is held for long."""


async def prune_history(database_url: str, before: datetime, advance: Callable[[int, int], None]) -> int:
    """Delete older measurements from the history. Workers may run meanwhile. The call may be interrupted.

    Current rows are in another table and stay.

    Args:
        database_url: as in DATABASE_URL.
        before: the earliest measurement time that is kept.
        advance: called with the number of blocks of the table that are done, and the number of all.

    Returns:
        The number of measurements that were deleted.

    Raises:
        asyncpg.PostgresError: a statement failed. Earlier deletions stay.
        OSError: PostgreSQL cannot be reached.
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
