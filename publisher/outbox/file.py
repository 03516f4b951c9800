"""The file of the outbox: SQLite, shared by any number of processes, synced before each acknowledgement.

SQLite before 3.51.3 can corrupt a database in WAL mode when one process writes while another one resets the
log. Here every transaction, read or write, and every checkpoint runs under one lock on a file beside it.
"""

import atexit
import os
import sqlite3
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

from pattern_metrics.publisher.outbox import salvage
from pattern_metrics.publisher.outbox.place import (
    OutboxError,
    locked,
    prepare,
)
from pattern_metrics.publisher.outbox.row import OutboxRow

T = TypeVar("T")

MAX_BYTES: Final = 256 * 1024 * 1024
"""Default of OUTBOX_MAX_BYTES."""

BATCH_ROWS: Final = 5_000
"""The most events that are delivered at a time."""

BATCH_BYTES: Final = 8 * 1024 * 1024
"""About the most bytes of them."""

LOCK_SECONDS: Final = 30.0
"""The longest wait for a process that holds the lock."""

_FORMAT_VERSION: Final = 1
_APPLICATION: Final = 0x504D4F00
"""The first three bytes of `application_id`, `PMO`; the fourth one is the version."""

_HEADER_BYTES: Final = 100
_FORK_SECONDS: Final = 5.0
_LOCK_AT_CLOSE_SECONDS: Final = 5.0
_CHECKPOINT_FRAMES: Final = 1_000
_ROWS_AT_A_TIME: Final = 1_000

_CACHE_BYTES: Final = 2 * BATCH_BYTES
"""A page of a transaction that does not fit is written before the commit, and then once more."""

_STATEMENTS: Final = {
    "events": "CREATE TABLE events (seq INTEGER PRIMARY KEY, event_id BLOB NOT NULL, "
    "pattern_id BLOB NOT NULL, measured INTEGER NOT NULL, stored INTEGER NOT NULL, "
    "reason TEXT, checksum INTEGER NOT NULL, headers TEXT NOT NULL, value BLOB NOT NULL)",
    "events_waiting": "CREATE INDEX events_waiting ON events (measured) WHERE reason IS NULL",
    "counts": "CREATE TABLE counts (next_seq INTEGER NOT NULL, waiting INTEGER NOT NULL, "
    "refused INTEGER NOT NULL, bytes INTEGER NOT NULL, coalesced INTEGER NOT NULL, "
    "checksum INTEGER NOT NULL)",
}
_PATTERN_INDEX: Final = "CREATE INDEX events_by_pattern ON events (pattern_id, measured, event_id)"
"""Only an outbox that coalesces has it."""

_ROW_COLUMNS: Final = "event_id, pattern_id, measured, stored, headers, value, checksum, seq, reason"
_INSERT: Final = f"INSERT INTO events ({_ROW_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SELECT: Final = f"SELECT {_ROW_COLUMNS} FROM events "  # noqa: S608
_SUPERSEDED: Final = """
WHERE seq IN (
    SELECT seq FROM (
        SELECT seq, row_number() OVER (
            PARTITION BY pattern_id ORDER BY measured DESC, event_id DESC, seq DESC
        ) AS place
        FROM events
        WHERE reason IS NULL AND pattern_id IN (SELECT pattern_id FROM events WHERE seq > ?)
    ) WHERE place > 1
)
"""

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""Our statements are right, so that SQLITE_ERROR means a damaged schema."""


class DamagedError(Exception):
    """The file's content contradicts itself."""


class OutboxCounts(NamedTuple):
    """The numbers of an outbox, kept beside the events so that no call has to count these.

    Attributes:
        next_seq: the place of the next event; no place is used twice.
        waiting: events that wait for delivery.
        refused: events that are kept apart.
        bytes: the bytes of all events.
        coalesced: the last place up to which no event is superseded by another one.
    """

    next_seq: int = 1
    waiting: int = 0
    refused: int = 0
    bytes: int = 0
    coalesced: int = 0

    @property
    def checksum(self) -> int:
        """A number that a damaged byte changes."""
        return crc32(b"%d,%d,%d,%d,%d" % self)


class OutboxStatus(NamedTuple):
    """The state of an outbox.

    Attributes:
        events: the number of events that wait for delivery.
        bytes: the bytes of all events, for OUTBOX_MAX_BYTES.
        oldest_seconds: the age of the event that has waited longest; None without an event.
        refused: the number of events that are kept apart.
        path: the file.
    """

    events: int
    bytes: int
    oldest_seconds: int | None
    refused: int
    path: str


