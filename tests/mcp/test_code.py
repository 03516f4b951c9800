"""The tools that score code: what they say, and what they may read."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from pattern_metrics.consumer.mcp import code, scoring
from pattern_metrics.consumer.mcp.code import CodeTools
from pattern_metrics.consumer.mcp.scoring import FILE_BYTES_MAX, FILES_MAX
from pattern_metrics.publisher.scoring import sources
from tests.support.mcp import connected_model, mcp_settings
from tests.support.waiting import eventually
from tests.unit.publisher.scoring import events_of

NOWHERE = mcp_settings("postgresql://nobody@127.0.0.1:1/none")
SECRET = "def secret_name():\n    return 'secret value'\n"
GOOD = '''
def total(items: list[int]) -> int:
    """Return the sum of all items that are in the list.

    >>> total([1])
    1
    """
    return sum(items)
'''
BAD = "class Thing:\n    def f(self, x):\n        exec(x)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project, and beside it a directory with a secret."""
    project, outside = tmp_path / "project", tmp_path / "outside"
    (project / "shop").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.py").write_text(SECRET)
    (project / "shop" / "good.py").write_text(GOOD)
    (project / "shop" / "bad.py").write_text(BAD)
    return project


async def test_the_worst_definitions_come_first_with_the_scores_of_the_command(mode: str, root: Path) -> None:
    async with connected_model(NOWHERE, root, mode=mode) as model:
        found = await model.ask("score_code", path="shop")
        fewer = await model.ask("score_code", path="shop/bad.py", limit=1)
        text = await model.ask("score_code", source=BAD)

    expected = {str(event.metadata["name"]): event.quality_score for event in events_of(root, root=root)}
    assert {one["name"]: one["score"] for one in found["definitions"]} == expected
    scores = [one["score"] for one in found["definitions"]]
    assert scores == sorted(scores)
    assert found["definitions"][-1] == {
        "name": "shop.good:total",
        "file": "shop/good.py",
        "line": 2,
        "end_line": 8,
        "score": scores[-1],
        "band": "good",
        "weakest": "completeness",
    }
    assert (found["left_off"], found["notes"]) == (0, [])
    assert (len(fewer["definitions"]), fewer["left_off"]) == (1, 1)
    assert [one["name"] for one in text["definitions"]] == ["Thing.f", "Thing"]


async def test_a_score_is_explained_with_the_changes_that_gain_most(mode: str, root: Path) -> None:
    async with connected_model(NOWHERE, root, mode=mode) as model:
        known = await model.ask("explain_score", name="shop.bad:Thing.f", path="shop")
        by_text = await model.ask("explain_score", name="Thing.f", source=BAD)
        absent = await model.fail("explain_score", name="Thing.g", source=BAD)

    assert known == {**by_text, "name": "shop.bad:Thing.f"}
    assert sum(one["weight"] for one in known["dimensions"]) == pytest.approx(1)
    assert known["score"] == pytest.approx(
        sum(one["weight"] * one["score"] for one in known["dimensions"]), abs=0.0001
    )
    assert "eval or exec x1" in {one["dimension"]: one["facts"] for one in known["dimensions"]}["compliance"]
    gains = [change["gain"] for change in known["changes"]]
    assert len(gains) == 3
    assert gains == sorted(gains, reverse=True)
    assert absent == "no definition has this name; there are: Thing, Thing.f"


def linked_file(root: Path) -> str:
    (root / "link.py").symlink_to(root.parent / "outside" / "secret.py")
    return "link.py"


def linked_directory(root: Path) -> str:
    (root / "link").symlink_to(root.parent / "outside")
    return "link"


def file_in_linked_directory(root: Path) -> str:
    return f"{linked_directory(root)}/secret.py"


def link_inside(root: Path) -> str:
    linked_file(root)
    linked_directory(root)
    return "."


