"""Explains a score: the facts behind each dimension, and the changes of the code that would gain most. Pure.

A gain is not estimated: each change is applied to the facts, and the rules score the result.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

from pattern_metrics.publisher.scoring import rules as scoring_rules
from pattern_metrics.publisher.scoring.body import Body, BodyFault
from pattern_metrics.publisher.scoring.facts import LINE_CHARACTERS_MAX, ClassFacts, FunctionFacts
from pattern_metrics.publisher.scoring.scorer import RULES, weighted

FactsT = TypeVar("FactsT", FunctionFacts, ClassFacts)

CHANGES_MAX: Final = 3

GAIN_MIN: Final = 0.0005
"""A change that gains less is not worth a word."""

NAMES_SHOWN: Final = 5
"""Most names of parameters, or of methods, in one sentence."""

_DIGITS: Final = 4
_STUB_OPERATIONS: Final = 2 * scoring_rules.HALF_EVIDENCE_OPERATIONS
_EXAMPLE_SHOWN: Final = "\n\n>>> example()"

_FAULTS: Final = {
    BodyFault.NAME: ("name against PEP 8", "name it as PEP 8 says"),
    BodyFault.PARAMETER_NAME: ("parameter not in lower case", "name the parameters in lower case"),
    BodyFault.LONG_LINE: (
        f"line over {LINE_CHARACTERS_MAX} characters",
        f"wrap the lines over {LINE_CHARACTERS_MAX} characters",
    ),
    BodyFault.BARE_EXCEPT: ("bare except", "name the exceptions that each bare `except` expects"),
    BodyFault.SILENT_EXCEPT: ("except Exception that passes", "handle what `except Exception: pass` hides"),
    BodyFault.MUTABLE_DEFAULT: ("mutable default", "replace mutable defaults by None"),
    BodyFault.DYNAMIC_CODE: ("eval or exec", "replace eval and exec"),
    BodyFault.GLOBAL: ("global statement", "pass the state in, in place of `global`"),
    BodyFault.SHADOWED_BUILTIN: (
        "parameter that hides a builtin",
        "rename the parameters that hide a builtin",
    ),
    BodyFault.NONE_EQUALITY: ("comparison with == None", "compare with `is None`"),
    BodyFault.LONG_BODY: ("long body", ""),
    BodyFault.MANY_BRANCHES: ("many branches", ""),
}
"""The name of each fault, and how to mend it; empty if another change does."""


class Change(NamedTuple):
    """A change of the code.

    Attributes:
        text: what to do.
        dimension: the dimension that it helps most.
        gain: the points that the score gains, from 0 to 1.
    """

    text: str
    dimension: str
    gain: float


def best_changes(facts: FunctionFacts | ClassFacts) -> list[Change]:
    """Return the changes that would each gain most, the best first, at most CHANGES_MAX."""
    changed: Iterator[tuple[str, FunctionFacts | ClassFacts]] = (
        _changes_of_class(facts) if isinstance(facts, ClassFacts) else _changes_of_function(facts)
    )
    before = _dimensions(facts)
    changes = [_change(text, before, _dimensions(after)) for text, after in changed]
    return sorted((one for one in changes if one.gain >= GAIN_MIN), key=lambda one: -one.gain)[:CHANGES_MAX]


def _change(text: str, before: dict[str, float], after: dict[str, float]) -> Change:
    gains = {name: after[name] - before[name] for name in RULES}
    most = max(gains, key=lambda name: weighted({name: gains[name]}))
    return Change(text, most, round(weighted(gains), _DIGITS))


def _dimensions(facts: FunctionFacts | ClassFacts) -> dict[str, float]:
    return {name: rule(facts) for name, rule in RULES.items()}


def _changes_of_function(facts: FunctionFacts) -> Iterator[tuple[str, FunctionFacts]]:
    yield from _shared_changes(facts)
    verb = "complete the" if facts.docstring else "write a"
    yield (
        f"{verb} docstring: a summary of {scoring_rules.SUMMARY_WORDS} words or more that the name does not "
        "have, each parameter by name, the returned value and the exceptions",
        replace(facts, docstring=_documented(facts)),
    )
    yield "annotate each parameter and the returned value", replace(facts, annotated_share=1.0)
    yield (
        f"comment about every {scoring_rules.LINES_PER_COMMENT} lines",
        replace(facts, comments=max(facts.comments, facts.lines // scoring_rules.LINES_PER_COMMENT)),
    )
    if facts.body.gives_mixed:
        consistent = replace(facts.body, bare_returns=0, falls_through=False)
        yield "return a value on every path, or on none", replace(facts, body=consistent)
    if facts.body.not_implemented:
        done = replace(facts.body, not_implemented=0)
        yield "implement the paths that raise NotImplementedError", replace(facts, body=done)
    if not facts.body.operations and not facts.may_be_empty:
        written = replace(facts.body, operations=_STUB_OPERATIONS)
        yield "write the body, which does nothing yet", replace(facts, body=written)
    if len(facts.parameters) > scoring_rules.PARAMETERS_EASY:
        yield (
            f"take at most {scoring_rules.PARAMETERS_EASY} parameters: group others into an object",
            replace(facts, parameters=facts.parameters[: scoring_rules.PARAMETERS_EASY]),
        )
    if _short(facts.parameters):
        parameters = tuple(f"{name}_name" if _is_short(name) else name for name in facts.parameters)
        mentioned = f"{facts.docstring} {' '.join(parameters)}" if facts.docstring else ""
        yield (
            f"give the parameters names of {scoring_rules.NAME_CHARACTERS_MIN} letters or more",
            replace(facts, parameters=parameters, docstring=mentioned),
        )


def _documented(facts: FunctionFacts | ClassFacts) -> str:
    """Return the docstring with everything before it that the rules look for, except for an example."""
    members = facts.members if isinstance(facts, ClassFacts) else 0
    extent = scoring_rules.EXTENT_WORDS + scoring_rules.EXTENT_WORDS_PER_STATEMENT * (
        facts.body.statements + members
    )
    summary = " ".join(f"word{number}" for number in range(int(extent) + 1))
    names = facts.parameters if isinstance(facts, FunctionFacts) else ()
    return "\n\n".join(filter(None, [summary, f"{' '.join(names)} returns raises", facts.docstring]))


def _changes_of_class(facts: ClassFacts) -> Iterator[tuple[str, ClassFacts]]:
    yield from _shared_changes(facts)
    verb = "complete the" if facts.docstring else "write a"
    yield f"{verb} docstring of the class itself", replace(facts, docstring=_documented(facts))
    yield "annotate each field", replace(facts, fields_annotated=facts.fields)
    if len(facts.methods) > scoring_rules.METHODS_EASY:
        yield (
            f"split the class: at most {scoring_rules.METHODS_EASY} methods",
            replace(facts, methods=facts.methods[: scoring_rules.METHODS_EASY]),
        )
    changed = defaultdict[str, dict[int, FunctionFacts]](dict)
    for place, method in enumerate(facts.methods):
        for text, after in _changes_of_function(method):
            if after != method:
                changed[text][place] = after
    for text, places in changed.items():
        methods = tuple(places.get(place, method) for place, method in enumerate(facts.methods))
        names = _listed([facts.methods[place].name for place in places])
        yield f"in {names}: {text}", replace(facts, methods=methods)


def _shared_changes(facts: FactsT) -> Iterator[tuple[str, FactsT]]:
    """Yield the changes of a function, and of a class outside of its methods."""
    yield "show an example (>>>) in the docstring", replace(facts, docstring=facts.docstring + _EXAMPLE_SHOWN)
    yield "finish what each TODO, FIXME, XXX and HACK names", replace(facts, reminders=0)
    for text, body in _changes_of_body(facts.body):
        yield text, replace(facts, body=body)


def _changes_of_body(body: Body) -> Iterator[tuple[str, Body]]:
    for fault, (_, remedy) in _FAULTS.items():
        if remedy and body.faults[fault]:
            yield remedy, _without(body, fault)
    if body.branches > scoring_rules.BRANCHES_EASY:
        yield (
            f"move branches into helpers: at most {scoring_rules.BRANCHES_EASY} here",
            replace(_without(body, BodyFault.MANY_BRANCHES), branches=scoring_rules.BRANCHES_EASY),
        )
    if body.depth > scoring_rules.DEPTH_EASY:
        yield (
            f"nest at most {scoring_rules.DEPTH_EASY} levels: return early, or move a block into a helper",
            replace(body, depth=scoring_rules.DEPTH_EASY),
        )
    if body.statements > scoring_rules.STATEMENTS_EASY:
        yield (
            f"split it: at most {scoring_rules.STATEMENTS_EASY} statements here",
            replace(_without(body, BodyFault.LONG_BODY), statements=scoring_rules.STATEMENTS_EASY),
        )


def _without(body: Body, fault: BodyFault) -> Body:
    faults = body.faults.copy()
    faults[fault] = 0
    return replace(body, faults=faults)


def _is_short(name: str) -> bool:
    return len(name.strip("_")) < scoring_rules.NAME_CHARACTERS_MIN


def _short(names: Sequence[str]) -> list[str]:
    return [name for name in names if _is_short(name)]


def explain(facts: FunctionFacts | ClassFacts) -> dict[str, str]:
    """Return the facts behind each dimension, in words."""
    explainers = _OF_CLASS if isinstance(facts, ClassFacts) else _OF_FUNCTION
    return {name: explainers[name](facts) for name in RULES}


def _share(share: float) -> str:
    return f"{share:.0%} of the signature annotated"


def _faults(body: Body) -> str:
    counted = [f"{name} x{count}" for fault, (name, _) in _FAULTS.items() if (count := body.faults[fault])]
    return ", ".join(counted) or "no fault"


def _docstring(docstring: str) -> str:
    return f"docstring of {len(docstring.split())} words" if docstring else "no docstring"


def _help_in(docstring: str) -> str:
    degree = scoring_rules.examples_in(docstring)
    return (
        "an example"
        if degree == 1
        else "sections but no example"
        if degree
        else "neither example nor sections"
    )


def _body(body: Body) -> str:
    return f"{body.branches} branches, {body.depth} levels of nesting, {body.statements} statements"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _completeness(facts: FunctionFacts) -> str:
    value = (
        "a value on some paths only"
        if facts.body.gives_mixed
        else "a value on every path"
        if facts.body.gives_a_value
        else "no value"
    )
    return (
        f"{facts.body.operations} operations; {_share(facts.annotated_share)}; returns {value}; "
        f"{facts.reminders} reminders, {facts.body.not_implemented} NotImplementedError"
    )


def _documentation(facts: FunctionFacts) -> str:
    missing = [part for part, is_said in scoring_rules.signature_parts(facts).items() if not is_said]
    lacks = f", which does not mention {_listed(missing)}" if missing and facts.docstring else ""
    return f"{_docstring(facts.docstring)}{lacks}; {facts.comments} lines of comment in {facts.lines}"


def _richness(facts: FunctionFacts) -> str:
    short = _short((facts.name, *facts.parameters))
    names = f"; short names: {_listed(short)}" if short else ""
    return f"{_share(facts.annotated_share)}; {_help_in(facts.docstring)} in the docstring{names}"


def _class_documentation(facts: ClassFacts) -> str:
    public = [method for method in facts.methods if not method.name.startswith("_")]
    documented = sum(bool(method.docstring) for method in public)
    return f"{_docstring(facts.docstring)}; {documented} of {len(public)} public methods have one"


def _class_compliance(facts: ClassFacts) -> str:
    faulty = [method.name for method in facts.methods if method.body.faults.total()]
    return f"the class itself: {_faults(facts.body)}" + (f"; faults in {_listed(faulty)}" if faulty else "")


_OF_FUNCTION: Final[dict[str, Callable[..., str]]] = {
    "completeness": _completeness,
    "documentation": _documentation,
    "compliance": lambda facts: _faults(facts.body),
    "metadata_richness": _richness,
    "complexity": lambda facts: f"{_body(facts.body)}, {len(facts.parameters)} parameters",
}
_OF_CLASS: Final[dict[str, Callable[..., str]]] = {
    "completeness": lambda facts: (
        f"{len(facts.methods)} methods, {facts.fields} fields ({facts.fields_annotated} annotated); "
        f"{facts.reminders} reminders outside of methods"
    ),
    "documentation": _class_documentation,
    "compliance": _class_compliance,
    "metadata_richness": lambda facts: f"{_help_in(facts.docstring)} in the docstring of the class",
    "complexity": lambda facts: f"{len(facts.methods)} methods; outside of them {_body(facts.body)}",
}
