"""Keeps the files of tests' servers in memory, because no such test crashes the machine."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")
_BYTES_MIN = 4 << 30
"""Enough room for the servers of all processes of a run."""


def _is_usable() -> bool:
    return (
        _MEMORY.is_dir()
        and os.access(_MEMORY, os.W_OK)
        and shutil.disk_usage(_MEMORY).free >= _BYTES_MIN
        and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC  # some servers are copied there and executed
    )


@contextmanager
def files_in_memory() -> Iterator[None]:
    """Create temporary files there during a block."""
    with pytest.MonkeyPatch.context() as patch:
        if "TMPDIR" not in os.environ and _is_usable():
            patch.setattr(tempfile, "tempdir", str(_MEMORY))
        yield


@pytest.fixture(scope="session", autouse=True)
def _temporary_files_in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Affects files that a run removes. `tmp_path`, which it keeps, was chosen before and stays on disk."""
    tmp_path_factory.getbasetemp()
    with files_in_memory():
        yield
