"""The system under test for the tests; `python -m tests.adversity` makes its own."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adversity.world import World, new_world
from tests.support.kafka import require_apache

SEED = 5


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    require_apache(request)
    async with new_world(tmp_path, random.Random(SEED)) as world:
        yield world
