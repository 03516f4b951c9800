"""The place of an outbox: its directory, its owner, its file system and its lock."""

import ctypes
import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


# A library of locks takes as long to import as all the rest of a shell hook.

_NETWORK: Final = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x01021997: "9P",
    0x00C36400: "Ceph",
    0x65735546: "FUSE",
    0x47504653: "GPFS",
    0x0BD00BD0: "Lustre",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
    0x786F4256: "vboxsf",
}
"""File systems that other machines may write to, by `f_type` of statfs(2)."""

_STATFS_BYTES: Final = 256
"""More than `struct statfs` has on any architecture. Its first member is `f_type`."""

_FIRST_WAIT_SECONDS: Final = 0.0002
_LONGEST_WAIT_SECONDS: Final = 0.005


class OutboxError(Exception):
    """The outbox cannot do what was asked. The message is one line that names the file."""


class OutboxFullError(OutboxError):
    """An event does not fit into the outbox within OUTBOX_MAX_BYTES."""


def file_system_type(directory: str) -> int:
    """Return `f_type` of the file system that holds a directory; 0 if the system is not Linux.

    Raises:
        OSError: there is no such directory.
    """
    kind = 0
    if sys.platform == "linux":  # elsewhere the structure is another one
        buffer = ctypes.create_string_buffer(_STATFS_BYTES)
        if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(directory), buffer) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), directory)
        kind = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return kind


def prepare(path: str) -> None:
    """Create the directory of an outbox if it is missing, readable by its owner alone.

    Raises:
        OutboxError: the path is a device, a pipe, a directory, or one of several names of a file, or is on a
            network file system.
        OSError: it cannot be created.
    """
    if os.path.exists(path):  # noqa: PTH110 - pathlib is slow to import
        if not os.path.isfile(path):  # noqa: PTH113 - a new outbox would take its place
            raise OutboxError(f"outbox {path}: is not a regular file: set OUTBOX_PATH to another path")
        if os.stat(path).st_nlink > 1:  # noqa: PTH116 - each name would have a log and a lock of its own
            raise OutboxError(f"outbox {path}: has another name too (a hard link): delete one of them")
        _require_owner(path)
    directory = os.path.dirname(path)  # noqa: PTH120
    if not os.path.isdir(directory):  # noqa: PTH112
        os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103
        sync_directory(os.path.dirname(directory))  # noqa: PTH120
    network = _NETWORK.get(file_system_type(directory))
    if network:
        raise OutboxError(
            f"outbox {path}: is on a network file system ({network}), which loses events: set OUTBOX_PATH to "
            "a path on a local disk"
        )


def _require_owner(path: str) -> None:
    """Check that the file belongs to this user, so that its log and its lock do as well.

    Raises:
        OutboxError: it belongs to another user.
    """
    if sys.platform != "win32":
        owner = os.stat(path).st_uid  # noqa: PTH116
        if owner != os.geteuid():
            raise OutboxError(
                f"outbox {path}: belongs to the user with the id {owner}, and this process runs as "
                f"{os.geteuid()}: give each user an outbox"
            )


def sync_directory(directory: str) -> None:
    """Sync a directory, so that the names in it survive a loss of power. Windows opens no directory."""
    if sys.platform != "win32":
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(path: str, *, seconds: float) -> Iterator[None]:
    """Hold the lock of this name during the block. The kernel frees the lock of a process that was killed.

    Raises:
        BlockingIOError: another process held it for this time.
        OSError: the file of the lock cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    _HELD.add(descriptor)
    try:
        _lock(descriptor, path, time.monotonic() + seconds)
        yield
    finally:
        _HELD.discard(descriptor)
        os.close(descriptor)


def _lock(descriptor: int, path: str, deadline: float) -> None:
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            _try_lock(descriptor)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise BlockingIOError(errno.EAGAIN, f"{path} is locked by another process") from None
        else:
            return
        time.sleep(wait)
        wait = min(wait * 2, _LONGEST_WAIT_SECONDS)


_HELD: Final = set[int]()


def _after_fork_in_child() -> None:
    """Close the parent's locks, which would be held for as long as this child lives."""
    while _HELD:
        os.close(_HELD.pop())


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)
