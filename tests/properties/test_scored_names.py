"""A definition has one name and one id, whatever the arguments by which its file is found."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.publisher.scoring.scorer import DuplicateDefinition, Result
from pattern_metrics.schemas.pattern_scored import PatternScored
from tests.unit.publisher.scoring import score_paths

FOLDERS = st.sampled_from(["src", "pkg", "tests", "build", "a", "ä"])
FILES = st.sampled_from(["__init__.py", "main.py", "conftest.py", "Main.py", "pkg.py"])
MARKERS = st.sampled_from(["pyproject.toml", ".git"])
TREES = st.lists(
    st.tuples(st.lists(FOLDERS, max_size=3), FILES | FILES | MARKERS), min_size=1, max_size=8
).map(lambda places: [Path(*folders, name) for folders, name in places])


@contextmanager
def written(tree: list[Path]) -> Iterator[Path]:
    """Write the files to disk, below a directory with links beside it."""
    with TemporaryDirectory() as directory:
        top = Path(directory).resolve() / "top"
        top.mkdir()
        for path in tree:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text("def run(x): return x\n" if path.suffix == ".py" else "")
        (top.parent / "link").symlink_to("top")
        yield top


@st.composite
def coverings(draw: st.DrawFn, directory: Path) -> list[Path]:
    """Arguments that cover the result of a search of the directory, as a whole or in parts."""
    if draw(st.booleans()):
        return [directory]
    arguments = list[Path]()
    for child in sorted(directory.iterdir()):
        if child.is_dir():
            is_copy = child.name == "build" and not (child / "__init__.py").exists()
            arguments += [] if is_copy else draw(coverings(child))
        elif child.suffix == ".py":
            arguments.append(child)
    return arguments


@st.composite
def spellings(draw: st.DrawFn, path: Path, top: Path) -> Path:
    """One of the ways to write a path: absolute, relative, through a link, or with `..`."""
    written_as = draw(st.sampled_from(["absolute", "relative", "linked", "dotted"]))
    if written_as == "relative":
        return Path(os.path.relpath(path))
    if written_as == "linked":
        return top.parent / "link" / path.relative_to(top)
    return top / ".." / "top" / path.relative_to(top) if written_as == "dotted" else path


@given(tree=TREES, data=st.data())
def test_names_and_ids_do_not_depend_on_the_arguments(tree: list[Path], data: st.DataObject) -> None:
    with written(tree) as top:
        expected = list(score_paths([top]))
        folders = sorted(path for path in top.rglob("*") if path.is_dir())
        before = Path.cwd()
        os.chdir(data.draw(st.sampled_from([top, top.parent, *folders])))
        try:
            covering = data.draw(coverings(top))
            repeated = (
                covering + data.draw(st.lists(st.sampled_from(covering), max_size=2)) if covering else []
            )
            arguments = [data.draw(spellings(path, top)) for path in data.draw(st.permutations(repeated))]
            results = list(score_paths(arguments))
        finally:
            os.chdir(before)

    assert scored(results) == scored(expected)
    assert omitted(results) == omitted(expected)


def scored(results: list[Result]) -> list[PatternScored]:
    return [result for result in results if isinstance(result, PatternScored)]


def omitted(results: list[Result]) -> list[str]:
    return [result.name for result in results if isinstance(result, DuplicateDefinition)]
