"""Where a command's data goes: standard output, or a file that is there whole or not at all."""

import errno
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

_NAME_CHARACTERS_MAX: Final = 50
"""So much of a file's name begins that of its unfinished one, which may not be longer than 255 bytes."""

_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


class OutputError(Exception):
    """Where the output goes, nothing can be written: not to be taken for the database's failure."""


@contextmanager
def writing(path: Path) -> Iterator[Callable[[bytes], None]]:
    """What takes the next bytes of the output.

    A file appears under its name when all of it is written; what is no file (a pipe, a device) is written to.

    Raises:
        OutputError: one line that names where and says why.
        BrokenPipeError: whoever reads has seen enough.
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
    # A name of its own: of two commands that write one file at once, each writes a whole one.
    unfinished = final.with_name(f"{final.name[:_NAME_CHARACTERS_MAX]}.{secrets.token_hex(4)}.part")
    with _naming(path):
        if is_device:
            unfinished = final
        elif final.exists():
            _require_replaceable(final)
        output = unfinished.open("wb" if is_device else "xb")
        if final.exists():
            unfinished.chmod(final.stat().st_mode)  # who may read it, may read the new one
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
        OSError: it is a mount point, or its folder lets only the owner replace a file (the sticky bit).
    """
    folder = file.parent.stat()
    owners = {0, folder.st_uid, file.stat().st_uid}
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        raise PermissionError(
            errno.EPERM, "belongs to somebody else, in a folder where only they may replace it"
        )
    if os.fsencode(file) in _mount_points():
        raise OSError(errno.EBUSY, "is a mount point and cannot be replaced: mount its folder, or write to -")


def _mount_points() -> set[bytes]:
    """The mounted paths, where the system lists them; a file may be one, in a container."""
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
    """Say something to a person, on standard error; what that does not take is lost, and no failure."""
    with suppress(OSError):
        typer.echo(message, err=True)


def printable(text: str) -> str:
    """Return a text as it is, or escaped if it could steer a terminal."""
    return text if text.isprintable() else ascii(text)


def fail(message: str, code: int) -> NoReturn:
    """End the command with one line on standard error, which names the variables that the user has set."""
    from pattern_metrics.schemas.settings.variables import with_variables

    tell(with_variables(message))
    raise typer.Exit(code)


def open_closed_streams() -> None:
    """Put a stream that fails in the place of a standard one that is closed; errors go nowhere then.

    Python has None there, to which some write in silence, and its number would be the next socket's.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), "r")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def end_output(code: int) -> int:
    """The exit code of a command, once what it wrote has arrived at standard output, or could not.

    What standard error does not take is lost, and changes no exit code.
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
        if code == 0 and not isinstance(error, BrokenPipeError):  # `| head` has seen enough
            tell(f"error: standard output: {error}")
        # Python tries the rest once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 1
    return code