class OutboxFile:
    """The file of an outbox, for any number of threads. A forked child opens it again by itself.

    Args:
        path: the file; it is created at the first use, with its directory.
        max_bytes: the bound of all events together.
        is_coalescing: whether events that a newer one supersedes make room at the bound.
        lock_seconds: the longest wait for another process.

    Raises:
        OutboxError: raised by each method if the file cannot be used. The message is one line that says why.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = MAX_BYTES,
        is_coalescing: bool = False,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._connection: sqlite3.Connection | None = None
        # Each name of the file has the same lock.
        self.path = os.path.realpath(os.path.expanduser(os.fspath(path)))  # noqa: PTH111
        self.max_bytes = max_bytes
        self._is_coalescing = is_coalescing
        self._lock_seconds = lock_seconds
        self._identity: tuple[int, ...] = ()
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._forking: dict[int, bool] = {}
        self._is_usable = True
        _OPEN_FILES.add(self)

    # Events

    def open(self) -> None:
        """Create the file, if it is missing, and check that it can be used."""
        self._run(_counts)

    def append(self, batches: Sequence[Sequence[OutboxRow]]) -> list[int]:
        """Store events and sync them, all together.

        Returns:
            For each batch, the number of its first events that were stored. The others do not fit.
        """
        return self._run(lambda connection: self._append(connection, batches))

    def newest(self) -> list[OutboxRow]:
        """Return the events to deliver next: the newest ones, as many as are delivered at a time."""

        def read(connection: sqlite3.Connection) -> list[OutboxRow]:
            rows, size = list[OutboxRow](), 0
            query = f"{_SELECT} WHERE reason IS NULL ORDER BY measured DESC LIMIT {BATCH_ROWS}"
            for row in map(OutboxRow._make, connection.execute(query)):
                _require_sound(row)
                rows.append(row)
                size += row.size
                if size > BATCH_BYTES:
                    break
            if not rows and _counts(connection).waiting:
                raise DamagedError
            return rows

        return self._run(read)

    def find(self, event_id: bytes) -> OutboxRow | None:
        """Return the event with this id, whether it waits or is kept apart; None if it is not there."""
        query = "WHERE event_id = ? LIMIT 1"
        rows = self._run(lambda connection: _rows(connection, query, event_id)) if self._is_there() else []
        return rows[0] if rows else None

    def settle(self, delivered: Iterable[OutboxRow], refused: Iterable[tuple[OutboxRow, str]]) -> None:
        """Delete the events that were delivered, and keep refused ones apart with their reason."""

        def write(connection: sqlite3.Connection) -> None:
            counts = _delete(connection, _counts(connection), delivered)
            moved = 0
            for row, reason in refused:
                moved += connection.execute(
                    "UPDATE events SET reason = ? WHERE seq = ? AND checksum = ? AND reason IS NULL",
                    (reason, row.seq, row.checksum),
                ).rowcount
            _keep(connection, counts._replace(waiting=counts.waiting - moved, refused=counts.refused + moved))

        self._run(write)

    def discard(self, event_ids: Sequence[bytes] | None = None) -> int:
        """Delete events that are kept apart, all or the ones with these ids. Return their number."""

        def write(connection: sqlite3.Connection) -> int:
            rows = _rows(connection, "WHERE reason IS NOT NULL ORDER BY seq")
            chosen = [row for row in rows if event_ids is None or row.event_id in event_ids]
            _keep(connection, _delete(connection, _counts(connection), chosen))
            return len(chosen)

        return self._run(write) if self._is_there() else 0

    def each(self, *, refused: bool | None = None) -> Iterator[OutboxRow]:
        """Yield the events in the order of storing: all, or the ones that are kept apart or not."""
        kind = {None: "", True: "AND reason IS NOT NULL", False: "AND reason IS NULL"}[refused]
        rows, last = [OutboxRow(b"", b"", 0, 0, "", b"", 0)] if self._is_there() else [], 0
        while rows:
            query = f"WHERE seq > ? {kind} ORDER BY seq LIMIT {_ROWS_AT_A_TIME}"
            rows = self._run(lambda connection: _rows(connection, query, last))  # noqa: B023 - runs at once
            yield from rows
            last = rows[-1].seq if rows else last

    def status(self) -> OutboxStatus:
        """Return the numbers of the outbox. A file that is not there has none and is not created."""
        if not self._is_there():
            return OutboxStatus(0, 0, None, 0, self.path)

        def read(connection: sqlite3.Connection) -> OutboxStatus:
            counts = _counts(connection)
            oldest = connection.execute(
                "SELECT stored FROM events WHERE reason IS NULL ORDER BY seq LIMIT 1"
            ).fetchone()
            age = None if oldest is None else max(0, int(time.time()) - oldest[0])
            return OutboxStatus(counts.waiting, counts.bytes, age, counts.refused, self.path)

        return self._run(read)

    def compact(self) -> int:
        """Return the file's free space to the file system. Return the bytes that the file has now."""

        def shrink(connection: sqlite3.Connection) -> int:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return os.stat(self.path).st_size  # noqa: PTH116

        return self._run(shrink, begin=None) if self._is_there() else 0

    def checkpoint(self) -> None:
        """Move the log's content into the database."""
        self._run(_checkpoint, begin=None)

    def close(self) -> None:
        """Close the file. The last process that closes it moves the log's content into the database."""
        if self._connection is not None and self._pid == os.getpid():
            try:
                with locked(self.path + ".lock", seconds=_LOCK_AT_CLOSE_SECONDS):
                    self._disconnect()
            except OSError:
                self._abandon()

    __del__ = close

    def _abandon(self) -> None:
        """Forget the connection and never close it: without the lock, or in a child, that is not safe."""
        import ctypes

        connection, self._connection = self._connection, None
        if connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    def flushing(self, *, seconds: float) -> AbstractContextManager[None]:
        """Return the lock of the one process that delivers, for a block.

        Raises:
            BlockingIOError: another process has held the lock for this time; raised by the block.
        """
        return locked(self.path + ".flush", seconds=seconds)

    # Transactions

    def _run(self, work: Callable[[sqlite3.Connection], T], begin: str | None = "BEGIN IMMEDIATE") -> T:
        try:
            with self._exclusive():
                try:
                    return self._attempt(work, begin)
                except (sqlite3.DatabaseError, DamagedError) as error:
                    if not _is_damage(error):
                        raise
                self._disconnect()
                aside, kept = salvage.salvage(self.path, _fill)
                warn(f"outbox {self.path}: was damaged: {kept} events of it are kept, and it is now {aside}")
                return self._attempt(work, begin)
        except OSError as error:
            raise OutboxError(f"outbox {self.path}: {error.strerror or error}") from error
        except (sqlite3.Error, DamagedError) as error:
            raise OutboxError(f"outbox {self.path}: {error}") from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T], begin: str | None) -> T:
        connection = self._connected()
        try:
            if begin:
                connection.execute(begin)
            result = work(connection)
            if begin:
                connection.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                self._disconnect()
            raise
        if salvage.log_state(self.path)[0] > _CHECKPOINT_FRAMES:
            with suppress(sqlite3.Error):  # the work is committed; the next transaction finds what is wrong
                _checkpoint(connection)
        return result

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if self._pid != os.getpid():
            raise OutboxError(f"outbox {self.path}: this process was forked in a way that Python did not see")
        if not self._mutex.acquire(timeout=self._lock_seconds):
            raise OutboxError(f"outbox {self.path}: is in use by another thread")
        try:
            if not self._is_usable:
                raise OutboxError(f"outbox {self.path}: this process was forked while another one held it")
            if self._connection is None:
                prepare(self.path)
            with locked(self.path + ".lock", seconds=self._lock_seconds):
                yield
        finally:
            self._mutex.release()

    def _connected(self) -> sqlite3.Connection:
        """Return the connection to the file that has this name now: another process may have replaced it."""
        if self._connection is not None:
            with suppress(FileNotFoundError):
                # SQLite would write on into a log without a name. Closed in time, it saves what is in there.
                if (*_identity(self.path), *_log_identity(self.path)) == self._identity:
                    return self._connection
        self._disconnect()
        salvage.finish(self.path)
        if not _is_there(self.path):
            salvage.create(self.path, _fill)
        identity = _identity(self.path)
        _require_ours(self.path)
        # A closed connection forgets nothing that is not synced, and an open one is safe in any thread.
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            left_over = self._open(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._identity = (*identity, *_log_identity(self.path))
        if left_over:
            self._recover(connection, left_over)
        return connection

    def _open(self, connection: sqlite3.Connection) -> list[OutboxRow]:
        """Set up a connection. Return events that the log still has beyond its end."""
        connection.text_factory = _text
        _sync_fully(connection)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_BYTES // 1024}")
        schema = dict(connection.execute("SELECT name, sql FROM sqlite_schema"))
        if schema.pop("events_by_pattern", _PATTERN_INDEX) != _PATTERN_INDEX or schema != _STATEMENTS:
            raise DamagedError
        connection.execute("PRAGMA journal_mode = WAL")
        if self._is_coalescing:
            connection.execute(_PATTERN_INDEX.replace("INDEX", "INDEX IF NOT EXISTS", 1))
        return list(salvage.beyond_the_log(self.path))

    def _recover(self, connection: sqlite3.Connection, rows: Iterable[OutboxRow]) -> None:
        """Store events again that are in the log behind a damaged place, or behind an unfinished write."""
        connection.execute("BEGIN IMMEDIATE")
        found = "SELECT 1 FROM events WHERE event_id = ? AND checksum = ?"
        lost = [row for row in rows if not connection.execute(found, (row.event_id, row.checksum)).fetchone()]
        counts = _counts(connection)
        for row in lost:
            counts = _insert(connection, counts, row)
        _keep(connection, counts)
        connection.execute("COMMIT")
        if lost:
            warn(f"outbox {self.path}: {len(lost)} events behind the end of its log are kept")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _is_there(self) -> bool:
        try:
            return _is_there(self.path)
        except OSError as error:
            raise OutboxError(f"outbox {self.path}: {error.strerror}") from error

    def _append(self, connection: sqlite3.Connection, batches: Sequence[Sequence[OutboxRow]]) -> list[int]:
        counts = _counts(connection)
        rows = [row for batch in batches for row in batch]
        size = sum([row.size for row in rows])
        if counts.bytes + size <= self.max_bytes:
            numbered = [(*row[:7], counts.next_seq + n, row.reason) for n, row in enumerate(rows)]
            connection.executemany(_INSERT, numbered)
            added = len(rows)
            counts = counts._replace(
                next_seq=counts.next_seq + added, waiting=counts.waiting + added, bytes=counts.bytes + size
            )
            stored = [len(batch) for batch in batches]
        else:
            stored = []
            for batch in batches:
                fitting = 0
                for row in batch:
                    accepted = self._fit(connection, counts, row)
                    if accepted is None:
                        break
                    counts, fitting = accepted, fitting + 1
                stored.append(fitting)
        _keep(connection, counts)
        return stored

    def _fit(
        self, connection: sqlite3.Connection, counts: OutboxCounts, row: OutboxRow
    ) -> OutboxCounts | None:
        """Store an event near the bound. Return the new numbers; None if the event does not fit."""
        if counts.bytes + row.size <= self.max_bytes:
            return _insert(connection, counts, row)
        if not self._is_coalescing:
            return None
        connection.execute("SAVEPOINT coalesce")
        with_row = _insert(connection, counts, row)
        superseded = _rows(connection, _SUPERSEDED, counts.coalesced)
        after = _delete(connection, with_row, superseded)._replace(coalesced=counts.next_seq)
        fits = after.bytes <= self.max_bytes
        if not fits:
            connection.execute("ROLLBACK TO coalesce")
        connection.execute("RELEASE coalesce")
        return after if fits else None

    # A fork

    def before_fork(self) -> None:
        """Close the file, so that parent and child each open it: SQLite must not be used over a fork."""
        is_quiet = self._mutex.acquire(timeout=_FORK_SECONDS)
        if is_quiet and self._connection is not None:
            try:
                with locked(self.path + ".lock", seconds=_FORK_SECONDS):
                    self._disconnect()
            except OSError:
                is_quiet = False
                self._mutex.release()
        self._forking[threading.get_ident()] = is_quiet

    def after_fork_in_parent(self) -> None:
        """Continue."""
        if self._forking.pop(threading.get_ident(), False):
            self._mutex.release()

    def after_fork_in_child(self) -> None:
        """Continue with a lock of its own, if the file was closed."""
        self._is_usable = self._forking.pop(threading.get_ident(), False)
        self._forking.clear()
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._abandon()  # a connection that is left is the parent's


_OPEN_FILES: Final = weakref.WeakSet[OutboxFile]()


def _before_fork() -> None:
    for file in list(_OPEN_FILES):
        file.before_fork()


def _after_fork_in_parent() -> None:
    for file in list(_OPEN_FILES):
        file.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for file in list(_OPEN_FILES):
        file.after_fork_in_child()


@atexit.register
def _close_all() -> None:
    for file in list(_OPEN_FILES):
        file.close()


if sys.platform != "win32":
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )


