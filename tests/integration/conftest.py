"""The connection of the store's tests."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest


@pytest.fixture
async def database(any_migrated_database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A separate connection to the store's database."""
    connection = await asyncpg.connect(any_migrated_database_url)
    yield connection
    await connection.close()
