"""Text of other agents, before a language model gets it."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.consumer.mcp.text import NAME_CHARACTERS_SHOWN, defused, defused_text

UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180e\u2800\u3164\ufe00\ufe0f\uffa0\U000e0100\U000e01ef"

TEXTS = st.text(st.characters(codec=None) | st.sampled_from(FILLERS + "\u202e\u2066\u200b\x1b\n\x9b"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


def is_seen(character: str) -> bool:
    return unicodedata.category(character) not in UNSEEN and character not in FILLERS


@given(value=VALUES)
def test_no_text_of_a_value_keeps_a_character_that_nobody_sees(value: Any) -> None:
    text = json.dumps(defused(value), ensure_ascii=False)

    assert all(map(is_seen, text))


@given(text=TEXTS)
def test_a_text_on_one_line_is_escaped_so_that_nothing_is_lost(text: str) -> None:
    shown = defused_text(text, 1_000_000)

    if "\\" not in text:
        restored = shown.encode("latin-1", "backslashreplace").decode("unicode_escape")
        assert restored.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


@given(text=TEXTS, most=st.integers(12, 60))
def test_a_text_is_cut_before_an_escape_and_never_inside(text: str, most: int) -> None:
    shown, whole = defused_text(text, most), defused_text(text, 1_000_000)

    assert len(shown) <= most
    assert shown == whole or (shown.endswith("…") and whole.startswith(shown[:-1]))
    if shown != whole and "\\" not in text:
        shown[:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")


@pytest.mark.parametrize("text", ["Grüße, 世界 — ok", "module:Class.method", "a  b", ""])
def test_a_text_that_people_write_stays_as_it_is(text: str) -> None:
    assert defused_text(text) == text
    assert defused_text("a" * NAME_CHARACTERS_SHOWN) == "a" * NAME_CHARACTERS_SHOWN
