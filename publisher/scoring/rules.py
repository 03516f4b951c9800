"""The five dimensions of a function's or class's quality: pure functions of its facts, each from 0 to 1.

The docstring of each function is the rule; the constants above it are its numbers.
"""

import re
from math import prod
from statistics import fmean
from typing import Final

from pattern_metrics.publisher.scoring.body import Body, BodyFault
from pattern_metrics.publisher.scoring.facts import ClassFacts, FunctionFacts

HALF_EVIDENCE_OPERATIONS: Final = 5
"""A body with this many operations (names, calls, operators, literals) is half way to a substantial one."""


def evidence_of(operations: int) -> float:
    """Return how much there is to judge: n / (n + 5). A getter's 2 give 0.29, 10 give 0.67, 100 give 0.95."""
    return operations / (operations + HALF_EVIDENCE_OPERATIONS)


WORK_SHARE, TYPED_SHARE, CONSISTENT_SHARE, FINISHED_SHARE = 0.5, 0.2, 0.15, 0.15
DECLARATION_COMPLETENESS: Final = 0.4
REMINDER_FACTOR: Final = 0.5
NAMED_SUBTYPE_COMPLETENESS: Final = 0.4


def completeness(facts: FunctionFacts | ClassFacts) -> float:
    """Does it do something whole?

    A function gets 0.5 for the work it does (times the evidence, so that little work counts little), 0.2 for
    the annotated share of its signature, 0.15 if it returns a value on every path or on none, and 0.15 if it
    is finished. The last part is halved for each TODO, FIXME, XXX, HACK or NotImplementedError. A stub has 0.
    A stub that is empty on purpose has 0.4: abstract, overload, in a Protocol, or a hook (a method with a
    docstring or with a comment other than TODO).

    A class has the mean of its methods. Its fields together count as one more method: half for being there
    (times the evidence), half for the annotated share. The result is halved for each reminder outside its
    methods. An empty class has 0, an empty subclass (most exceptions) 0.4.
    """
    if isinstance(facts, ClassFacts):
        return _class_completeness(facts)
    if facts.body.operations == 0:
        return DECLARATION_COMPLETENESS if facts.may_be_empty and not facts.reminders else 0.0
    return (
        WORK_SHARE * evidence_of(facts.body.operations)
        + TYPED_SHARE * facts.annotated_share
        + CONSISTENT_SHARE * (not facts.body.gives_mixed)
        + FINISHED_SHARE * REMINDER_FACTOR ** (facts.reminders + facts.body.not_implemented)
    )


def _class_completeness(facts: ClassFacts) -> float:
    parts = [completeness(method) for method in facts.methods]
    if facts.fields:
        typed = facts.fields_annotated / facts.fields
        parts.append((evidence_of(facts.body.operations) + typed) / 2)
    if not parts:
        parts.append(NAMED_SUBTYPE_COMPLETENESS if facts.has_origin else 0.0)
    return fmean(parts) * REMINDER_FACTOR**facts.reminders


SUMMARY_SHARE, SIGNATURE_SHARE, EXTENT_SHARE, COMMENTS_SHARE = 0.35, 0.35, 0.2, 0.1
SUMMARY_WORDS: Final = 6
EXTENT_WORDS: Final = 10
EXTENT_WORDS_PER_STATEMENT: Final = 0.5
LINES_PER_COMMENT: Final = 12
COMMENTS_INSTEAD_MAX: Final = 0.3
COMMENTS_INSTEAD: Final = 4
SPECIAL_METHOD_CREDIT: Final = 0.4
PRIVATE_CREDIT: Final = 0.2
CLASS_OWN_SHARE: Final = 0.6

