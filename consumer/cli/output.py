"""Writes a command's data to standard output, or to a file that is either complete or absent."""

import errno
import io
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

import typer

STANDARD_OUTPUT: Final = Path("-")

_FILE_NAME_CHARACTERS_MAX: Final = 50
"""Characters of a file's name that begin its unfinished file's name, which is limited to 255 bytes."""

_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


class OutputError(Exception):
    """The output cannot be written. A class of its own, so that it is not taken for a database's failure."""


@contextmanager
def writing(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes the next bytes of the output.

    A file appears under its name when all of it is written. A pipe or a device is written to directly.

    Raises:
        OutputError: the output cannot be written; one line that names the place and the reason.
        BrokenPipeError: the reader has closed the pipe.
    """
    try:
        with _to_standard_output() if path == STANDARD_OUTPUT else _to_file(path) as write:
            yield write
    except OutputError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            raise error.__cause__ from None
        raise


@contextmanager
def _to_file(path: Path) -> Iterator[Callable[[bytes], None]]:
    is_device = path.exists() and not path.is_file()
    final = path.resolve()
    # A name that no other command has: if two commands write one file at once, each writes a whole file.
    unfinished = final.with_name(f"{final.name[:_FILE_NAME_CHARACTERS_MAX]}.{secrets.token_hex(4)}.part")
    with _naming(path):
        if is_device:
            unfinished = final
        elif final.exists():
            _require_replaceable(final)
        output = unfinished.open("wb" if is_device else "xb")
        if final.exists():
            unfinished.chmod(final.stat().st_mode)  # readers of the old file may read the new one
    try:

        def write_to_file(data: bytes) -> None:
            with _naming(path):
                output.write(data)

        yield write_to_file
        with _naming(path):
            output.close()
            if not is_device:
                unfinished.replace(final)
    except BaseException:
        with suppress(OSError):
            output.close()
        if not is_device:
            unfinished.unlink(missing_ok=True)
        raise


def _require_replaceable(file: Path) -> None:
    """Check before the work that the file may be replaced after it.

    Raises:
        OSError: it is a mount point, or its directory lets only the owner replace a file (the sticky bit).
    """
    folder = file.parent.stat()
    owners = {0, folder.st_uid, file.stat().st_uid}
    if sys.platform != "win32" and folder.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        raise PermissionError(
            errno.EPERM, "belongs to somebody else, in a folder where only they may replace it"
        )
    if os.fsencode(file) in _mount_points():
        raise OSError(errno.EBUSY, "is a mount point and cannot be replaced: mount its folder, or write to -")


def _mount_points() -> set[bytes]:
    """Return the mounted paths, if the system lists them. In a container, a file may be one."""
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return set()
    return {_OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), line.split()[4]) for line in lines}


@contextmanager
def _to_standard_output() -> Iterator[Callable[[bytes], None]]:
    def write(data: bytes) -> None:
        with _naming("standard output"):
            sys.stdout.buffer.write(data)

    yield write
    with _naming("standard output"):
        sys.stdout.buffer.flush()


@contextmanager
def _naming(place: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{place}: {error.strerror or error}") from error


def tell(message: str) -> None:
    """Print a message for a person on standard error. If that fails, only the message is lost."""
    with suppress(OSError):
        typer.echo(message, err=True)


def printable(text: str) -> str:
    """Return a text unchanged, or escaped if it could control a terminal."""
    return text if text.isprintable() else ascii(text)


def fail(message: str, code: int) -> NoReturn:
    """End the command with one line on standard error, which names the variables that the user has set."""
    from pattern_metrics.schemas.settings.variables import with_variables

    tell(with_variables(message))
    raise typer.Exit(code)


def open_closed_streams() -> None:
    """Replace closed standard streams by streams that fail. Error messages are then lost.

    Python has None for a closed stream. Some code would then write nowhere without an error, and the next
    socket would get the number of the stream.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), "r")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def escape_other_characters() -> None:
    """Let standard output escape the characters that its encoding lacks, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def end_output(code: int) -> int:
    """Return the exit code of a command, after its output was flushed or failed.

    Data that standard error does not take is lost, and changes no exit code.
    """
    code = _end_stdout(code)
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return code


def _end_stdout(code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError as error:
        if code == 0 and not isinstance(error, BrokenPipeError):  # `| head` has read enough
            tell(f"error: standard output: {error}")
        # Otherwise Python would try to write the rest once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 1
    return code
