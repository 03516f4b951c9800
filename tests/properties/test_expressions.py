"""The time of a search by a regular expression grows with the length of the text, not with its square."""

import importlib
import inspect
import pkgutil
import re
import time
from functools import cache
from typing import Any, Final

from hypothesis import given
from hypothesis import settings as drawn
from hypothesis import strategies as st

import pattern_metrics

_SHORT: Final = 1_500
_TIMES_AS_LONG: Final = 16
_TIMES_AS_SLOW_MAX: Final = 4 * _TIMES_AS_LONG
"""A quarter of the square, with room for a machine that does other work."""

_LEAST_SECONDS: Final = 0.001
_PIECES: Final = (
    '"',
    "\\",
    "'",
    '\\"',
    "[",
    "]",
    "{",
    "}",
    ",",
    "a",
    "0",
    ".",
    "-",
    ":",
    " ",
    "\n",
    "#",
    "é",
)
_BEGINNINGS: Final = ("", '"', "'", "[", '"""', "f'{")


@cache
def searched() -> dict[str, re.Pattern[Any]]:
    """Return each expression with which a module searches a text, by its name."""
    expressions = dict[str, re.Pattern[Any]]()
    for module in pkgutil.walk_packages(pattern_metrics.__path__, "pattern_metrics."):
        if module.name.endswith("__main__") or ".env" in module.name or ".versions" in module.name:
            continue
        found = importlib.import_module(module.name)
        source = inspect.getsource(found)
        for name, value in vars(found).items():
            if isinstance(value, re.Pattern) and re.search(
                rf"\b{name}\.(finditer|findall|search|split|subn?)\(", source
            ):
                expressions[f"{module.name}.{name}"] = value
    assert expressions
    return expressions


def seconds(expression: re.Pattern[Any], text: str) -> float:
    """Return the CPU time of finding each match."""
    whole = text if isinstance(expression.pattern, str) else text.encode()
    began = time.thread_time()
    for _ in expression.finditer(whole):
        pass
    return time.thread_time() - began


@drawn(max_examples=800)
@given(
    name=st.deferred(lambda: st.sampled_from(sorted(searched()))),
    beginning=st.sampled_from(_BEGINNINGS),
    pieces=st.lists(st.sampled_from(_PIECES), min_size=1, max_size=3),
)
def test_the_time_of_a_search_grows_with_the_length(name: str, beginning: str, pieces: list[str]) -> None:
    expression, piece = searched()[name], "".join(pieces)
    short = beginning + (piece * _SHORT)[:_SHORT]
    long = beginning + (piece * _SHORT * _TIMES_AS_LONG)[: _SHORT * _TIMES_AS_LONG]

    limit = _TIMES_AS_SLOW_MAX * max(_LEAST_SECONDS, seconds(expression, short))
    assert min(seconds(expression, long) for _ in range(2)) < limit