def _fill(path: str, rows: Iterable[OutboxRow]) -> int:
    """Make an empty file an outbox that holds these events, and sync it. Return their number."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _sync_fully(connection)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {_APPLICATION | _FORMAT_VERSION}")
        connection.execute(f"PRAGMA user_version = {_FORMAT_VERSION}")
        for statement in _STATEMENTS.values():
            connection.execute(statement)
        connection.execute("INSERT INTO counts VALUES (1, 0, 0, 0, 0, 0)")
        counts = OutboxCounts()
        for row in rows:
            counts = _insert(connection, counts, row)
        _keep(connection, counts)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    return counts.waiting + counts.refused


def _sync_fully(connection: sqlite3.Connection) -> None:
    """Let each commit reach the disk itself: on macOS, fsync alone leaves it in the drive's cache."""
    for setting in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON"):
        connection.execute(f"PRAGMA {setting}")


def _require_ours(path: str) -> None:
    """Check that a file is an outbox, whole or damaged, of this version.

    Raises:
        OutboxError: it is another file, or an outbox of another version.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        header = file.read(_HEADER_BYTES)
    expected = struct.pack(">I", _APPLICATION | _FORMAT_VERSION)
    alike = sum(ours == its for ours, its in zip(expected, header[68:72], strict=False))
    if alike < len(expected) - 1:
        raise OutboxError(f"outbox {path}: is another file: set OUTBOX_PATH to another path")
    version = int.from_bytes(header[60:64], "big")
    if version == header[71] and version != _FORMAT_VERSION:
        raise OutboxError(
            f"outbox {path}: has the version {version}, and this program knows {_FORMAT_VERSION}: deliver "
            "its events with the program that wrote it"
        )


def _is_there(path: str) -> bool:
    """Return whether there is a file with any content."""
    with suppress(FileNotFoundError):
        return os.stat(path).st_size > 0  # noqa: PTH116
    return False


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _log_identity(path: str) -> tuple[int, ...]:
    """Return the identities of the log and of its index."""
    found = list[int]()
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            found += _identity(path + suffix)
    return tuple(found)


def _is_damage(error: Exception) -> bool:
    return isinstance(error, DamagedError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _counts(connection: sqlite3.Connection) -> OutboxCounts:
    rows = connection.execute(
        "SELECT next_seq, waiting, refused, bytes, coalesced, checksum FROM counts"
    ).fetchall()
    if len(rows) != 1 or rows[0][5] != OutboxCounts(*rows[0][:5]).checksum:
        raise DamagedError
    return OutboxCounts(*rows[0][:5])


def _keep(connection: sqlite3.Connection, counts: OutboxCounts) -> None:
    connection.execute(
        "UPDATE counts SET next_seq = ?, waiting = ?, refused = ?, bytes = ?, coalesced = ?, checksum = ?",
        (*counts, counts.checksum),
    )


def _rows(connection: sqlite3.Connection, condition: str, *values: object) -> list[OutboxRow]:
    rows = list(map(OutboxRow._make, connection.execute(_SELECT + condition, values)))
    for row in rows:
        _require_sound(row)
    return rows


def _require_sound(row: OutboxRow) -> None:
    if not row.is_sound:
        raise DamagedError


def _insert(connection: sqlite3.Connection, counts: OutboxCounts, row: OutboxRow) -> OutboxCounts:
    connection.execute(_INSERT, row._replace(seq=counts.next_seq))
    is_refused = row.reason is not None
    return counts._replace(
        next_seq=counts.next_seq + 1,
        waiting=counts.waiting + (not is_refused),
        refused=counts.refused + is_refused,
        bytes=counts.bytes + row.size,
    )


def _delete(connection: sqlite3.Connection, counts: OutboxCounts, rows: Iterable[OutboxRow]) -> OutboxCounts:
    """Delete events that are still there, and return the new numbers."""
    waiting, refused, size = counts.waiting, counts.refused, counts.bytes
    for row in rows:
        condition = (row.seq, row.checksum, row.reason)
        deleted = connection.execute(
            "DELETE FROM events WHERE seq = ? AND checksum = ? AND reason IS ?", condition
        ).rowcount
        size -= row.size * deleted
        if row.reason is None:
            waiting -= deleted
        else:
            refused -= deleted
    return counts._replace(waiting=waiting, refused=refused, bytes=size)


def _checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()


def _text(content: bytes) -> str:
    """Return a text; a damaged one is found by the checksum."""
    return content.decode(errors="replace")


def warn(message: str) -> None:
    """Log a line for the person who runs the agent, by the standard library, which is imported then."""
    import logging

    logging.getLogger("pattern_metrics.outbox").warning(message)
