"""The name and the dimensions that people see of any metadata."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.schemas.pattern_scored import DIMENSIONS
from pattern_metrics.schemas.shown_metadata import (
    SHOWN_NAME_CHARACTERS_MAX,
    dimensions_of,
    name_of,
    parsed,
)

PATTERN_ID = str(UUID(int=7))

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    max_leaves=10,
)
NAMED = st.dictionaries(
    st.sampled_from([*DIMENSIONS, "readability", "a" * 5000, ""]), ANYTHING | st.floats(0, 1)
)


@given(ANYTHING)
def test_a_name_is_a_text_that_can_be_seen_or_else_the_id(name: Any) -> None:
    shown = name_of(name, PATTERN_ID)

    assert shown.strip()
    assert len(shown) <= SHOWN_NAME_CHARACTERS_MAX
    assert shown in {PATTERN_ID, name if isinstance(name, str) else None}


@pytest.mark.parametrize(
    "name", ["f", "module:f", " ü", "a" * SHOWN_NAME_CHARACTERS_MAX, "\N{ZERO WIDTH SPACE}"]
)
def test_a_usual_name_is_shown_as_it_is(name: str) -> None:
    assert name_of(name, PATTERN_ID) == name


@pytest.mark.parametrize(
    "name",
    [None, 5, True, {"a": 1}, ["f"], "", " \N{NO-BREAK SPACE}\n\t", "a" * (SHOWN_NAME_CHARACTERS_MAX + 1)],
    ids=lambda one: repr(one)[:20],
)
def test_a_pattern_without_a_name_is_shown_by_its_id(name: Any) -> None:
    assert name_of(name, PATTERN_ID) == PATTERN_ID


@given(NAMED | ANYTHING)
def test_dimensions_are_the_numbers_from_0_to_1_ours_first(sent: Any) -> None:
    found = dimensions_of(sent)

    wanted = sent if isinstance(sent, dict) else {}
    assert found.keys() == {
        name for name, value in wanted.items() if type(value) in {int, float} and 0 <= value <= 1
    }
    assert all(found[name] is wanted[name] for name in found)
    ours = [name for name in found if name in DIMENSIONS]
    assert list(found) == [
        *sorted(ours, key=DIMENSIONS.index),
        *sorted(found.keys() - set(ours)),
    ]


@given(st.text())
def test_any_text_is_parsed_or_counts_as_absent(text: str) -> None:
    parsed(text)


@pytest.mark.parametrize(
    "text", [None, "[" * 100_000, "1" * 100_000, "1e400", '{"a": 1' + "0" * 5000 + "}"], ids=str
)
def test_a_text_beyond_pythons_limits_shows_no_dimension(text: str | None) -> None:
    assert dimensions_of(parsed(text)) == {}


def test_a_json_text_is_parsed() -> None:
    assert parsed(json.dumps({"a": 0.5, "b": 1})) == {"a": 0.5, "b": 1.0}


def test_a_number_of_many_digits_hides_no_other_dimension() -> None:
    assert dimensions_of(parsed('{"a": 1' + "0" * 5000 + ', "b": 0.5, "c": 1e400}')) == {"b": 0.5}
