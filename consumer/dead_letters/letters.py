"""Reads dead letters from their table, and resolves them."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pattern_metrics.consumer.dead_letters.selection import Coordinates, Selection
from pattern_metrics.consumer.dead_letters.sql import statement
from pattern_metrics.consumer.postgres.connection import Connection, connected
from pattern_metrics.consumer.records.decoding import event_of
from pattern_metrics.consumer.records.record import StoredRecord
from pattern_metrics.consumer.records.text import storable_text
from pattern_metrics.consumer.records.unwrapping import unframed
from pattern_metrics.schemas.dead_letter import InvalidEventError, RejectReason
from pattern_metrics.schemas.pattern_scored import JSON_DEPTH_MAX, json_depth

PREFETCH_ROWS: Final = 50

Advance = Callable[[int, int], None]
"""Called with the number of letters that are done, and the number of all."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter with its bytes.

    Attributes:
        record: the record as it came, with the exact bytes of headers that are not text.
        reason: the reason for the refusal. A later release may know more reasons than `RejectReason`.
        detail: the exact fault, for a person.
        noticed_at: when it was refused.
        status: open, redriven or discarded.
        resolved_at: when it was redriven or discarded; None while it is open.
        resolution: the reason for discarding it; None otherwise.

    A time that Python cannot hold is PostgreSQL's text.
    """

    record: StoredRecord
    reason: str
    detail: str
    noticed_at: datetime | str
    status: str
    resolved_at: datetime | str | None
    resolution: str | None

    @property
    def coordinates(self) -> Coordinates:
        """The place of the record in its topic."""
        return Coordinates(self.record.topic, self.record.partition, self.record.offset)

    @property
    def explanation(self) -> str:
        """One sentence for the person who has to fix it; empty if this release does not know the reason."""
        return RejectReason(self.reason).explanation if self.reason in set(RejectReason) else ""


def record_of(row: Mapping[str, Any]) -> StoredRecord:
    """Return the record that a row of the table holds."""
    headers = [
        (
            header["key"],
            bytes.fromhex(header["value_hex"])
            if "value_hex" in header
            else None
            if header["value"] is None
            else header["value"].encode(),
        )
        for header in json.loads(row["headers"])
    ]
    return StoredRecord(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        timestamp=row["record_timestamp"],
        value=row["value"],
        key=row["key"],
        headers=headers,
    )


def letter_of(row: Mapping[str, Any]) -> DeadLetter:
    """Return the letter that a row of the table holds."""
    return DeadLetter(
        record_of(row),
        row["reason"],
        row["detail"],
        row["noticed_at"],
        row["status"],
        row["resolved_at"],
        row["resolution"],
    )


# Reading


async def count_letters(database_url: str, selection: Selection) -> int:
    """Return the number of letters in a selection.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the login or the statement.
        OSError: PostgreSQL cannot be reached.
    """
    async with connected(database_url) as connection:
        return await count_selected(connection, selection)


async def count_selected(connection: Connection, selection: Selection) -> int:
    """Return the number of letters in a selection, over an open connection.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the statement.
        OSError: the connection broke.
    """
    count: int = await connection.fetchval(statement("select_dead_letter_count"), *selection.arguments())
    return count


async def seconds_since_oldest(connection: Connection, seconds_max: float) -> float | None:
    """Return the age of the oldest open letter in seconds; None if no letter is open.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the statement.
        OSError: the connection broke.
        TimeoutError: there was no answer within `seconds_max`.
    """
    age: float | None = await connection.fetchval(statement("select_oldest_dead_letter"), timeout=seconds_max)
    return age


async def list_letters(
    database_url: str, selection: Selection, limit: int | None, write: Callable[[dict[str, Any]], None]
) -> None:
    """Pass each letter without its bytes to `write`, the newest first, in bounded memory.

    Args:
        database_url: the database.
        selection: the letters to list.
        limit: the greatest number of letters; None for all.
        write: called with the columns of each letter.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the login or the statement.
        OSError: PostgreSQL cannot be reached.
    """
    async with connected(database_url) as connection, connection.transaction(readonly=True):
        rows = connection.cursor(statement("select_dead_letter_list"), *selection.arguments(), limit)
        async for row in rows:
            write(dict(row))


async def missing(database_url: str, coordinates: Sequence[Coordinates]) -> list[Coordinates]:
    """Return the coordinates at which there is no letter of any status.

    Raises:
        Exception: see `list_letters`.
    """
    found = set[Coordinates]()

    def note(row: dict[str, Any]) -> None:
        found.add(Coordinates(row["topic"], row["partition"], row["offset"]))

    if coordinates:
        await list_letters(database_url, Selection(status=None, coordinates=coordinates), None, note)
    return [each for each in coordinates if each not in found]


async def read_letters(
    database_url: str, selection: Selection, write: Callable[[DeadLetter], None], advance: Advance
) -> None:
    """Pass each letter with its bytes to `write`, in the order of the topic, in bounded memory.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the login or the statement.
        OSError: PostgreSQL cannot be reached.
    """
    async with connected(database_url) as connection, connection.transaction(readonly=True):
        total, done = await count_selected(connection, selection), 0
        rows = connection.cursor(
            statement("select_whole_dead_letters"), *selection.arguments(), prefetch=PREFETCH_ROWS
        )
        async for row in rows:
            write(letter_of(row))
            done += 1
            advance(done, total)


def export_line(letter: DeadLetter, envelope: Sequence[str] = ()) -> tuple[bytes, bool]:
    r"""Return the line to edit for `publish`, and whether the line is the JSON that the letter holds.

    JSON stays as it is, on one line: inside its strings a line break can only be written as `\n`. If the
    record has an envelope, the line is the event. If the record is not JSON, the line describes it, so that
    `publish` refuses it until somebody has edited it.

    Args:
        letter: the letter.
        envelope: the path of KAFKA_ENVELOPE_FIELD, one name a level.
    """
    value = _without_envelope(letter.record, envelope)
    content: dict[str, str | None] = {"value": None}
    try:
        text = content["value"] = value.decode() if value is not None else None
    except UnicodeDecodeError:
        content = {"value_base64": base64.b64encode(value or b"").decode()}
    else:
        if value is not None and _is_json(text or ""):
            return value.replace(b"\r", b" ").replace(b"\n", b" ").strip(), True
    return json.dumps(
        {"dead_letter": str(letter.coordinates), "reason": letter.reason, **content}
    ).encode(), False


def _without_envelope(record: StoredRecord, envelope: Sequence[str]) -> bytes | None:
    if record.value is None or record.mode == "line":
        return record.value
    try:
        return event_of(record, envelope)
    except InvalidEventError:
        return unframed(record.value)


def _is_json(text: str) -> bool:
    if json_depth(text) > JSON_DEPTH_MAX:  # the parser below is limited only by the interpreter
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# Resolving


async def discard(database_url: str, selection: Selection, because: str) -> int:
    """Mark open letters as discarded, all or none. Return how many there were.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the login or the statement.
        OSError: PostgreSQL cannot be reached.
    """
    async with connected(database_url) as connection:
        status = await connection.execute(
            statement("update_discarded_dead_letters"), *selection.arguments(), storable_text(because)
        )
    return _affected(status)


async def prune(database_url: str, before: datetime) -> int:
    """Delete letters that were redriven or discarded before that time. Return how many there were.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused the login or the statement.
        OSError: PostgreSQL cannot be reached.
    """
    async with connected(database_url) as connection:
        return _affected(await connection.execute(statement("delete_dead_letters"), before))


def _affected(status: str) -> int:
    return int(status.rpartition(" ")[2])
