"""Rows of numbered events, and the questions that tests ask an outbox."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from pattern_metrics.publisher.outbox.file import OutboxFile
from pattern_metrics.publisher.outbox.row import OutboxRow, headers_text, new_row
from tests.support.pipeline import an_event

HEADERS = headers_text("/agents/7")


def a_row(event: int, pattern: int = 1, measured: int = 0, text: str = "") -> OutboxRow:
    """Return the row of a numbered event, whose value is valid."""
    value = an_event(pattern, event=event, seconds=measured, metadata={"text": text}).to_json()
    return new_row(event.to_bytes(16), pattern.to_bytes(16), measured, 1_700_000_000, HEADERS, value)


def ids(rows: Sequence[OutboxRow]) -> list[int]:
    return [int.from_bytes(row.event_id) for row in rows]


def kept(path: Path) -> list[int]:
    """Return all events of an outbox as a new process sees them, in the order of storing."""
    file = OutboxFile(path)
    try:
        return ids(list(file.each()))
    finally:
        file.close()


def require_sound(path: Path) -> None:
    """Check the whole file by SQLite's own means, and that its numbers are those of its rows."""
    file = OutboxFile(path)
    status, rows = file.status(), list(file.each())
    file.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    waiting = [row for row in rows if row.reason is None]
    assert (status.events, status.refused) == (len(waiting), len(rows) - len(waiting))
    assert status.bytes == sum(row.size for row in rows)


def in_child(work: Callable[[], object]) -> int:
    """Run work in a forked child, and return its pid. Its exit code is 0 if the work raised nothing."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def succeeded(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