def link_to_a_link(root: Path) -> str:
    (root / "shop" / "again.py").symlink_to(root / linked_file(root))
    return "shop/again.py"


PLACES: dict[str, Callable[[Path], str]] = {
    "above": lambda _: "../outside",
    "above, as a file": lambda _: "../outside/secret.py",
    "above, by a detour": lambda _: "shop/../../outside/secret.py",
    "absolute": lambda root: str(root.parent / "outside" / "secret.py"),
    "a sibling with the same beginning": lambda root: f"../{root.name}-other",
    "the system": lambda _: "/etc/passwd",
    "a link to a file": linked_file,
    "a link to a directory": linked_directory,
    "a file in a linked directory": file_in_linked_directory,
    "a link to a link": link_to_a_link,
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_path_outside_of_the_root_is_refused_as_one_that_is_not_there(root: Path, place: str) -> None:
    path = PLACES[place](root)
    async with connected_model(NOWHERE, root) as model:
        refusals = {
            await model.fail("score_code", path=path),
            await model.fail("explain_score", name="secret_name", path=path),
            await model.fail("score_code", path="no/such/file.py"),
        }

    assert refusals == {"path: there is no such file or directory below the root"}


@pytest.mark.parametrize("swap", ["a link", "a link to a directory", "a pipe"])
def test_a_file_that_is_replaced_after_it_was_found_is_not_read(
    root: Path, swap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sources.find_sources

    def find_and_swap(paths: list[Path], *, root: Path | None) -> Any:
        all_found = found(paths, root=root)
        file = paths[0] / "shop" / "bad.py"
        if swap == "a link to a directory":
            (paths[0] / "shop").rename(paths[0] / "elsewhere")
            (paths[0] / "shop").symlink_to(paths[0].parent / "outside")
            (paths[0].parent / "outside" / "bad.py").write_text(SECRET)
            return all_found
        file.unlink()
        if swap == "a link":
            file.symlink_to(paths[0].parent / "outside" / "secret.py")
        else:
            os.mkfifo(file)
        return all_found

    monkeypatch.setattr(scoring, "find_sources", find_and_swap)
    scores = scoring.CodeScoring(root).score_code(".", "", 50)

    assert "secret_name" not in json.dumps(scores)
    assert [note for note in scores["notes"] if note.startswith("shop/bad.py: ")]


async def test_links_that_leave_the_root_are_left_out_of_a_directory(root: Path) -> None:
    path = link_inside(root)
    async with connected_model(NOWHERE, root) as model:
        found = await model.ask("score_code", path=path, limit=50)

    assert "secret_name" not in json.dumps(found)
    assert str(root.parent) not in json.dumps(found)
    assert found["notes"] == ["link.py: lies outside of the root"]


@pytest.mark.parametrize("path", ["a\0b", "x" * 1_000, "circle", "circle/x.py", "shop/pipe.py"], ids=len)
async def test_a_path_that_cannot_be_opened_is_a_sentence(root: Path, path: str) -> None:
    (root / "circle").symlink_to("circle")
    async with connected_model(NOWHERE, root) as model:
        assert await model.fail("score_code", path=path) == (
            "path: there is no such file or directory below the root"
        )


async def test_only_python_files_are_read_and_only_below_a_root(root: Path) -> None:
    (root / "notes.txt").write_text("password")
    async with connected_model(NOWHERE, root) as model:
        other = await model.fail("score_code", path="notes.txt")
        both = await model.fail("score_code", path="shop", source="x = 1")
        neither = await model.fail("score_code")
    async with connected_model(NOWHERE) as model:
        without = await model.fail("score_code", path=str(root))

    assert other == "path: only files with the suffix .py are scored"
    assert both == neither == "give either path or source"
    assert without == "this server reads no files (it has no --root): give source"


async def test_what_cannot_be_scored_is_noted_and_the_rest_is_scored(root: Path) -> None:
    (root / "broken.py").write_text("def f(:\n")
    (root / "large.py").write_text("#" * (FILE_BYTES_MAX + 1))
    (root / "odd.py").write_bytes(b"# coding: no-such-coding\n")
    os.mkfifo(root / "pipe.py")
    async with connected_model(NOWHERE, root) as model:
        found = await model.ask("score_code", path=".")
        broken = await model.ask("score_code", source="def f(:\n")

    assert {one["file"] for one in found["definitions"]} == {"shop/good.py", "shop/bad.py"}
    assert [note.partition(":")[0] for note in found["notes"]] == ["broken.py", "large.py", "odd.py"]
    assert broken["definitions"] == []
    assert broken["notes"][0].startswith("source: line 1: ")


async def test_a_text_is_read_as_text_whatever_encoding_it_names() -> None:
    for encoding in ("latin-1", "utf-16", "no-such-coding"):
        source = f"# coding: {encoding}\ndef größe_李():\n    pass\n"
        async with connected_model(NOWHERE) as model:
            found = await model.ask("score_code", source=source)

        assert [one["name"] for one in found["definitions"]] == ["größe_李"], encoding


async def test_an_explanation_that_is_not_possible_says_what_cannot_be_parsed(root: Path) -> None:
    (root / "broken.py").write_text("def f(:\n")
    async with connected_model(NOWHERE, root) as model:
        of_text = await model.fail("explain_score", name="f", source="def f(:\n")
        of_files = await model.fail("explain_score", name="f", path=".")

    assert of_text.startswith("no definition has this name; there are: none; source: line 1: ")
    assert "; broken.py: line 1: " in of_files


SLOW = "f'" + "{x}" * 60_000 + "'\n"
"""The parser of Python 3.11 takes the square of the number of fields."""


async def test_a_call_that_takes_too_long_is_ended_and_the_next_one_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(code, "SCORING_SECONDS_MAX", 0.0)
    async with connected_model(NOWHERE) as model:
        refused = await model.fail("score_code", source=SLOW)
        monkeypatch.undo()
        found = await model.ask("score_code", source=GOOD)

    assert refused == "scoring took longer than 0 s: give less code, or a smaller directory"
    assert [one["name"] for one in found["definitions"]] == ["total"]


async def test_a_call_that_ends_the_parser_is_refused_and_the_next_one_is_answered(root: Path) -> None:
    async with CodeTools(root) as tools:
        await tools.score_code(source=GOOD)
        assert tools._process is not None
        killed = asyncio.create_task(tools.score_code(path="shop", limit=1))
        tools._process.kill()
        with pytest.raises(ToolError, match="ends Python's parser"):
            await killed
        assert (await tools.score_code(source=GOOD))["definitions"]


async def test_a_process_that_was_killed_between_two_calls_is_replaced(root: Path) -> None:
    async with CodeTools(root) as tools:
        await tools.score_code(source=GOOD)
        assert tools._process is not None
        tools._process.kill()
        await tools._process.wait()
        assert (await tools.score_code(source=GOOD))["definitions"]


async def test_a_client_that_leaves_costs_the_next_one_no_answer(root: Path) -> None:
    async with CodeTools(root) as tools:
        left = asyncio.create_task(tools.score_code(source=SLOW))
        await eventually(lambda: tools._process is not None)
        left.cancel()
        await asyncio.wait({left})
        assert [one["name"] for one in (await tools.score_code(source=GOOD))["definitions"]] == ["total"]


async def test_a_call_scores_a_limited_number_of_files(root: Path) -> None:
    for number in range(FILES_MAX + 1):
        (root / "shop" / f"f{number}.py").write_text("def f(): pass\n")

    async with CodeTools(root) as tools:
        found: Any = await tools.score_code(path="shop", limit=1)

    assert found["notes"] == [f"only the first {FILES_MAX} files were scored: give a smaller directory"]
    assert FILES_MAX <= found["left_off"] + 1 <= FILES_MAX + 3
