"""The address of the health check: that of the settings, although it does not read them by the same code."""

from pathlib import Path

import pytest

from pattern_metrics.consumer.alive import address
from pattern_metrics.consumer.settings import HttpSettings
from pattern_metrics.schemas.settings.variables import ENV_FILE


@pytest.mark.parametrize(
    ("environment", "file"),
    [
        ({}, ""),
        ({"HTTP_HOST": "::1", "HTTP_PORT": "0"}, ""),
        ({"http_host": "worker.example", "Http_Port": "9000"}, "HTTP_HOST=elsewhere"),
        ({"HTTP_HOST": "", "HTTP_PORT": ""}, ""),
        ({"HTTP_PORT": ""}, "HTTP_HOST='0.0.0.0'\nexport HTTP_PORT = 9001  # ours\n"),
        ({"HTTP_PORT": "9002"}, "HTTP_HOST=worker\nHTTP_PORT=9001\n"),
        ({"HTTP_PORT": "9003", "PATTERN_METRICS_HTTP_PORT": "9004"}, "PATTERN_METRICS_HTTP_HOST=::1"),
    ],
)
def test_it_is_where_the_settings_say(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], file: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (clean_environment / ".env").write_text("HTTP_PORT=1", encoding="utf-8")
    (clean_environment / "our.env").write_text(file, encoding="utf-8")
    monkeypatch.setenv(ENV_FILE, str(clean_environment / "our.env"))
    settings = HttpSettings()

    assert address() == (settings.http_host, settings.http_port)
