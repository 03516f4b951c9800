"""`publish FILE|- --outbox` for a shell hook, which waits: a few plain events are stored without any model.

Everything that is not plain is left to the command itself, with the input as it was: other options, other
formats, long inputs, a line that the model may refuse, a setting that is wrong.
"""

import io
import json
import os
import re
import select
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pattern_metrics.publisher.outbox.file import MAX_BYTES, OutboxFile
from pattern_metrics.publisher.outbox.place import OutboxError
from pattern_metrics.publisher.outbox.row import (
    SOURCE_DEFAULT,
    OutboxRow,
    headers_text,
    microseconds,
    new_row,
)
from pattern_metrics.schemas.event_limits import CLOCK_SKEW_SECONDS, VERSION_CHARACTERS_MAX, VERSION_DEFAULT
from pattern_metrics.schemas.settings.variables import ENV_FILE, PREFIX, find_variables

if TYPE_CHECKING:
    from typing_extensions import Buffer

INPUT_BYTES_MAX: Final = 256 * 1024
LINE_BYTES_MAX: Final = 60 * 1024
"""Less than metadata may have."""

_QUIET_SECONDS: Final = 0.25
"""A pipe that is silent for this time after its first bytes is a stream, which the command reads."""

_DEPTH_MAX: Final = 40
_DIGITS_MAX: Final = 15

_UUID_TEXT: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PLAIN_TIME: Final = re.compile(
    r"(19[7-9]\d|20\d\d)-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{3}|\.\d{6})?(Z|[+-](0\d|1[0-4]):[0-5]\d)",
    flags=re.ASCII,
)
_FIELDS: Final = {
    "event_id",
    "pattern_id",
    "quality_score",
    "confidence",
    "measurement_timestamp",
    "version",
    "metadata",
}
_SETTINGS: Final = ("outbox_path", "outbox_max_bytes", "outbox_when_full", "max_clock_skew_seconds")
_SOURCE: Final = headers_text(SOURCE_DEFAULT)

_KEPT_OPEN: Final = list[OutboxFile]()
"""Keeps the file open until the process ends, because closing it moves its log and syncs several times."""


class _NotPlainError(Exception):
    """The command itself has to look at it."""


class _Unread(io.RawIOBase):
    """Standard input that begins with bytes that were read, and continues with the ones that were not."""

    name = "<stdin>"

    def __init__(self, content: bytes, *, is_complete: bool) -> None:
        self._content = content
        self._is_complete = is_complete

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer).cast("B")
        chunk = self._content[: len(view)]
        self._content = self._content[len(chunk) :]
        if not chunk and not self._is_complete:
            chunk = os.read(0, len(view))
        view[: len(chunk)] = chunk
        return len(chunk)


def _give_back(content: bytes, *, is_complete: bool) -> None:
    sys.stdin = io.TextIOWrapper(
        io.BufferedReader(_Unread(content, is_complete=is_complete)), encoding="utf-8"
    )


def store(arguments: list[str]) -> int | None:
    """Store the events that the command line names.

    Returns:
        The exit code. None if the command has to run; it finds its input as it was.
    """
    try:
        name, is_json = _options(arguments)
        file, accepted_until = _settings()
        content = _read(name)
    except _NotPlainError:
        return None
    _KEPT_OPEN.append(file)
    rows = list[OutboxRow]()
    try:
        rows = _rows(content, accepted_until)
        is_stored = file.append([rows]) == [len(rows)]  # to store a part of them twice changes nothing
    except (_NotPlainError, OutboxError):
        is_stored = False
    if not is_stored:
        if name == "-":
            _give_back(content, is_complete=True)
        return None
    lines = content.count(b"\n", 0, len(content.rstrip())) + 1
    return _report(file.path, len(rows), lines, is_json=is_json)


def _options(arguments: list[str]) -> tuple[str, bool]:
    _, *rest = arguments
    names = [argument for argument in rest if argument == "-" or not argument.startswith("-")]
    if arguments[0] != "publish" or set(rest) - {*names, "--outbox", "--json"} or len(names) != 1:
        raise _NotPlainError
    return names[0], "--json" in rest


def _settings() -> tuple[OutboxFile, int]:
    """Return the outbox and the latest acceptable time, in microseconds."""
    if {ENV_FILE, PREFIX + ENV_FILE} & {name.upper() for name in os.environ}:
        raise _NotPlainError
    found = {name: variable.text for name, variable in find_variables(_SETTINGS).items()}
    max_bytes, skew = (
        found.get("outbox_max_bytes", str(MAX_BYTES)),
        found.get("max_clock_skew_seconds", str(CLOCK_SKEW_SECONDS)),
    )
    is_plain = re.fullmatch(r"[1-9]\d{6,14}", max_bytes, re.ASCII) and re.fullmatch(
        r"\d{1,7}", skew, re.ASCII
    )
    if "outbox_path" not in found or found.get("outbox_when_full", "refuse") != "refuse" or not is_plain:
        raise _NotPlainError
    accepted_until = time.time_ns() // 1000 + int(skew) * 1_000_000
    return OutboxFile(found["outbox_path"], max_bytes=int(max_bytes)), accepted_until


