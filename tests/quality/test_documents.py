"""The documents: every link has a target, and the README shows the example that a test runs."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.platforms.versions import KAFKA, POSTGRESQL, PYTHON

ROOT: Final = Path(__file__).parents[2]

_FENCE: Final = re.compile(r"^( *)```.*?^\1```", flags=re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`]*`")
_LINK: Final = re.compile(r"\]\(\s*([^)\s]+)[^)]*\)|\b(?:src|srcset|href)=\"([^\"]+)\"")
_FILE: Final = re.compile(
    r"`((?:consumer|deploy|docs|examples|migrations|publisher|schemas|tests)/[\w./*-]+|test_[\w*]+\.py)`"
)
_HEADING: Final = re.compile(r"^#+ +(.*?) *#*$", flags=re.MULTILINE)


DOCUMENTS: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")])
CURRENT_DOCUMENTS: Final = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]


@cache
def anchors(document: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    found = list[str]()
    for heading in _HEADING.findall(_FENCE.sub("", document.read_text(encoding="utf-8"))):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        again = sum(one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in found)
        found.append(f"{slug}-{again}" if again else slug)
    return frozenset(found)


def broken_links(document: Path, text: str) -> Iterator[str]:
    for link in _LINK.finditer(_CODE.sub("``", _FENCE.sub("", text))):
        target = link[1] or link[2]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        is_inside = path.exists() and path.is_relative_to(ROOT)
        if not is_inside or (anchor and anchor not in anchors(path)):
            yield target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    assert list(broken_links(document, document.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("link", ["no-such-file.md", "README.md#no-such-heading", "#no-such-heading", "../"])
def test_a_link_that_leads_nowhere_would_be_noticed(link: str) -> None:
    text = f"[good](README.md#see-it-run) [bad]({link}) `[code](nowhere)`\n```\n[block](nowhere)\n```\n"

    assert list(broken_links(ROOT / "README.md", text)) == [link]


def missing_files(text: str) -> Iterator[str]:
    """Yield each file of the repository that a text names in backticks, and that does not exist."""
    for name in _FILE.findall(text):
        place = name if "/" in name else f"tests/**/{name}"
        if not any(ROOT.glob(place.rstrip("/"))):
            yield name


@pytest.mark.parametrize("document", CURRENT_DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    assert list(missing_files(document.read_text(encoding="utf-8"))) == []


def test_a_file_that_does_not_exist_would_be_noticed() -> None:
    text = "`consumer/cli/`, `tests/**/test_fold*.py`, `test_store.py`, `consumer/none.py`, `test_none.py`"

    assert list(missing_files(text)) == ["consumer/none.py", "test_none.py"]


def test_the_list_of_documents_names_each_document() -> None:
    listed = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    documents = [path.relative_to(ROOT / "docs") for path in DOCUMENTS if (ROOT / "docs") in path.parents]

    assert documents
    missing = [name for name in map(str, documents) if name != "README.md" and f"]({name})" not in listed]
    assert missing == [], "list it in docs/README.md"


def test_the_readme_shows_the_agent_that_a_test_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert (ROOT / "examples" / "agent.py").read_text(encoding="utf-8") in readme


def test_the_readme_names_the_versions_that_are_tested() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    for versions in (KAFKA, POSTGRESQL):
        assert f"({min(versions, key=float)} to {max(versions, key=float)}" in readme
    assert f"Python {PYTHON[0]} or later" in readme


def test_the_readme_can_be_read_in_five_minutes() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert len(readme.splitlines()) <= 165
    assert len(readme.split()) <= 1200


def test_the_readme_states_only_figures_that_the_performance_page_states() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    performance = (ROOT / "docs" / "explanation" / "performance.md").read_text(encoding="utf-8")
    section = readme.partition("## How fast it is")[2].partition("\n## ")[0]

    figures = re.findall(r"\d[\d.,]*\d", section)

    assert figures
    assert [figure for figure in figures if figure not in performance] == []
