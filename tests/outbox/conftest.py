from pathlib import Path

import pytest

from pattern_metrics.publisher.outbox.file import OutboxFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent" / "outbox.db"


@pytest.fixture
def file(path: Path) -> OutboxFile:
    return OutboxFile(path)
