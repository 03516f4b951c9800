"""Runs the commands of the tutorial as a newcomer would, and compares their output.

The word after a fence's language names the terminal. `sh servers` and `sh worker` start a command that keeps
running, and `text servers` and `text worker` are output to wait for. A plain `sh` runs to its end, and the
plain `text` after it is its whole output.
"""

import re
import shlex
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support.command import CommandLine, Watched

TUTORIAL: Final = Path(__file__).parents[2] / "docs" / "tutorial.md"

_FENCE: Final = re.compile(r"^```(sh|text)(?: (\w+))?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_EXPORT: Final = re.compile(r"export (\w+)=(\S+)")


def blocks() -> Iterator[tuple[str, str, str]]:
    """Return language, terminal and text of each fence, in order."""
    for language, terminal, text in _FENCE.findall(TUTORIAL.read_text(encoding="utf-8")):
        if not text.startswith("pip install"):
            yield language, terminal, text


def pattern_of(expected: str) -> str:
    """Return a regular expression. … stands for any text of a line or, alone on a line, for any lines."""
    return "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else _line(line) + r"\r?\n" for line in expected.splitlines()
    )


def _line(line: str) -> str:
    return ".*".join(
        r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in line.rstrip().split("…")
    ) + (r"\s*" if not line.endswith("…") else "")


@pytest.mark.long
async def test_each_step_of_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    environment, printed = {"HTTP_PORT": "0"}, ""
    command = CommandLine(tmp_path, environment)
    terminals = dict[str, Watched]()
    async with AsyncExitStack() as stack:
        for language, terminal, text in blocks():
            if language == "sh" and terminal:
                watched = command.watched(*shlex.split(text)[1:])
                terminals[terminal] = await stack.enter_async_context(watched)
            elif language == "sh":
                script = f"exec 2>&1\n{text}"
                run = await command.run_program("bash", "-ec", script, pythonunbuffered=1)
                printed = run.succeeded().stdout.decode()
            elif terminal:
                shown = await terminals[terminal].wait_for(pattern_of(text))
                environment |= _EXPORT.findall(shown[0])
            else:
                assert re.fullmatch(pattern_of(text), printed), f"{text}\nwas:\n{printed}"
        assert [await terminals[one].press_ctrl_c() for one in ("worker", "servers")] == [0, 0]


@pytest.mark.parametrize(
    ("expected", "printed", "is_alike"),
    [
        ("read 1\n", "read 1\n", True),
        ("read 1\n", "read 2\n", False),
        ("a … b\n", "a anything b\n", True),
        ("…\nlast\n", "first\nsecond\nlast\n", True),
        ("…\nlast\n", "first\n", False),
        ("one\n", "one\ntwo\n", False),
    ],
)
def test_output_that_differs_would_be_noticed(expected: str, printed: str, *, is_alike: bool) -> None:
    assert (re.fullmatch(pattern_of(expected), printed) is not None) is is_alike