def _read(name: str) -> bytes:
    return _read_input() if name == "-" else _read_file(name)


def _read_file(name: str) -> bytes:
    if not os.path.isfile(name):  # noqa: PTH113 - what a pipe has given is gone, and the command would lack it
        raise _NotPlainError
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            content = file.read(INPUT_BYTES_MAX + 1)
    except OSError:
        raise _NotPlainError from None
    if len(content) > INPUT_BYTES_MAX:
        raise _NotPlainError
    return content


def _read_input() -> bytes:
    content, is_complete = b"", False
    try:
        while not is_complete and len(content) <= INPUT_BYTES_MAX:
            if content and not _continues():
                break
            chunk = os.read(0, INPUT_BYTES_MAX)
            content, is_complete = content + chunk, not chunk
    except OSError:
        raise _NotPlainError from None
    if not is_complete:
        _give_back(content, is_complete=False)
        raise _NotPlainError
    return content


def _continues() -> bool:
    """Return whether standard input has more bytes, or its end, before it counts as silent."""
    try:
        return bool(select.select([0], [], [], _QUIET_SECONDS)[0])
    except OSError:  # Windows can only wait for sockets
        return False


def _rows(content: bytes, accepted_until: int) -> list[OutboxRow]:
    if b"\\u" in content or not content.strip():
        raise _NotPlainError
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _NotPlainError from None
    now = int(time.time())
    return [_row(line, accepted_until, now) for line in text.split("\n") if line.strip()]


def _row(line: str, accepted_until: int, now: int) -> OutboxRow:
    """Return the row of an event, by rules that are stricter than the model's."""
    event = _object(line)
    scores = [_score(event, field) for field in ("quality_score", "confidence")]
    version, metadata = event.get("version", VERSION_DEFAULT), event.get("metadata", {})
    if (
        not isinstance(version, str)
        or len(version) > VERSION_CHARACTERS_MAX
        or not isinstance(metadata, dict)
    ):
        raise _NotPlainError
    pattern_id, measured = _uuid(event, "pattern_id"), _time(event)
    if microseconds(measured) > accepted_until:
        raise _NotPlainError
    value = line.strip()
    if "event_id" in event:
        event_id = _uuid(event, "event_id")
    else:
        from pattern_metrics.schemas.measurement_id import derived_id

        quality_score, confidence = scores
        named = derived_id(
            {
                "pattern_id": str(event["pattern_id"]).lower(),
                "quality_score": quality_score,
                "confidence": confidence,
                "measurement_timestamp": measured.isoformat().replace("+00:00", "Z"),
                "version": version,
                "metadata": metadata,
            }
        )
        event_id, value = named.bytes, f'{value[:-1]},"event_id":"{named}"}}'
    return new_row(event_id, pattern_id, microseconds(measured), now, _SOURCE, value.encode())


def _object(line: str) -> dict[str, Any]:
    if len(line) > LINE_BYTES_MAX // 4 and len(line.encode()) > LINE_BYTES_MAX:
        raise _NotPlainError
    if line.count("{") + line.count("[") > _DEPTH_MAX:
        raise _NotPlainError
    try:
        event = json.loads(line, parse_float=_float, parse_int=_int, parse_constant=_float)
    except ValueError:
        raise _NotPlainError from None
    if not isinstance(event, dict) or event.keys() - _FIELDS:
        raise _NotPlainError
    return event


def _float(text: str) -> float:
    if len(text) > _DIGITS_MAX + 2 or "e" in text.lower() or not text[-1].isdigit():
        raise _NotPlainError
    return float(text)


def _int(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise _NotPlainError
    return int(text)


def _uuid(event: dict[str, Any], field: str) -> bytes:
    text = event.get(field)
    if not isinstance(text, str) or not _UUID_TEXT.fullmatch(text):
        raise _NotPlainError
    return bytes.fromhex(text.replace("-", ""))


def _score(event: dict[str, Any], field: str) -> float:
    score = event.get(field)
    if not isinstance(score, int | float) or isinstance(score, bool) or not 0 <= score <= 1:
        raise _NotPlainError
    return float(score)


def _time(event: dict[str, Any]) -> datetime:
    text = event.get("measurement_timestamp")
    if not isinstance(text, str) or not _PLAIN_TIME.fullmatch(text):
        raise _NotPlainError
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise _NotPlainError from None


def _report(path: str, stored: int, lines: int, *, is_json: bool) -> int:
    if is_json:
        text = json.dumps(
            {"stored": stored, "refused": 0, "unavailable": 0, "last_line": lines, "reached_end": True}
        )
    else:
        text = f"stored {stored:,} events, refused 0 lines"
    with suppress(OSError, AttributeError):
        print(f"outbox {path}", file=sys.stderr)  # noqa: T201
    with suppress(OSError, AttributeError):  # the events are stored
        print(text, flush=True)  # noqa: T201
        return 0
    return 1
