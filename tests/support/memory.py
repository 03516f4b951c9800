"""Where servers of tests keep their files: in memory, as none of these tests crashes the machine."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")
_BYTES_MIN = 4 << 30
"""So much room lets all processes of a run have their servers there."""


def _is_usable() -> bool:
    return (
        _MEMORY.is_dir()
        and os.access(_MEMORY, os.W_OK)
        and shutil.disk_usage(_MEMORY).free >= _BYTES_MIN
        and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC  # some servers are copied to where they run
    )


@contextmanager
def files_in_memory() -> Iterator[None]:
    """Let temporary files be made there, for as long as a block."""
    with pytest.MonkeyPatch.context() as patch:
        if "TMPDIR" not in os.environ and _is_usable():
            patch.setattr(tempfile, "tempdir", str(_MEMORY))
        yield


@pytest.fixture(scope="session", autouse=True)
def _temporary_files_in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a run removes at its end; `tmp_path`, which it keeps, is chosen before and stays on the disk."""
    tmp_path_factory.getbasetemp()
    with files_in_memory():
        yield
