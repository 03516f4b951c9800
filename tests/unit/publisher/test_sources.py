"""The files that are scored, and the names of their definitions."""

import os
import unicodedata
from pathlib import Path
from uuid import UUID

import pytest

from pattern_metrics.publisher.scoring.scorer import DuplicateDefinition
from pattern_metrics.publisher.scoring.sources import UnreadableFile, find_sources
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.unit.publisher.scoring import events_of, score_paths

IDS_BEFORE = {
    "src/billing/__init__.py": ("billing:pay", "f2795d12-6e68-576e-a4e1-6513248a809d"),
    "src/billing/tax/__init__.py": ("billing.tax:pay", "4b24433a-1551-577d-9c8e-b405ccf80f24"),
    "src/billing/tax/rates.py": ("billing.tax.rates:pay", "8cf8a808-56d7-5b50-b66c-e16bb39d983c"),
    "tools/__init__.py": ("tools:pay", "c9cf0e9c-e17e-57b9-a5b0-9195ebba1145"),
    "tools/run.py": ("tools.run:pay", "6293992d-500e-5790-8ca0-e2f4b048df03"),
    "single.py": ("single:pay", "c3b7a8b0-18f1-54ff-9a9a-bb240775fb9c"),
}
"""Ids of version 1.0.0, for packages and modules at the root of a project or in its `src`."""


def write(top: Path, *names: str, text: str = "def run(x): return x\n") -> Path:
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if path.name in {"pyproject.toml", ".git", "pyvenv.cfg"} else text)
    return top


def names_of(*paths: Path, root: Path | None = None, project: str | None = None) -> list[str]:
    return [str(event.metadata["name"]) for event in events_of(*paths, root=root, project=project)]


@pytest.mark.parametrize("marker", ["pyproject.toml", ".git"])
def test_packages_at_the_root_or_in_src_keep_their_ids(tmp_path: Path, marker: str) -> None:
    """A worktree's `.git` is a file."""
    write(tmp_path, marker, *IDS_BEFORE, text="def pay(x): return x\n")

    scored = {
        str(event.metadata["location"]["path"]): (event.metadata["name"], event.pattern_id)  # type: ignore[index,call-overload]
        for event in events_of(tmp_path)
    }

    assert scored == {path: (name, UUID(identity)) for path, (name, identity) in IDS_BEFORE.items()}


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("a/main.py", "a.main"),
        ("services/a/app/__init__.py", "services.a.app"),
        ("src/space/part.py", "space.part"),  # a namespace package
        ("src/main.py", "main"),
        ("src.py", "src"),
        ("tests/unit/conftest.py", "tests.unit.conftest"),
        ("lib/src/main.py", "lib.src.main"),
        ("__init__.py", "__init__"),
        ("src/__init__.py", "src"),
        ("build/__init__.py", "build"),
        ("bin/run-all", "bin.run-all"),
    ],
)
def test_a_module_is_named_by_its_path_from_the_root(tmp_path: Path, path: str, module: str) -> None:
    write(tmp_path, "pyproject.toml", path)

    assert names_of(tmp_path / path) == [f"{module}:run"]


def test_a_package_called_src_keeps_that_name(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "src/__init__.py", "src/main.py")

    assert names_of(tmp_path) == ["src:run", "src.main:run"]


def test_the_root_nearest_to_a_file_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        ".git",
        "main.py",
        "members/a/pyproject.toml",
        "members/a/src/a.py",
        "third/.git",
        "third/b.py",
    )

    assert names_of(tmp_path) == ["main:run", "a:run", "b:run"]


def test_a_given_root_wins_over_every_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        ".git",
        "members/a/pyproject.toml",
        "members/a/main.py",
        "members/b/pyproject.toml",
        "members/b/main.py",
    )
    (tmp_path / "link").symlink_to(tmp_path / "members")

    assert names_of(tmp_path, root=tmp_path) == ["members.a.main:run", "members.b.main:run"]
    assert names_of(tmp_path / "members", root=tmp_path / "link") == ["a.main:run", "b.main:run"]
    assert names_of(tmp_path, root=tmp_path, project="shop")[0] == "shop/members.a.main:run"


