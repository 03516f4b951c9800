"""Answers about dead letters."""

import codecs
import json
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pattern_metrics.consumer.api.answering import (
    Answer,
    Answering,
    absent,
    limit_of,
    number_of,
    tagged,
)
from pattern_metrics.consumer.api.database import WHOLE, Database, Scan, Shown, cursor_of, fragments_of
from pattern_metrics.consumer.api.failures import parameter
from pattern_metrics.consumer.api.patterns import time_of
from pattern_metrics.consumer.api.sql import statement
from pattern_metrics.consumer.dead_letters.letters import letter_of
from pattern_metrics.consumer.dead_letters.text import advice, letter_fields

LETTER_BYTES_MAX: Final = 64 * 1024
LETTERS: Final = "dead_letters"


class LetterReader:
    """Reads dead letters.

    Args:
        database: the database.

    Raises:
        Exception: each method raises the errors of `Database.fetch`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, reason: str | None, detail: str | None, after: str | None, limit: int) -> Shown:
        """Return one page of open dead letters, the newest first, and the start of the next page.

        Raises:
            ParameterError: `after` is not the end of an earlier page.
        """
        cursor = [None] * 5 if after is None else cursor_of(after, time_of, str, int, int, int)
        query = statement("select_dead_letter_page")
        scan = await self._database.scan(query, reason, detail, *cursor, limit + 1, table=LETTERS)
        rows, following = scan.rows[:limit], None
        if len(scan.rows) > limit:
            _, noticed_at, *coordinates = rows[-1].values()
            following = json.dumps([str(noticed_at), *coordinates])
        return {"percent_read": scan.percent, "rows": fragments_of(rows), "next": following}

    async def summary(self) -> Shown:
        """Return the number of open dead letters, by reason, and by reason and detail."""
        reasons = await self._database.scan(statement("select_dead_letter_reasons"), table=LETTERS)
        groups = await self._database.scan(statement("select_dead_letter_groups"), table=LETTERS)
        return {
            "percent_read": min(reasons.percent, groups.percent),
            "reasons": _counted(reasons),
            "groups": [
                {**group, "letter": None if group["letter"] is None else orjson.Fragment(group["letter"])}
                for group in _counted(groups)
            ],
        }

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


class LetterAnswers:
    """Answers about dead letters.

    Args:
        answering: turns them into responses.
        reader: reads the database.

    Attributes:
        routes: the routes to serve.
    """

    def __init__(self, answering: Answering, reader: LetterReader) -> None:
        self._answering = answering
        self._reader = reader
        answers: dict[str, Answer] = {
            "/v1/dead-letters": self._page,
            "/v1/dead-letters/summary": self._summary,
            "/v1/dead-letter": self._letter,
        }
        self.routes: list[BaseRoute] = [
            Route(path, answering.guarded(answer)) for path, answer in answers.items()
        ]

    async def _page(self, request: Request) -> Response:
        asked, limit = request.query_params, limit_of(request)
        wanted = asked.get("reason"), asked.get("detail"), asked.get("after")
        return await self._answering.shared(request, lambda: self._reader.page(*wanted, limit))

    async def _summary(self, request: Request) -> Response:
        return await self._answering.shared(request, self._reader.summary)

    async def _letter(self, request: Request) -> Response:
        asked = request.query_params
        names = ("partition", "offset", "timestamp")
        numbers = [parameter(name, asked.get(name, ""), number_of) for name in names]
        found = await self._reader.letter(asked.get("topic", ""), *numbers)
        return absent("dead letter") if found is None else tagged(request, orjson.dumps(found))


def _counted(scan: Scan) -> list[Shown]:
    return [{**row, "letters": round(row["letters"] * WHOLE / scan.percent)} for row in scan.rows]


def _whole_characters(content: bytes | None, size: int | None) -> bytes | None:
    """Cut text that ends inside a character before that character."""
    if content is None or size == len(content):
        return content
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(content).encode()
    except UnicodeDecodeError:
        return content
