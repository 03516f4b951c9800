"""Reads the database for the page."""

import codecs
import json
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from pattern_metrics.consumer.api.patterns import (
    WHOLE,
    PatternReader,
    Shown,
    cursor_of,
    fragments_of,
    patterns_of,
    time_of,
)
from pattern_metrics.consumer.dashboard.sql import statement
from pattern_metrics.consumer.dead_letters.letters import letter_of
from pattern_metrics.consumer.dead_letters.text import advice, letter_fields
from pattern_metrics.consumer.operations.trace import trace_in_database

PAGE_ROWS: Final = 50
LETTER_BYTES_MAX: Final = 64 * 1024
LETTERS: Final = "dead_letters"


class Reader(PatternReader):
    """Answers each request of the page with one or two statements.

    Args:
        database: the database.

    Raises:
        Exception: each method raises the errors of `Database.fetch`.
    """

    # Patterns

    async def most_changed(self, limit: int) -> Shown:
        """Return the patterns whose score changed most since the measurement before."""
        scan = await self.scan(statement("select_most_changed"), limit)
        [[has_history]] = await self._database.fetch(statement("select_history_exists"))
        return {"percent_read": scan.percent, "rows": patterns_of(scan.rows), "has_history": has_history}

    async def trace(self, event_id: UUID, pattern_id: UUID | None) -> Shown:
        """Return what the database knows of an event."""
        return (await trace_in_database(self._database.fetch, event_id, pattern_id)).as_dict()

    # Ingestion

    async def progress(self) -> list[asyncpg.Record]:
        """Return the progress of each group in each partition."""
        return await self._database.fetch(statement("select_all_progress"))

    async def gaps(self) -> Shown:
        """Return the number of gaps, and the latest gaps."""
        [row] = await self._database.fetch(statement("select_gaps"))
        return {"gaps": row["gaps"], "offsets": row["offsets"], "latest": orjson.Fragment(row["latest"])}

    # Dead letters

    async def letter_reasons(self) -> list[Shown]:
        """Return the number of open dead letters, by reason."""
        scan = await self.scan(statement("select_dead_letter_reasons"), table=LETTERS)
        return [{**row, "letters": round(row["letters"] * WHOLE / scan.percent)} for row in scan.rows]

    async def letter_page(self, reason: str | None, after: str | None) -> Shown:
        """Return one page of open dead letters, the newest first, and the start of the next page.

        Raises:
            ValueError: `after` is not the end of an earlier page.
        """
        scan = await self.scan(
            statement("select_dead_letter_page"), reason, *_letter_cursor(after), PAGE_ROWS + 1, table=LETTERS
        )
        rows, following = scan.rows[:PAGE_ROWS], None
        if len(scan.rows) > PAGE_ROWS:
            _, noticed_at, *coordinates = rows[-1].values()
            following = json.dumps([str(noticed_at), *coordinates])
        return {"percent_read": scan.percent, "rows": fragments_of(rows), "next": following}

    async def letter(self, topic: str, partition: int, offset: int, timestamp: int) -> Shown | None:
        """Return one dead letter with its bytes; None if there is none."""
        rows = await self._database.fetch(
            statement("select_dead_letter"), topic, partition, offset, timestamp, LETTER_BYTES_MAX
        )
        if not rows:
            return None
        [row] = rows
        whole = {name: _whole_characters(row[name], row[f"{name}_bytes"]) for name in ("key", "value")}
        letter = letter_of({**row, **whole})
        return {
            **letter_fields(letter),
            "partition": str(partition),
            "offset": str(offset),
            "record_timestamp": str(timestamp),
            "key_bytes": row["key_bytes"],
            "value_bytes": row["value_bytes"],
            "bytes_shown_max": LETTER_BYTES_MAX,
            "advice": advice(letter),
        }


def _letter_cursor(after: str | None) -> list[Any]:
    return [None] * 5 if after is None else cursor_of(after, time_of, str, int, int, int)


def _whole_characters(content: bytes | None, size: int | None) -> bytes | None:
    """Cut text that ends inside a character before that character."""
    if content is None or size == len(content):
        return content
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(content).encode()
    except UnicodeDecodeError:
        return content
