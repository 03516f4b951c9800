"""The facts behind a score, and the changes that would gain most."""

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pattern_metrics.publisher.scoring.advice import (
    CHANGES_MAX,
    _changes_of_class,
    _changes_of_function,
    best_changes,
    explain,
)
from pattern_metrics.publisher.scoring.facts import ClassFacts
from pattern_metrics.publisher.scoring.scorer import RULES, ScoredDefinition, score_module, weighted


def scored(text: str) -> dict[str, ScoredDefinition]:
    return {one.name.rpartition(":")[2]: one for one in score_module(dedent(text).encode(), "m")}


BEFORE_AND_AFTER = {
    "annotate each parameter and the returned value": (
        "def total(items, rate):\n    return sum(items) * rate",
        "def total(items: list, rate: float) -> float:\n    return sum(items) * rate",
    ),
    "show an example (>>>) in the docstring": (
        'def total(items: list) -> int:\n    """Return the sum of all items that there are, once each."""\n'
        "    return sum(items)",
        'def total(items: list) -> int:\n    """Return the sum of all items that there are, once each.\n\n'
        '    >>> total([1])\n    1\n    """\n    return sum(items)',
    ),
    "finish what each TODO, FIXME, XXX and HACK names": (
        "def total(items: list) -> int:\n    # TODO: taxes\n    return sum(items)",
        "def total(items: list) -> int:\n    # With taxes\n    return sum(items)",
    ),
    "name the exceptions that each bare `except` expects": (
        "def total(items: list) -> int:\n    try:\n        return sum(items)\n    except:\n        return 0",
        "def total(items: list) -> int:\n    try:\n        return sum(items)\n"
        "    except TypeError:\n        return 0",
    ),
    "replace mutable defaults by None": (
        "def total(items: list = []) -> int:\n    return sum(items)",
        "def total(items: list = None) -> int:\n    return sum(items)",
    ),
    "return a value on every path, or on none": (
        "def total(items: list) -> int:\n    if items:\n        return sum(items)",
        "def total(items: list) -> int:\n    if items:\n        return sum(items)\n    return 0",
    ),
    "nest at most 2 levels: return early, or move a block into a helper": (
        "def total(items: list) -> None:\n    if a:\n        if b:\n            if c:\n"
        "                if d:\n                    print(1)",
        "def total(items: list) -> None:\n    if a:\n        pass\n    if b:\n        pass\n    if c:\n"
        "        pass\n    if d:\n        print(1)",
    ),
}
"""Code before and after a change that does nothing else."""


@pytest.mark.parametrize("text", BEFORE_AND_AFTER)
def test_a_change_gains_what_it_promises(text: str) -> None:
    before, after = (scored(code)["total"] for code in BEFORE_AND_AFTER[text])

    facts = before.definition.facts
    assert not isinstance(facts, ClassFacts)
    changed = dict(_changes_of_function(facts))[text]

    promised = weighted({name: rule(changed) for name, rule in RULES.items()})
    assert promised == pytest.approx(after.score, abs=0.02)
    assert promised > before.score


STATEMENTS = st.sampled_from(
    [
        *("pass", "return a", "return", "x = a + 1", "raise NotImplementedError", "raise ValueError"),
        *("print(a)  # TODO", "if a:\n    return 1", "for i in a:\n    if i:\n        print(i)"),
        *("try:\n    a()\nexcept:\n    pass", "eval(a)", "global g", "a == None", '"""A text."""', "yield a"),
    ]
)
SIGNATURES = st.sampled_from(["", "a", "self, a=[]", "a: int, b, c, d, e, f", "self, list, *, key: int = 1"])


@st.composite
def functions(draw: st.DrawFn, name: str = "f") -> str:
    lines = "\n".join(draw(st.lists(STATEMENTS, min_size=1, max_size=8)))
    head = f"def {name}({draw(SIGNATURES)}){draw(st.sampled_from(['', ' -> int']))}:\n"
    return head + "\n".join(f"    {line}" for line in lines.splitlines())


@st.composite
def classes(draw: st.DrawFn) -> str:
    methods = [draw(functions(name)) for name in draw(st.lists(st.sampled_from("fgh"), unique=True))]
    body = "\n".join([draw(st.sampled_from(["pass", "field = 1", 'field: int = 1\n"""Text."""'])), *methods])
    return "class C:\n" + "\n".join(f"    {line}" for line in body.splitlines())


@given(code=functions() | classes())
def test_the_best_changes_are_better_than_all_others_and_none_loses(code: str) -> None:
    for one in scored(code).values():
        facts = one.definition.facts
        changes = best_changes(facts)
        every = _changes_of_class(facts) if isinstance(facts, ClassFacts) else _changes_of_function(facts)
        gains = sorted(
            (weighted({name: rule(after) for name, rule in RULES.items()}) for _, after in every),
            reverse=True,
        )

        now = weighted({name: rule(facts) for name, rule in RULES.items()})
        assert [change.gain for change in changes] == pytest.approx(
            [gain - now for gain in gains[: len(changes)]], abs=0.0001
        )
        assert all(change.gain > 0 and now + change.gain <= 1.0001 for change in changes)
        assert len(changes) <= CHANGES_MAX
        assert explain(facts).keys() == RULES.keys()


def test_the_facts_name_what_is_missing() -> None:
    one = scored(
        '''
        def total(items, n):
            """Return the sum."""
            try:
                return eval(items)
            except:
                pass
        '''
    )["total"]

    facts = explain(one.definition.facts)

    assert "does not mention items, n" in facts["documentation"]
    assert facts["compliance"] == "bare except x1, eval or exec x1"
    assert "0% of the signature annotated" in facts["completeness"]
    assert "a value on some paths only" in facts["completeness"]
    assert "short names: n" in facts["metadata_richness"]


def test_the_changes_of_a_class_name_its_methods() -> None:
    one = scored(
        "class C:\n    def f(self, a):\n        return a + 1\n\n    def g(self, a):\n        return a + 2"
    )["C"]

    texts = [change.text for change in best_changes(one.definition.facts)]

    assert "in f, g: annotate each parameter and the returned value" in texts