def test_a_file_outside_the_given_root_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "in/a.py", "out/b.py")
    (tmp_path / "in" / "link.py").symlink_to(tmp_path / "out" / "b.py")

    unreadable, event = score_paths([tmp_path / "in"], root=tmp_path / "in")

    assert isinstance(unreadable, UnreadableFile)
    assert unreadable.path == tmp_path / "in" / "link.py"
    assert isinstance(event, PatternScored)
    assert event.metadata["name"] == "a:run"


def test_installed_packages_have_their_import_names(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", ".venv/pyvenv.cfg", ".venv/lib/site-packages/requests/__init__.py")

    assert names_of(tmp_path / ".venv" / "lib" / "site-packages") == ["requests:run"]


@pytest.mark.parametrize(
    ("path", "module"),
    [("a/b/main.py", "main"), ("a/app/__init__.py", "app"), ("a/app/web/views.py", "app.web.views")],
)
def test_without_a_project_a_file_names_itself(tmp_path: Path, path: str, module: str) -> None:
    write(tmp_path, "a/app/__init__.py", "a/app/web/__init__.py", path)

    assert names_of(tmp_path / path) == [f"{module}:run"]
    assert f"{module}:run" in names_of((tmp_path / path).parent)
    assert f"{module}:run" in names_of(tmp_path)
    assert find_sources([tmp_path / path]).without_root == 1


def test_of_two_definitions_of_one_name_the_second_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "main.py", "src/main.py", "src/other.py")
    (tmp_path / "src" / "main.py").write_text("def run(y): return y\ndef stop(): return 1\n")

    for paths in ([tmp_path], [tmp_path / "src", tmp_path / "main.py"]):
        results = list(score_paths(paths))
        assert [result for result in results if isinstance(result, DuplicateDefinition)] == [
            DuplicateDefinition("main:run", tmp_path / "src" / "main.py", tmp_path / "main.py")
        ]
        events = [result for result in results if isinstance(result, PatternScored)]
        assert [event.metadata["name"] for event in events] == ["main:run", "main:stop", "other:run"]


@pytest.mark.parametrize(
    "copy",
    [
        "build/lib/pkg/__init__.py",
        "dist/pkg/__init__.py",
        ".tox/py/pkg.py",
        ".eggs/pkg/__init__.py",
        "lib/site-packages/pkg/__init__.py",
        "__pypackages__/pkg.py",
        "members/a/build/lib/pkg.py",
        "env/lib/pkg.py",
    ],
)
def test_copies_of_the_source_are_not_searched(tmp_path: Path, copy: str) -> None:
    write(tmp_path, "pyproject.toml", "src/pkg/__init__.py", copy, "env/pyvenv.cfg")

    assert names_of(tmp_path) == ["pkg:run"]


def test_a_file_reached_by_links_is_scored_once_by_its_real_name(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "pkg/mod.py")
    (tmp_path / "also.py").symlink_to("pkg/mod.py")
    (tmp_path / "pack").symlink_to("pkg")

    for paths in (["."], ["also.py"], ["pack"], ["pack/mod.py", "pkg", "also.py"]):
        assert names_of(*(tmp_path / path for path in paths)) == ["pkg.mod:run"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_has_one_spelling_on_all_file_systems(tmp_path: Path, form: str) -> None:
    write(tmp_path, "pyproject.toml", unicodedata.normalize(form, "café/naïve.py"))  # type: ignore[arg-type]

    assert names_of(tmp_path) == ["café.naïve:run"]


def test_names_that_differ_in_case_are_two_patterns(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "Main.py", "main.py")

    assert len({event.pattern_id for event in events_of(tmp_path)}) == 2


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("cells.ipynb", "notebook"),
        ("types.pyi", "stub"),
        ("empty", "no Python file"),
        ("pipe.py", "not a regular file"),
    ],
)
def test_an_argument_that_gives_nothing_is_reported(tmp_path: Path, path: str, reason: str) -> None:
    write(tmp_path, "pyproject.toml", "cells.ipynb", "types.pyi", "empty/notes.txt")
    os.mkfifo(tmp_path / "pipe.py")

    [report] = score_paths([tmp_path / path])

    assert isinstance(report, UnreadableFile)
    assert report.path == tmp_path / path
    assert reason in report.reason


def test_notebooks_and_stubs_in_a_directory_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "a.py", "a.pyi", "b/c.ipynb", "build/d.ipynb")

    found = find_sources([tmp_path, tmp_path / "b"])

    assert {path.name for path in found.passed_over} == {"a.pyi", "c.ipynb"}
