"""Runs `pattern-metrics`, or a program, without the names that a laptop's system lacks.

Windows has neither `fcntl` nor `os.fork`, opens no directory, renames no open file, and polls sockets only.
The libraries are imported first, because each has releases for all systems. What is then imported is ours.

    python without_linux.py publish events.jsonl --outbox
    python without_linux.py program.py
"""

import asyncio
import errno
import fcntl
import importlib
import os
import runpy
import select
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

LIBRARIES: Final = (
    *("aiokafka", "aiokafka.admin", "ctypes", "msgspec", "pydantic", "pydantic_settings", "rich.console"),
    *("rich.progress", "sqlite3", "ssl", "structlog", "subprocess", "tempfile", "typer", "typer.rich_utils"),
    *("dotenv", "getpass", "uuid", "venv", "gzip", "csv", "multiprocessing", "concurrent.futures.thread"),
)

MODULES: Final = (
    *("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty", "uvloop"),
    "_posixshmem",
)

OS: Final = (
    *("chown", "chroot", "confstr", "ctermid", "eventfd", "fchdir", "fchmod", "fchown", "fdatasync", "fork"),
    *("forkpty", "fstatvfs", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp"),
    *("getpriority", "getresuid", "getsid", "getuid", "getxattr", "initgroups", "killpg", "lchown", "lockf"),
    *(
        "memfd_create",
        "mkfifo",
        "mknod",
        "nice",
        "openpty",
        "pathconf",
        "pidfd_open",
        "pipe2",
        "posix_fadvise",
    ),
    *("posix_fallocate", "posix_spawn", "pread", "preadv", "pwrite", "pwritev", "readv", "register_at_fork"),
    *("sched_getaffinity", "sched_setaffinity", "sched_yield", "sendfile", "setegid", "seteuid", "setgid"),
    *("setgroups", "setpgid", "setpriority", "setsid", "setuid", "setxattr", "splice", "statvfs", "sync"),
    *("sysconf", "tcgetpgrp", "ttyname", "uname", "wait", "wait3", "wait4", "writev", "O_ASYNC", "O_CLOEXEC"),
    *("O_DIRECT", "O_DIRECTORY", "O_DSYNC", "O_NOATIME", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH"),
    *("O_RSYNC", "O_SYNC", "O_TMPFILE"),
)

SIGNALS: Final = (
    *(
        "SIGALRM",
        "SIGCHLD",
        "SIGCONT",
        "SIGHUP",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGUSR1",
    ),
    *("SIGUSR2", "SIGWINCH", "alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
)

PLACES: Final = ("/dev/", "/proc/", "/run/", "/sys/")

OURS: Final = (
    sys.prefix,
    sys.base_prefix,
    str(Path.cwd()),
    str(Path(os.environ.get("OUTBOX_PATH", __file__)).parent),
)
"""May lie in one of these places, because tests keep their files in memory."""


def take_away() -> None:
    """Let this process see no more than Windows has, from now on."""
    for library in LIBRARIES:
        importlib.import_module(library)
    _replace_functions()
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment] # an import of it fails
    for module, names in ((os, OS), (signal, SIGNALS), (socket, ["AF_UNIX"])):
        for name in set(names) & set(dir(module)):
            delattr(module, name)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"pattern_metrics(\..*)?")
    sys.addaudithook(_refuse)
    sys.platform = "win32"


def _replace_functions() -> None:
    lock, select_any, pair, local = fcntl.flock, select.select, socket.socketpair, socket.AF_UNIX

    def locking(descriptor: int, _mode: int, _length: int) -> None:
        try:
            lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(errno.EACCES, "Permission denied") from error

    def select_sockets(*waiting: Any) -> Any:
        if any(isinstance(one, int) for ones in waiting[:3] for one in ones):
            raise OSError(errno.ENOTSOCK, "not a socket")
        return select_any(*waiting)

    def add_signal_handler(*_: object) -> NoReturn:
        raise NotImplementedError

    msvcrt = ModuleType("msvcrt")
    vars(msvcrt).update(LK_NBLCK=2, locking=locking)
    sys.modules["msvcrt"] = msvcrt
    select.select = select_sockets
    socket.socketpair = lambda *_: pair(local)  # asyncio's own
    asyncio.SelectorEventLoop.add_signal_handler = add_signal_handler  # type: ignore[assignment,method-assign]


def _refuse(event: str, arguments: Sequence[Any]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        _refuse_to_open(arguments[0])
    elif event in {"os.rename", "os.remove"}:
        _refuse_an_open_file(os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes))
    elif (
        event.startswith(("fcntl.", "os.fork", "os.exec", "os.posix_spawn", "pty."))
        and event != "fcntl.flock"
    ):
        raise OSError(errno.ENOSYS, event)


def _refuse_to_open(path: str) -> None:
    if path.startswith(PLACES) and not path.startswith((*OURS, os.devnull)):
        raise FileNotFoundError(errno.ENOENT, "there is no such place", path)
    if os.path.isdir(path):  # noqa: PTH112
        raise PermissionError(errno.EACCES, "a directory", path)


def _refuse_an_open_file(paths: Any) -> None:
    names = [os.path.realpath(path) for path in paths]
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        except OSError:
            continue
        if target in names:
            raise PermissionError(errno.EACCES, "the file is open", target)


def main() -> None:
    """Run the command line of our own arguments."""
    take_away()
    if sys.argv[1:] and sys.argv[1].endswith(".py"):
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        runpy.run_module("pattern_metrics", run_name="__main__")


if __name__ == "__main__":
    main()
