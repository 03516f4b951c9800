"""Finds the patterns that a project no longer has, and forgets patterns that were retired long ago."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from pattern_metrics.consumer.operations.retirement import retirement_json
from pattern_metrics.consumer.operations.sql import statement
from pattern_metrics.consumer.postgres.connection import connected

MISSING_MAX: Final = 0.2
"""The largest part of a project's patterns that a run may find missing without being asked again."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The patterns of a project that the table holds and a run did not find.

    Attributes:
        names: the name of each, by its id.
        known: the number of all patterns of the project in the table.
    """

    names: dict[UUID, str]
    known: int

    @property
    def is_suspicious(self) -> bool:
        """True if so many are missing that the paths may be wrong."""
        return len(self.names) > MISSING_MAX * self.known

    def events(self, retired_at: datetime) -> Iterator[bytes]:
        """Yield the JSON of their retirements."""
        for pattern_id, name in self.names.items():
            yield retirement_json(str(pattern_id), "the scorer no longer finds it", retired_at, name)


async def find_missing(database_url: str, project: str, found: Collection[UUID]) -> Missing:
    """Compare the patterns of a project in the table with those that a run found.

    Args:
        database_url: as in DATABASE_URL.
        project: the project, with which the names begin, before a `/`.
        found: the patterns of the run.

    Raises:
        asyncpg.PostgresError: a statement failed.
        OSError: PostgreSQL cannot be reached.
    """
    async with connected(database_url) as connection:
        rows = await connection.fetch(statement("select_patterns_of_prefix"), f"{project}/")
    return Missing(
        {row["pattern_id"]: row["name"] for row in rows if row["pattern_id"] not in found}, len(rows)
    )


async def prune_retired(database_url: str, before: datetime) -> int:
    """Forget the patterns that were retired before a time. Return their number.

    Raises:
        asyncpg.PostgresError: the statement failed.
        OSError: PostgreSQL cannot be reached.
    """
    async with connected(database_url) as connection:
        status = await connection.execute(statement("delete_retired"), before)
    return int(status.rpartition(" ")[2])
