from pathlib import Path

import pytest

from pattern_metrics.consumer.settings import LogSettings, WorkerSettings


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory without a `.env`, which it returns, and an environment without our settings."""
    for field in (*WorkerSettings.model_fields, *LogSettings.model_fields):
        for variable in (field, field.upper()):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
