"""Formats a dead letter: as text for a person, safe for the terminal, and as fields for a program."""

import shlex
from datetime import UTC, datetime
from typing import Any

from pattern_metrics.consumer.dead_letters.letters import DeadLetter
from pattern_metrics.consumer.dead_letters.selection import OPEN


def safe_text(text: str) -> str:
    """Return the text with escapes for control characters, which a terminal would obey instead of show."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def time_text(moment: datetime | str) -> str:
    """Return a time to the minute, in UTC; a time that Python cannot hold as PostgreSQL's text."""
    return moment if isinstance(moment, str) else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def letter_fields(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter's fields. Bytes that are not text are hexadecimal, under a name that ends in `_hex`."""
    return {
        **letter.coordinates._asdict(),
        "record_timestamp": letter.record.timestamp,
        "reason": letter.reason,
        "explanation": letter.explanation,
        "detail": letter.detail,
        "noticed_at": letter.noticed_at,
        "status": letter.status,
        "resolved_at": letter.resolved_at,
        "resolution": letter.resolution,
        **_fields("key", letter.record.key),
        **_fields("value", letter.record.value),
        "headers": [{"key": name, **_fields("value", value)} for name, value in letter.record.headers],
    }


def letter_text(letter: DeadLetter) -> list[str]:
    """Return the lines that say what the letter is, why it was refused, and how to fix it."""
    resolved = "" if letter.resolved_at is None else f" {time_text(letter.resolved_at)}"
    resolution = "" if letter.resolution is None else f": {safe_text(letter.resolution)}"
    headers = [f"  header   {safe_text(name)}: {_shown(value)}" for name, value in letter.record.headers]
    return [
        safe_text(str(letter.coordinates)),
        f"  reason   {safe_text(letter.reason)}: {letter.explanation}",
        f"  detail   {safe_text(letter.detail)}",
        f"  noticed  {time_text(letter.noticed_at)}",
        f"  status   {letter.status}{resolved}{resolution}",
        f"  key      {_shown(letter.record.key)}",
        *headers,
        "  value",
        f"    {_shown(letter.record.value)}",
        *(advice(letter) if letter.status == OPEN else []),
    ]


def advice(letter: DeadLetter) -> list[str]:
    """Return the commands that fix the letter."""
    which = shlex.quote(safe_text(str(letter.coordinates)))
    publish, done = ("backfill", "backfilled") if letter.record.mode == "line" else ("publish", "published")
    return [
        "  if the event is wrong:",
        f"    pattern-metrics dead-letters export mended.jsonl {which}    # then edit that file",
        f"    pattern-metrics {publish} mended.jsonl",
        f"    pattern-metrics dead-letters discard {which} --because '{done} again'",
        "  if the event is right, once the setting, the clock or the database is fixed:",
        f"    pattern-metrics dead-letters redrive {which}",
    ]


def _as_text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _fields(name: str, content: bytes | None) -> dict[str, str | None]:
    """Return bytes for JSON: as text if they are text, else as hexadecimal."""
    if content is None:
        return {name: None}
    text = _as_text(content)
    return {f"{name}_hex": content.hex()} if text is None else {name: text}


def _shown(content: bytes | None) -> str:
    """Return bytes for a person, with line breaks kept."""
    if content is None:
        return "none"
    text = _as_text(content)
    if text is None:
        return f"{content.hex(' ')} (hexadecimal)"
    return "\n    ".join(map(safe_text, text.split("\n")))
