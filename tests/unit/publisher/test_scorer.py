"""Properties of the scorer that hold for any files."""

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from pattern_metrics.publisher.scoring.scorer import NAME_CHARACTERS_MAX, score_file
from pattern_metrics.publisher.scoring.sources import UnreadableFile, find_sources
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.unit.publisher.scoring import (
    MEASURED_AT,
    assert_consistent,
    dimensions_of,
    events_of,
    score_paths,
    score_text,
)

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
STANDARD_LIBRARY_FILES = 150


def names_of(events: list[PatternScored]) -> list[object]:
    return [event.metadata["name"] for event in events]


def test_the_compilers_warnings_about_foreign_code_are_not_shown() -> None:
    """Warnings are errors in this suite."""
    assert list(score_text("def f(x): return x is 1, '\\d'")) == ["f"]


def test_functions_and_classes_are_named_by_where_they_are_defined() -> None:
    scores = score_text(
        """
        if True:
            async def fetch():
                def inner(): ...
            class Outer:
                def method(self): ...
                class Inner:
                    async def method(self): ...
        """
    )
    assert {name: event.metadata["kind"] for name, event in scores.items()} == {
        "fetch": "async_function",
        "Outer": "class",
        "Outer.method": "method",
        "Outer.Inner": "class",
        "Outer.Inner.method": "method",
    }
    assert scores["Outer.Inner"].metadata["location"] == {"path": "module.py", "line": 7, "end_line": 8}


