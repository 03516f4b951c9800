"""Every statement has a purpose, a user, and a schema on which it is valid."""

import re
from pathlib import Path

import asyncpg
import pytest

from tests.quality.test_house_rules import ROOT

FILES = sorted((ROOT / "consumer").glob("*/sql/*.sql"))
VERBS = {"advance", "clear", "create", "delete", "insert", "select", "set", "update", "upsert"}
CREATED_FIRST = ("create_stage", "create_shadow")
UTILITY = re.compile(r"^(CREATE|TRUNCATE|SET CONSTRAINTS|LOCK TABLE)\b", flags=re.MULTILINE)


# The law of the table and the bands, written out. Revision 020 has a function for each.
SPELT_OUT = re.compile(r"event_id\W{0,3}[<>]|'(excellent|good|fair|poor)'|\b0\.[579]\b")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def uses() -> set[tuple[str, str]]:
    """Return room and name of each statement that a module of the room loads by name."""
    found = set()
    for module in (ROOT / "consumer").rglob("*.py"):
        room, *_ = module.relative_to(ROOT / "consumer").parts
        if f"consumer.{room}.sql import statement" in (source := text_of(module)):
            found |= {(room, name) for name in re.findall(r'statement\("(\w+)"\)', source)}
    return found


def test_each_statement_is_used_in_its_room_and_each_name_has_a_statement() -> None:
    assert FILES
    assert uses() == {(path.parts[-3], path.stem) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_statement_begins_with_a_verb_in_its_name_and_its_purpose_in_its_text(path: Path) -> None:
    assert path.stem.partition("_")[0] in VERBS
    assert re.match(r"-- \S.{10,}", text_of(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_statement_calls_the_law_and_the_bands_and_spells_out_neither(path: Path) -> None:
    assert not SPELT_OUT.search(text_of(path))


async def test_each_statement_prepares_on_the_migrated_schema(any_migrated_database_url: str) -> None:
    by_name = {path.stem: text_of(path) for path in FILES}
    connection = await asyncpg.connect(any_migrated_database_url)
    try:
        for name in CREATED_FIRST:
            await connection.execute(by_name.pop(name))
        for statement in by_name.values():
            if UTILITY.search(statement):
                async with connection.transaction():
                    await connection.execute(statement)
            else:
                await connection.prepare(statement)
    finally:
        await connection.close()
