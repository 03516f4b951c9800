"""Dead letters after the fact: which there are, and what becomes of them."""

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
"""Told how many letters are done with, and of how many."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter with its bytes.

    Attributes:
        record: the record as it came; a header that was no text has the value it had.
        reason: why it was refused; a later release may know more reasons than `RejectReason`.
        detail: what exactly was wrong.
        noticed_at: when it was refused.
        status: open, redriven or discarded.
        resolved_at: since when it is not open any more.
        resolution: why it was discarded.
    """

    record: StoredRecord
    reason: str
    detail: str
    noticed_at: datetime
    status: str
    resolved_at: datetime | None
    resolution: str | None

    @property
    def coordinates(self) -> Coordinates:
        """Where the record was."""
        return Coordinates(self.record.topic, self.record.partition, self.record.offset)

    @property
    def explanation(self) -> str:
        """One sentence for the person who has to mend it."""
        return RejectReason(self.reason).explanation if self.reason in set(RejectReason) else ""


def letter_of(row: Mapping[str, Any]) -> DeadLetter:
    """The letter that a row of the table holds."""
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
    record = StoredRecord(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        timestamp=row["record_timestamp"],
        value=row["value"],
        key=row["key"],
        headers=headers,
    )
    return DeadLetter(
        record,
        row["reason"],
        row["detail"],
        row["noticed_at"],
        row["status"],
        row["resolved_at"],
        row["resolution"],
    )


# To look at them


async def count_letters(database_url: str, selection: Selection) -> int:
    """How many letters there are."""
    async with connected(database_url) as connection:
        return await count_selected(connection, selection)


async def count_selected(connection: Connection, selection: Selection) -> int:
    """Return how many dead letters a selection holds, by a connection that is there."""
    count: int = await connection.fetchval(statement("select_dead_letter_count"), *selection.arguments())
    return count


async def list_letters(
    database_url: str, selection: Selection, limit: int | None, write: Callable[[dict[str, Any]], None]
) -> None:
    """Tell of each letter without its bytes, the newest first, in bounded memory.

    Args:
        database_url: any DSN that asyncpg knows.
        selection: which.
        limit: the first so many; None for all.
        write: is given the columns of each.
    """
    async with connected(database_url) as connection, connection.transaction(readonly=True):
        rows = connection.cursor(statement("select_dead_letter_list"), *selection.arguments(), limit)
        async for row in rows:
            write(dict(row))


async def missing(database_url: str, coordinates: Sequence[Coordinates]) -> list[Coordinates]:
    """Those of the coordinates at which there is no letter, whatever became of it."""
    found = set[Coordinates]()

    def note(row: dict[str, Any]) -> None:
        found.add(Coordinates(row["topic"], row["partition"], row["offset"]))

    if coordinates:
        await list_letters(database_url, Selection(status=None, coordinates=coordinates), None, note)
    return [one for one in coordinates if one not in found]


async def read_letters(
    database_url: str, selection: Selection, write: Callable[[DeadLetter], None], advance: Advance
) -> None:
    """Hand over each letter with its bytes, in the order of the topic, in bounded memory."""
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
    r"""Return a line for `publish`, after an edit, and whether it is JSON of the letter.

    JSON stays as it is, on one line: inside its strings a line break can only be written as `\n`. Of an
    envelope the line is the event. Of anything else the line tells what it was, so that `publish` refuses it
    until it was edited.

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
    if json_depth(text) > JSON_DEPTH_MAX:  # the limit of the parser below is the interpreter's
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# To resolve them


async def discard(database_url: str, selection: Selection, because: str) -> int:
    """Mark open letters as discarded, all or none; how many there were."""
    async with connected(database_url) as connection:
        status = await connection.execute(
            statement("update_discarded_dead_letters"), *selection.arguments(), storable_text(because)
        )
    return _affected(status)


async def prune(database_url: str, before: datetime) -> int:
    """Delete letters that were redriven or discarded before that time; how many there were."""
    async with connected(database_url) as connection:
        return _affected(await connection.execute(statement("delete_dead_letters"), before))


def _affected(status: str) -> int:
    return int(status.rpartition(" ")[2])
