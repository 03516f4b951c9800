"""The five cases of the guide for agents, as it prints them."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pattern_metrics.publisher.outbox.file import OutboxFile
from tests.support.command import CommandLine
from tests.support.pipeline import an_event

GUIDE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "publish-from-an-agent.md"

OUTBOXES: Final = {
    "A shell hook": ".local/state/pattern-metrics/outbox.db",
    "A job in CI": "outbox.db",
}

_CASE: Final = re.compile(r"^### (.+?)\n.*?^```(python|sh)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_SOURCE: Final = "def total(prices):\n    return sum(prices)\n"


def cases() -> Iterator[tuple[str, str, str]]:
    """Yield title, language and the first script of each case."""
    text = GUIDE.read_text(encoding="utf-8")
    yield from _CASE.findall(text.partition("\n## Five cases\n")[2].partition("\n## ")[0])


@pytest.mark.parametrize(("title", "language", "script"), [*cases()], ids=[title for title, _, _ in cases()])
async def test_each_case_of_the_guide_runs_as_printed(
    tmp_path: Path, title: str, language: str, script: str
) -> None:
    """No broker is there, so that the events are found in the outbox afterwards."""
    path = tmp_path / OUTBOXES.get(title, "agent/outbox.db")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "cart.py").write_text(_SOURCE, encoding="utf-8")
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "HOME": str(tmp_path)}
    command = CommandLine(tmp_path, environment | {"event": an_event().to_json().decode()})

    if language == "python":
        assert script.count("/var/lib/agent/outbox.db") == 1
        script = script.replace("/var/lib/agent/outbox.db", str(path))
        ran = await command.run_program(sys.executable, "-W", "error", "-c", script)
    else:
        ran = await command.run_program("bash", "-euo", "pipefail", "-c", script)

    ran.succeeded()
    rows = list(OutboxFile(path).each())
    assert len(rows) == (2 if title == "A forked server" else 1)
    if title == "A job in CI":
        assert (tmp_path / "left.jsonl").read_bytes() == rows[0].value + b"\n"


def test_the_guide_has_the_five_cases() -> None:
    assert [(title, language) for title, language, _ in cases()] == [
        ("An asynchronous agent", "python"),
        ("An agent that is not asynchronous", "python"),
        ("A shell hook", "sh"),
        ("A job in CI", "sh"),
        ("A forked server", "python"),
    ]
