"""Where a command's data goes: standard output, or a file that is there whole or not at all."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

STANDARD_OUTPUT: Final = Path("-")


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
    unfinished = final if is_device else final.with_name(f"{final.name}.part")
    with _naming(path):
        output = unfinished.open("wb")
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