def test_definitions_of_one_name_keep_their_own_ids_in_the_order_of_the_source() -> None:
    text = """
        try:
            def load(): return 1
        except ImportError:
            def load(): return 2
        class Box:
            @property
            def size(self): return 1
            @size.setter
            def size(self, value): self.x = value
        """
    scores = score_text(text)
    assert list(scores) == ["load", "load#2", "Box", "Box.size", "Box.size#2"]
    assert len({event.pattern_id for event in scores.values()}) == len(scores)
    assert scores == score_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of two packages, one inside the other, and a script outside of them."""
    for name in ("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/mod.py", "scripts/run.py"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def {path.parent.name}(value):\n    return value + 1\n")
    (tmp_path / "tree" / "pyproject.toml").touch()
    return tmp_path / "tree"


def test_events_depend_on_the_source_and_not_on_argument_and_directory(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = events_of(tree)
    assert names_of(expected) == ["pkg:pkg", "pkg.sub:sub", "pkg.sub.mod:sub", "scripts.run:scripts"]
    assert expected[2].metadata["location"] == {"path": "pkg/sub/mod.py", "line": 1, "end_line": 2}
    (tree.parent / "link").symlink_to(tree)

    assert events_of(tree.parent / "link") == expected
    assert events_of(tree / "pkg", tree / "scripts" / "..") == expected
    assert events_of(tree / "pkg") == expected[:3]
    assert events_of(tree / "pkg" / "sub" / "mod.py") == expected[2:3]
    monkeypatch.chdir(tree)
    assert events_of(Path()) == expected
    monkeypatch.chdir(tree / "pkg" / "sub")
    assert events_of(Path("mod.py")) == expected[2:3]
    assert events_of(Path("../..")) == expected


def test_a_file_given_twice_is_scored_once(tree: Path) -> None:
    assert len(events_of(tree, tree / "pkg", tree / "pkg" / "sub" / "mod.py")) == len(events_of(tree))


def test_other_peoples_code_and_what_is_no_source_are_not_searched_unless_given(tree: Path) -> None:
    expected = events_of(tree)
    for name in (".hidden", "__pycache__", "node_modules", "site-packages", "environment/lib"):
        (tree / name).mkdir(parents=True)
        (tree / name / "other.py").write_text("def other(): return 1\n")
    (tree / "environment" / "pyvenv.cfg").touch()
    (tree / "notes.txt").write_text("not Python")
    (tree / "folder.py").mkdir()
    (tree / "dangling.py").symlink_to(tree / "nowhere.py")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "pipe.py")

    assert events_of(tree) == expected
    assert names_of(events_of(tree / "site-packages")) == ["other:other"]


def test_a_path_that_does_not_exist_is_an_error_before_anything_is_scored(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        score_paths([tree, tree / "missing"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x = 1\ndef f(:\n", "line 2: "),
        (b"def f():\n    x = 1\n    return '\xff'\n", "can't decode"),
        (b"def f(): return '\xff'\n", "encoding"),
        (b"# coding: no-such-codec\n", "unknown encoding"),
        (b"# coding: rot13\n", "encoding"),
        (b"x = 1\0\n", "null"),
        (b"x = " + b"-" * 100_000 + b"1\n", "nested too deeply"),
        (b"x = " + b"(" * 1_000 + b")" * 1_000, "nested|parenthes"),
    ],
    ids=[
        "syntax",
        "utf-8",
        "utf-8 at the top",
        "no codec",
        "no text codec",
        "null byte",
        "deep operators",
        "deep parentheses",
    ],
)
def test_a_file_that_does_not_parse_is_reported_and_the_others_are_scored(
    tree: Path, content: bytes, reason: str
) -> None:
    expected = events_of(tree)
    broken = tree / "pkg" / "broken.py"
    broken.write_bytes(content)

    results = list(score_paths([tree]))

    assert [result for result in results if isinstance(result, PatternScored)] == expected
    (report,) = [result for result in results if isinstance(result, UnreadableFile)]
    assert report.path == broken
    assert any(part in report.reason for part in reason.split("|")), report.reason


def test_files_are_read_only_as_the_result_is_consumed(tree: Path) -> None:
    results = score_paths([tree])
    next(results)
    (tree / "scripts" / "run.py").unlink()
    *_, last = results
    assert last == UnreadableFile(tree / "scripts" / "run.py", "No such file or directory")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "shift_jis"])
def test_the_encoding_and_newlines_of_a_file_change_nothing(
    tmp_path: Path, encoding: str, newline: str
) -> None:
    cookie = encoding.removesuffix("-sig")
    text = (
        f'# coding: {cookie}\n\ndef greet(name):\n    """Say hello."""\n    # why\n    return name\n'
        f"\ndef later():\n    # TODO\n    return {'x' * 89}\n"
    )
    (tmp_path / "module.py").write_bytes(text.replace("\n", newline).encode(encoding))
    assert events_of(tmp_path / "module.py") == list(score_text(text).values())


def test_a_name_that_no_database_could_hold_is_written_with_escapes(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/menu\xe9.py"
    Path(os.fsdecode(path)).write_text(f"def {'long' * NAME_CHARACTERS_MAX}(): return 1\n")
    (event,) = events_of(tmp_path)
    assert str(event.metadata["name"]).startswith("menu\\udce9:long")
    assert len(str(event.metadata["name"])) == NAME_CHARACTERS_MAX
    assert_consistent(event)


def test_nothing_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "effect.py").write_text(
        f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
        f"def f(x=pathlib.Path({str(trace)!r}).touch()): return x\n"
    )
    before = set(sys.modules)
    assert names_of(events_of(tmp_path)) == ["effect:f"]
    assert not trace.exists()
    assert "effect" not in set(sys.modules) - before


def test_an_elif_chain_of_any_length_is_scored(tmp_path: Path) -> None:
    chain = "".join(f"    elif x == {number}:\n        return {number}\n" for number in range(900))
    (tmp_path / "chain.py").write_text(f"def f(x):\n    if x:\n        return 0\n{chain}")
    (event,) = events_of(tmp_path)
    assert dimensions_of(event)["complexity"] == 0


def test_every_file_of_the_standard_library_is_scored_or_reported() -> None:
    sources = find_sources([STANDARD_LIBRARY], root=STANDARD_LIBRARY).sources
    sample = sources[:: max(1, len(sources) // STANDARD_LIBRARY_FILES)]
    seen = set()
    for source in sample:
        results = score_file(source, measured_at=MEASURED_AT)
        for result in results:
            if isinstance(result, UnreadableFile):
                assert len(results) == 1
                continue
            assert_consistent(result)
            assert result.pattern_id not in seen
            seen.add(result.pattern_id)
    assert len(seen) > len(sample)
