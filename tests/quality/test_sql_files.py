"""Every statement has a purpose, a user, and a schema on which it is valid."""

import re
from pathlib import Path

import asyncpg
import pytest

import pattern_metrics.consumer
from pattern_metrics.consumer.postgres.sql import statement

DIRECTORY = Path(pattern_metrics.consumer.__file__).parent / "sql"
NAMES = sorted(path.stem for path in DIRECTORY.glob("*.sql"))
VERBS = {"advance", "clear", "create", "delete", "insert", "select", "set", "update", "upsert"}
CREATED_FIRST = ("create_stage", "create_shadow")
UTILITY = re.compile(r"^(CREATE|TRUNCATE|SET CONSTRAINTS)\b", flags=re.MULTILINE)


def used_names() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in DIRECTORY.parent.rglob("*.py"))
    return {name for source in sources for name in re.findall(r'statement\("(\w+)"\)', source)}


def test_each_statement_is_used_by_its_name_and_each_name_has_a_statement() -> None:
    assert used_names() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_begins_with_a_verb_in_its_name_and_its_purpose_in_its_text(name: str) -> None:
    assert name.partition("_")[0] in VERBS
    assert re.match(r"-- \S.{10,}", statement(name))


async def test_each_statement_prepares_on_the_migrated_schema(any_migrated_database_url: str) -> None:
    connection = await asyncpg.connect(any_migrated_database_url)
    try:
        for name in CREATED_FIRST:
            await connection.execute(statement(name))
        for name in NAMES:
            if name in CREATED_FIRST:
                continue
            if UTILITY.search(statement(name)):
                async with connection.transaction():
                    await connection.execute(statement(name))
            else:
                await connection.prepare(statement(name))
    finally:
        await connection.close()
