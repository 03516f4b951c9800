"""The part of a table that a scan reads."""

from typing import Any

import asyncpg
import pytest
from typing_extensions import override

from pattern_metrics.consumer.api.database import SAMPLE_BLOCKS, SAMPLE_BLOCKS_MIN, SMALLER, WHOLE, Database
from pattern_metrics.consumer.api.sql import statement

BLOCKS = 100_000


class Slow(Database):
    """A database that reads only some blocks in time."""

    def __init__(self, blocks_max: float) -> None:
        super().__init__("")
        self.blocks_max = blocks_max
        self.read = list[float]()

    @override
    async def fetch(self, statement_: str, *arguments: Any) -> list[Any]:
        if statement_ == statement("select_table_size"):
            return [{"blocks": BLOCKS, "rows": None}]
        blocks = round(arguments[0] * BLOCKS / WHOLE)
        self.read.append(blocks)
        if blocks > self.blocks_max:
            raise asyncpg.QueryCanceledError
        return []


async def test_a_sample_that_takes_too_long_is_followed_by_smaller_ones_and_its_size_is_kept() -> None:
    database = Slow(blocks_max=SAMPLE_BLOCKS / SMALLER)

    scans = [await database.scan("query", "argument") for _ in range(2)]
    other = await database.scan("query", "argument", part="other")

    sizes = [BLOCKS, SAMPLE_BLOCKS, SAMPLE_BLOCKS // SMALLER]
    assert database.read == [*sizes, sizes[-1], *sizes]
    assert {scan.percent for scan in (*scans, other)} == {WHOLE * sizes[-1] / BLOCKS}


async def test_a_statement_that_looks_up_never_reads_the_whole_of_a_large_table() -> None:
    database = Slow(blocks_max=BLOCKS)

    await database.scan("query", looks_up=True)

    assert database.read == [SAMPLE_BLOCKS]


async def test_a_statement_that_is_too_slow_for_the_smallest_sample_fails() -> None:
    database = Slow(blocks_max=0)

    with pytest.raises(asyncpg.QueryCanceledError):
        await database.scan("query")
    assert database.read[-1] == SAMPLE_BLOCKS_MIN
