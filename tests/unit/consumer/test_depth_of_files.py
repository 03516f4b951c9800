"""The recursion limit of the interpreter does not decide whether text counts as JSON."""

import sys

import pytest

from pattern_metrics.consumer.operations.files.json_text import is_well_formed


@pytest.mark.parametrize("levels", [250, 900, 5_000, 100_000])
@pytest.mark.parametrize("template", ["%s", '{"x": %s', '{"x": "\\ud800", "y": %s}'])
@pytest.mark.parametrize(("opening", "closing"), [("[", ""), ("[", "]"), ('{"a":', "1")])
def test_text_that_is_too_deep_counts_as_json_for_any_interpreter(
    levels: int, template: str, opening: str, closing: str
) -> None:
    text = (template % (opening * levels + closing * levels)).encode()
    before, verdicts = sys.getrecursionlimit(), []
    try:
        for limit in (500, 1_000, 20_000):
            sys.setrecursionlimit(limit)
            verdicts.append(is_well_formed(text))
    finally:
        sys.setrecursionlimit(before)

    assert verdicts == [True] * 3
