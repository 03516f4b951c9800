"""What the tests of the store look at."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest


@pytest.fixture
async def database(any_migrated_database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A connection of its own to the store's database."""
    connection = await asyncpg.connect(any_migrated_database_url)
    yield connection
    await connection.close()