# A CJK character counts as a word: such text has no spaces to count.
_WORD: Final = re.compile(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+")
_SAYS_RETURN: Final = re.compile(
    r"\b(return|yield|give|get|produce|create|construct|compute|calculate|convert|find|make|build|result"
    r"|iterator|generator|whether|true|none)|->",
    flags=re.IGNORECASE,
)
_SAYS_RAISE: Final = re.compile(r"\brais|\berror\b|\bexception\b", flags=re.IGNORECASE)


def documentation(facts: FunctionFacts | ClassFacts) -> float:
    """Does it say what it is for?

    A function's docstring gets 0.35 for the summary, in full from six words on that are not in its name; 0.35
    for the signature (each parameter by name, the returned value, the exceptions raised), or for the summary
    again if there is nothing to say about the signature; 0.2 for its extent (10 words, and one more for every
    two statements); 0.1 for comments, one for every 12 lines beyond the first 12. Without a docstring it gets
    up to 0.3 for four lines of comment in or above it. Special methods, which the data model explains, have
    at least 0.4, private functions 0.2.

    A class gets 0.6 for its own docstring (half summary, half extent) and 0.4 for the mean of its public
    methods.
    """
    if isinstance(facts, ClassFacts):
        return _class_documentation(facts)
    score = _credit_without_docstring(facts.name, facts.comments)
    if not facts.docstring:
        return score
    summary = _summary(facts.docstring, facts.name)
    comments = min(1.0, (1 + facts.comments) * LINES_PER_COMMENT / facts.lines)
    return max(
        score,
        SUMMARY_SHARE * summary
        + SIGNATURE_SHARE * _signature(facts, default=summary)
        + EXTENT_SHARE * _extent(facts.docstring, facts.body.statements)
        + COMMENTS_SHARE * comments,
    )


def _class_documentation(facts: ClassFacts) -> float:
    own = _credit_without_docstring(facts.name, facts.comments)
    if facts.docstring:
        extent = _extent(facts.docstring, facts.body.statements + facts.members)
        own = max(own, (_summary(facts.docstring, facts.name) + extent) / 2)
    methods = [documentation(method) for method in facts.methods if not method.name.startswith("_")]
    return CLASS_OWN_SHARE * own + (1 - CLASS_OWN_SHARE) * fmean(methods) if methods else own


def _credit_without_docstring(name: str, comments: int) -> float:
    credit = COMMENTS_INSTEAD_MAX * min(1.0, comments / COMMENTS_INSTEAD)
    if name.startswith("__") and name.endswith("__"):
        return max(credit, SPECIAL_METHOD_CREDIT)
    return max(credit, PRIVATE_CREDIT) if name.startswith("_") else credit


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _summary(docstring: str, name: str) -> float:
    said_by_name = _words(name.replace("_", " "))
    return min(1.0, len(_words(docstring.partition("\n\n")[0]) - said_by_name) / SUMMARY_WORDS)


def _extent(docstring: str, statements: int) -> float:
    wanted = EXTENT_WORDS + EXTENT_WORDS_PER_STATEMENT * statements
    return min(1.0, len(_WORD.findall(docstring)) / wanted)


def _signature(facts: FunctionFacts, *, default: float) -> float:
    said = signature_parts(facts)
    return fmean(said.values()) if said else default


def signature_parts(facts: FunctionFacts) -> dict[str, bool]:
    """Return each part of a signature that a docstring explains, and whether this one mentions it."""
    words = _words(facts.docstring)
    said = {
        parameter: parameter.lower() in words or _words(parameter.replace("_", " ")) <= words
        for parameter in facts.parameters
        if not parameter.startswith("_")
    }
    if facts.body.gives_a_value:
        said["the returned value"] = _SAYS_RETURN.search(facts.docstring) is not None
    if facts.body.exceptions:
        names = {name.lower() for name in facts.body.exceptions}
        said["the exceptions"] = bool(names & words) or _SAYS_RAISE.search(facts.docstring) is not None
    return said


PENALTIES: Final = {
    BodyFault.BARE_EXCEPT: 0.4,
    BodyFault.DYNAMIC_CODE: 0.3,
    BodyFault.MUTABLE_DEFAULT: 0.3,
    BodyFault.SILENT_EXCEPT: 0.3,
    BodyFault.GLOBAL: 0.2,
    BodyFault.LONG_BODY: 0.2,
    BodyFault.MANY_BRANCHES: 0.2,
    BodyFault.NAME: 0.2,
    BodyFault.NONE_EQUALITY: 0.1,
    BodyFault.PARAMETER_NAME: 0.1,
    BodyFault.SHADOWED_BUILTIN: 0.05,
    BodyFault.LONG_LINE: 0.05,
}


def compliance(facts: FunctionFacts | ClassFacts) -> float:
    """Does it follow the style rules?

    It starts at 1, and each fault takes its percentage of the rest: 40 % for a bare `except`; 30 % each for
    `eval` or `exec`, a mutable default, an `except Exception` that only passes; 20 % each for `global`, a
    name against PEP 8, and every full 50 statements or 15 branches; 10 % for `== None` or a parameter not in
    lower case; 5 % for a line over 100 characters or a parameter that hides a builtin. Half of the result
    depends on the evidence: code that does nothing breaks no rule.

    A class has its own faults, times the mean of its methods.
    """
    kept = prod((1 - PENALTIES[fault]) ** count for fault, count in facts.body.faults.items())
    if isinstance(facts, ClassFacts) and facts.methods:
        return kept * fmean(compliance(method) for method in facts.methods)
    return kept * (1 + evidence_of(facts.body.operations)) / 2


ANNOTATIONS_SHARE, NAMES_SHARE, HINTS_SHARE, EXAMPLES_SHARE = 0.45, 0.2, 0.1, 0.25
SECTIONS_INSTEAD: Final = 0.6
NAME_CHARACTERS_MIN: Final = 3
CLASS_METHODS_SHARE: Final = 0.5

_EXAMPLE: Final = re.compile(r"^[ \t]*>>> ", flags=re.MULTILINE)
_SECTION: Final = re.compile(
    r"^[ \t]*(:(param|returns?|raises|type)\b|@(param|return)|(Args|Arguments|Attributes|Parameters|Returns"
    r"|Yields|Raises|Examples?|Usage|Notes?)\b:?[ \t]*$)|::[ \t]*$",
    flags=re.MULTILINE,
)


def metadata_richness(facts: FunctionFacts | ClassFacts) -> float:
    """Does a caller learn enough without reading the body?

    A function gets 0.45 for the annotated share of its signature; 0.2 for the share of its own and its
    parameters' names that have three letters or more; 0.1 for decorators, defaults, keyword-only or
    positional-only parameters; 0.25 for an example (`>>>`) in the docstring, or 0.6 of that for sections or
    fields (`Args:`, `:param`) alone.

    A class gets 0.5 for the mean of its methods (without methods, for the annotated share of its fields), and
    the rest for itself: half of it for an example or sections, a quarter each for its name and for bases or
    decorators.
    """
    examples = examples_in(facts.docstring)
    if isinstance(facts, FunctionFacts):
        names = [len(name.strip("_")) >= NAME_CHARACTERS_MIN for name in (facts.name, *facts.parameters)]
        return (
            ANNOTATIONS_SHARE * facts.annotated_share
            + NAMES_SHARE * fmean(names)
            + HINTS_SHARE * facts.has_signature_hints
            + EXAMPLES_SHARE * examples
        )
    typed = facts.fields_annotated / facts.fields if facts.fields else 0.0
    members = fmean(map(metadata_richness, facts.methods)) if facts.methods else typed
    own = examples / 2 + (len(facts.name) >= NAME_CHARACTERS_MIN) / 4 + facts.has_origin / 4
    return CLASS_METHODS_SHARE * members + (1 - CLASS_METHODS_SHARE) * own


def examples_in(docstring: str) -> float:
    """Return 1 for a docstring with an example, 0.6 for one that has only sections, and otherwise 0."""
    if _EXAMPLE.search(docstring):
        return 1.0
    return SECTIONS_INSTEAD if _SECTION.search(docstring) else 0.0


BRANCHES_EASY, BRANCHES_HALVING = 5, 10
DEPTH_EASY, DEPTH_HALVING = 2, 2
STATEMENTS_EASY, STATEMENTS_HALVING = 20, 50
PARAMETERS_EASY, PARAMETERS_HALVING = 4, 4
METHODS_EASY, METHODS_HALVING = 15, 20


def complexity(facts: FunctionFacts | ClassFacts) -> float:
    """Is it simple to follow? 1 is simple.

    A function has 1 up to 5 branches, 2 levels of nesting, 20 statements and 4 parameters. Beyond that the
    value falls smoothly: it is halved by each further 10 branches, 2 levels, 50 statements and 4 parameters.

    A class has the mean of its methods, halved by each 20 methods beyond 15. Without methods it is scored
    like a function.
    """
    if isinstance(facts, ClassFacts) and facts.methods:
        size = _ease(len(facts.methods), METHODS_EASY, METHODS_HALVING)
        return size * fmean(map(complexity, facts.methods))
    parameters = len(facts.parameters) if isinstance(facts, FunctionFacts) else 0
    return _body_ease(facts.body) * _ease(parameters, PARAMETERS_EASY, PARAMETERS_HALVING)


def _body_ease(body: Body) -> float:
    return (
        _ease(body.branches, BRANCHES_EASY, BRANCHES_HALVING)
        * _ease(body.depth, DEPTH_EASY, DEPTH_HALVING)
        * _ease(body.statements, STATEMENTS_EASY, STATEMENTS_HALVING)
    )


def _ease(value: int, easy: int, halving: int) -> float:
    return float(0.5 ** (max(0, value - easy) / halving))


CONFIDENCE_MIN, CONFIDENCE_MAX = 0.2, 0.95
CONFIDENCE_HALF_OPERATIONS: Final = 15


def confidence(facts: FunctionFacts | ClassFacts) -> float:
    """Can the score be trusted?

    It rises with the amount of code: 0.2 for a stub, half way at 15 operations, towards 0.95. It never
    reaches 0.95, because rules that read code do not know whether the code is right. The operations of a
    class include its methods'.
    """
    operations = facts.body.operations
    if isinstance(facts, ClassFacts):
        operations += sum(method.body.operations for method in facts.methods)
    evidence = operations / (operations + CONFIDENCE_HALF_OPERATIONS)
    return CONFIDENCE_MIN + (CONFIDENCE_MAX - CONFIDENCE_MIN) * evidence
