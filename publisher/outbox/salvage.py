"""Reads the events of a damaged outbox from its pages, without the tree that joins them.

A row is kept if its checksum is right, so that nothing that is damaged is ever published. The file formats
are described in https://sqlite.org/fileformat2.html.
"""

import os
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from pattern_metrics.publisher.outbox.place import sync_directory
from pattern_metrics.publisher.outbox.row import OutboxRow

_PAGE_BYTES: Final = 4096
_LEAF: Final = 13
_COLUMN_COUNT: Final = 9
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_INDEX_HEADER: Final = 48
_LOCAL_MAX: Final = _PAGE_BYTES - 35
_LOCAL_MIN: Final = (_PAGE_BYTES - 12) * 32 // 255 - 23
_INTEGER_SIZES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
_BLOB: Final = 12

Pages = dict[int, bytes]


Fill = Callable[[str, Iterable[OutboxRow]], int]
"""Makes an empty file an outbox that holds these rows, synced, and returns their number."""


def create(path: str, fill: Fill) -> None:
    """Create an empty outbox; it appears under its name when it is complete."""
    os.replace(_unfinished(path, fill, ())[0], path)  # noqa: PTH105
    sync_directory(os.path.dirname(path))  # noqa: PTH120


def salvage(path: str, fill: Fill) -> tuple[str, int]:
    """Replace a damaged outbox by one with every row that is sound.

    The caller holds the lock and has closed the file. An interruption at any place loses nothing.

    Args:
        path: the damaged file.
        fill: fills the new file.

    Returns:
        The copy of the damaged file, and the number of rows.
    """
    aside = _unused(f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            _copy(path + suffix, aside + suffix)
    unfinished, count = _unfinished(path, fill, _sound_rows(path))
    os.replace(unfinished, path + ".salvaged")  # noqa: PTH105
    finish(path)
    return aside, count


def finish(path: str) -> None:
    """Put the salvaged file into its place, if a process ended before it did that."""
    if os.path.exists(path + ".salvaged"):  # noqa: PTH110
        # The log belongs to the damaged file, and would damage this one.
        _remove(path + "-wal")
        _remove(path + "-shm")
        os.replace(path + ".salvaged", path)  # noqa: PTH105
        sync_directory(os.path.dirname(path))  # noqa: PTH120


def log_state(path: str) -> tuple[int, bytes]:
    """Return the number of frames in the log that SQLite knows, and their salt, from the log's index."""
    try:
        with open(path + "-shm", "rb", buffering=0) as index:  # noqa: PTH123
            header = index.read(_INDEX_HEADER)
    except FileNotFoundError:
        return 0, b""
    return int.from_bytes(header[16:20], sys.byteorder), header[32:40]


def beyond_the_log(path: str) -> Iterator[OutboxRow]:
    """Yield the rows of frames that SQLite did not recover, behind a damaged or an unfinished one."""
    frames, salt = log_state(path)
    end = _LOG_HEADER + frames * (_FRAME_HEADER + _PAGE_BYTES)
    with suppress(FileNotFoundError), open(path + "-wal", "rb") as log:  # noqa: PTH123
        if not frames:  # SQLite took nothing from this log, because its first bytes are damaged
            log.seek(_LOG_HEADER + 8)
            salt = log.read(8)
        log.seek(end)
        if any(_frames(log.read(_FRAME_HEADER + _PAGE_BYTES), salt)):
            log.seek(0)
            content = log.read()
            whole = _pages(path) | dict(_frames(content[_LOG_HEADER:], salt))
            yield from _rows(dict(_frames(content[end:], salt)), whole)


def _sound_rows(path: str) -> Iterator[OutboxRow]:
    pages = _pages(path)
    with suppress(FileNotFoundError), open(path + "-wal", "rb") as log:  # noqa: PTH123
        content = log.read()
        pages |= dict(_frames(content[_LOG_HEADER:], content[16:24]))
    free = _free(pages)
    yield from _rows({number: page for number, page in pages.items() if number not in free}, pages)


def _pages(path: str) -> Pages:
    with open(path, "rb") as file:  # noqa: PTH123
        content = file.read()
    return {
        at // _PAGE_BYTES + 1: content[at : at + _PAGE_BYTES] for at in range(0, len(content), _PAGE_BYTES)
    }


def _frames(content: bytes, salt: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the pages in a log, in its order, if they have its salt."""
    for at in range(0, len(content) - _PAGE_BYTES - _FRAME_HEADER + 1, _PAGE_BYTES + _FRAME_HEADER):
        if content[at + 8 : at + 16] == salt:
            begin = at + _FRAME_HEADER
            yield int.from_bytes(content[at : at + 4], "big"), content[begin : begin + _PAGE_BYTES]


def _free(pages: Pages) -> set[int]:
    """Return the pages that hold nothing any more, as far as their list can be read."""
    free = set[int]()
    trunk = int.from_bytes(pages.get(1, b"")[32:36], "big")
    while trunk in pages and trunk not in free:
        free.add(trunk)
        if len(pages[trunk]) < _PAGE_BYTES:  # the file was cut off
            break
        following, count = struct.unpack(">II", pages[trunk][:8])
        if count > _PAGE_BYTES // 4 - 2:
            break
        free.update(struct.unpack(f">{count}I", pages[trunk][8 : 8 + 4 * count]))
        trunk = following
    return free


def _rows(leaves: Pages, pages: Pages) -> Iterator[OutboxRow]:
    seen = set[tuple[bytes, int]]()
    for page in leaves.values():
        for row in _cells(page, pages):
            if (row.event_id, row.checksum) not in seen:
                seen.add((row.event_id, row.checksum))
                yield row


def _cells(page: bytes, pages: Pages) -> Iterator[OutboxRow]:
    """Yield the sound rows of a page. Page 1, which begins with the file's header, holds none."""
    if len(page) < _PAGE_BYTES or page[0] != _LEAF:
        return
    for number in range(min(int.from_bytes(page[3:5], "big"), _PAGE_BYTES // 4)):
        at = 8 + 2 * number
        # A damaged cell holds anything.
        with suppress(IndexError, ValueError, KeyError):
            row = _row(page, int.from_bytes(page[at : at + 2], "big"), pages)
            if row.is_sound:
                yield row


def _row(page: bytes, at: int, pages: Pages) -> OutboxRow:
    size, at = _varint(page, at)
    seq, at = _varint(page, at)
    payload = _payload(page, at, size, pages)
    header, at = _varint(payload, 0)
    kinds = list[int]()
    while at < header:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if len(kinds) != _COLUMN_COUNT:
        raise ValueError
    _, event_id, pattern_id, measured, stored, reason, checksum, headers, value = _values(
        payload, header, kinds
    )
    return OutboxRow(event_id, pattern_id, measured, stored, headers, value, checksum, seq, reason)


def _payload(page: bytes, at: int, size: int, pages: Pages) -> bytes:
    """Return a cell's content, whose end is on further pages if it is long."""
    if size <= _LOCAL_MAX:
        return page[at : at + size]
    local = _LOCAL_MIN + (size - _LOCAL_MIN) % (_PAGE_BYTES - 4)
    local = local if local <= _LOCAL_MAX else _LOCAL_MIN
    payload = bytearray(page[at : at + local])
    following = int.from_bytes(page[at + local : at + local + 4], "big")
    while len(payload) < size and following:
        payload += pages[following][4:]
        following = int.from_bytes(pages[following][:4], "big")
    return bytes(payload[:size])


def _values(payload: bytes, at: int, kinds: list[int]) -> Iterator[Any]:
    for kind in kinds:
        size = _INTEGER_SIZES[kind] if kind < _BLOB else (kind - _BLOB) // 2
        content = payload[at : at + size]
        at += size
        if kind == 0:
            yield None
        elif kind < _BLOB:
            yield int.from_bytes(content, "big", signed=True) if size else kind - 8
        else:
            yield content.decode() if kind % 2 else content


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = content[at + count]
        if count == 8:  # noqa: PLR2004 - the ninth byte has eight bits
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004
            return value, at + count + 1
    raise ValueError


def _unfinished(path: str, fill: Fill, rows: Iterable[OutboxRow]) -> tuple[str, int]:
    unfinished = path + ".unfinished"
    _remove(unfinished)
    _remove(unfinished + "-journal")
    with open(unfinished, "xb", opener=_private):
        pass
    return unfinished, fill(unfinished, rows)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as content, open(target, "xb", opener=_private) as copy:  # noqa: PTH123
        while chunk := content.read(1 << 20):
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108


def _unused(path: str) -> str:
    found, number = path, 0
    while os.path.exists(found):  # noqa: PTH110
        number += 1
        found = f"{path}-{number}"
    return found
