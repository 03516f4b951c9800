import os
from pathlib import Path

import pytest

from pattern_metrics.consumer.settings import LogSettings, WorkerSettings
from pattern_metrics.schemas.settings import variables


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, which it returns, and an environment without our settings."""
    names = {name.upper() for name in (*WorkerSettings.model_fields, *LogSettings.model_fields)}
    for variable in list(os.environ):
        if variable.upper() in names or variable.upper().startswith(variables.PREFIX):
            monkeypatch.delenv(variable)
    variables._read_once.cache_clear()
    monkeypatch.chdir(tmp_path)
    return tmp_path
