"""`pattern-metrics score`: its output, and its report of files that were not scored."""

import json
from pathlib import Path

import pytest

from tests.support.command import CommandLine, Finished

SOURCE = "def run(x):\n    return x\n"


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    for name in ("a/main.py", "b/main.py", "src/main.py", "build/lib/main.py", "empty/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(SOURCE)
    (tmp_path / "pyproject.toml").touch()
    return CommandLine(tmp_path)


def names(finished: Finished) -> list[str]:
    return [json.loads(line)["metadata"]["name"] for line in finished.stdout.splitlines()]


async def test_a_name_depends_on_the_project_and_not_on_the_argument(
    command: CommandLine, tmp_path: Path
) -> None:
    whole = (await command.run("score", ".")).succeeded()
    inside = (await CommandLine(tmp_path / "src").run("score", ".")).succeeded()
    named = (await command.run("score", "src", "--project", "shop")).succeeded()
    rooted = (await command.run("score", "src", "--root", "src")).succeeded()

    assert names(whole) == ["a.main:run", "b.main:run", "main:run"]
    assert names(inside) == names(rooted) == ["main:run"]
    assert names(named) == ["shop/main:run"]
    assert whole.stderr == inside.stderr == named.stderr == rooted.stderr == ""


async def test_a_name_that_two_files_define_is_reported_with_both(
    command: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text(SOURCE)

    scored = await command.run("score", ".")

    assert scored.code == 1
    assert names(scored).count("main:run") == 1
    assert "skipped src/main.py: main:run is defined in main.py already" in scored.stderr


@pytest.mark.parametrize(
    ("argument", "code", "expected"),
    [
        ("cells.ipynb", 1, "skipped cells.ipynb: a notebook is not scored"),
        ("types.pyi", 1, "skipped types.pyi: a stub is not scored"),
        ("empty", 1, "skipped empty: holds no Python file"),
        ("a", 0, "not scored: 1 .ipynb, 1 .pyi"),
        ("nothing.py", 0, "no function or class in 1 files"),
    ],
)
async def test_a_file_that_is_not_scored_is_reported(
    command: CommandLine, tmp_path: Path, argument: str, code: int, expected: str
) -> None:
    for name in ("cells.ipynb", "types.pyi", "a/cells.ipynb", "a/types.pyi", "nothing.py"):
        (tmp_path / name).write_text("{}")

    scored = await command.run("score", argument)

    assert scored.code == code
    assert expected in scored.stderr


async def test_files_outside_of_any_project_are_reported(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").unlink()

    scored = (await command.run("score", "a")).succeeded()

    assert names(scored) == ["main:run"]
    assert "1 files have no pyproject.toml or .git above them: give --root" in scored.stderr


@pytest.mark.parametrize(
    "wrong", [("--project", "a:b"), ("--project", ""), ("--root", "missing"), ("--root", "a/main.py")]
)
async def test_an_unusable_root_or_project_is_refused(command: CommandLine, wrong: tuple[str, str]) -> None:
    refused = await command.run("score", "a", *wrong)

    assert refused.code == 2
    assert wrong[0] in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
