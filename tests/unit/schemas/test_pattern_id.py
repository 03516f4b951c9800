"""The identity of a pattern comes from its name, and never changes."""

import unicodedata
from keyword import iskeyword
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from uuid import UUID, uuid5

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pattern_metrics import PatternScored, pattern_id_of
from pattern_metrics.publisher.scoring.scorer import score_file
from pattern_metrics.publisher.scoring.sources import find_sources
from tests.support.events import NOW

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)

PUBLISHED = {
    "billing:Invoice.total": "5d848398-91c6-55d9-9d4e-ec6c88addf1d",
    "a": "09742dd9-59d1-527c-8a05-0bfa0a047390",
    "zürich:größe": "1d14e8a4-2350-53d3-a881-17d40a81882a",
    "prompt/summary v2": "7597435e-09c3-587c-862c-e74d7852e273",
}
"""Ids that are already in people's tables."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_identity_that_was_published_stays(name: str) -> None:
    assert pattern_id_of(name) == UUID(PUBLISHED[name])


@given(NAMES)
def test_an_identity_is_a_name_based_uuid_in_one_namespace(name: str) -> None:
    identity = pattern_id_of(name)

    assert identity == uuid5(UUID("3f0f6f0a-7a55-5b0e-8a3c-51f9d7c0a2b4"), unicodedata.normalize("NFC", name))
    assert (identity.version, identity) == (5, pattern_id_of(name))


@given(st.sets(NAMES, min_size=2))
def test_different_names_have_different_identities(names: set[str]) -> None:
    as_text = {unicodedata.normalize("NFC", name) for name in names}

    assert len({pattern_id_of(name) for name in names}) == len(as_text)


@given(st.text(st.characters(categories=["Cs"]), min_size=1), NAMES)
def test_a_name_that_utf_8_cannot_hold_is_refused(surrogates: str, rest: str) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        pattern_id_of(rest + surrogates)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        pattern_id_of("")


def test_the_scorer_gives_each_definition_the_identity_of_its_name(tmp_path: Path) -> None:
    source = "class Invoice:\n    def total(self): ...\n\nasync def send(): ...\n"
    tmp_path.joinpath("billing.py").write_text(source, encoding="utf-8")
    [found] = find_sources([tmp_path]).sources
    events = [event for event in score_file(found, measured_at=NOW) if isinstance(event, PatternScored)]

    assert {event.pattern_id: event.metadata["name"] for event in events} == {
        pattern_id_of(name): name for name in ("billing:Invoice", "billing:Invoice.total", "billing:send")
    }


LETTERS = st.text(st.characters(categories=["Ll", "Lu", "Lo"]), min_size=1, max_size=8)
SPELLINGS = st.sampled_from(["NFC", "NFD"])


@given(LETTERS, LETTERS.filter(str.isidentifier), SPELLINGS, SPELLINGS)
def test_the_scorer_gives_a_module_the_identity_of_its_name_in_any_spelling(
    module: str, function: str, in_the_file_system: Literal["NFC", "NFD"], by_the_agent: Literal["NFC", "NFD"]
) -> None:
    function = unicodedata.normalize("NFKC", function)  # as Python reads it
    assume(function.isidentifier() and not iskeyword(function))
    with TemporaryDirectory() as name:
        file = Path(name, f"{unicodedata.normalize(in_the_file_system, module)}.py")
        file.write_text(f"def {function}(): ...\n", encoding="utf-8")
        [source] = find_sources([file], root=Path(name)).sources
        [event] = score_file(source, measured_at=NOW)

    assert isinstance(event, PatternScored)
    assert event.pattern_id == pattern_id_of(unicodedata.normalize(by_the_agent, f"{module}:{function}"))
