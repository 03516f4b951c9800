"""Facts about functions and classes, read from syntax tree and source. Nothing is judged here."""

import ast
import builtins
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, NamedTuple

from pattern_metrics.publisher.scoring.body import Body, BodyFault, last_name, read_body

LINE_CHARACTERS_MAX: Final = 100
"""Longest line that is not a fault. PEP 8 lets a team agree on up to 99 characters; this allows one more."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
DefinitionNode = FunctionNode | ast.ClassDef

_DECLARATIONS: Final = frozenset({"abstractmethod", "abstractproperty", "overload"})
_MUTABLE_LITERALS: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_MUTABLE_FACTORIES: Final = frozenset({"list", "dict", "set", "bytearray", "defaultdict", "deque"})
_BUILTINS: Final = frozenset(
    name
    for name, value in vars(builtins).items()
    if name.islower() and (isinstance(value, type) or type(value).__name__ == "builtin_function_or_method")
)
# Strings are matched too, so that a `#` inside a string is not taken for a comment. A string without an end,
# which one inside an f-string can look like, ends with its line or the text: each character is scanned once.
_STRING_OR_COMMENT: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:"""|\\?\Z)'
    r"|'''(?:[^'\\]|\\.|'(?!''))*+(?:'''|\\?\Z)"
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|'(?:[^'\\\n]|\\.)*+'?"
    r"|(?P<comment>#[^\n]*)",
    flags=re.DOTALL,
)
_MARKER: Final = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


class SourceLines:
    """Facts that a syntax tree lacks: lines that are comments, hold reminders, or are too long."""

    def __init__(self, text: str) -> None:
        self.comments: list[int] = []
        self.markers: list[int] = []
        line, position = 1, 0
        for match in _STRING_OR_COMMENT.finditer(text):
            comment = match["comment"]
            if comment is None:
                continue
            line += text.count("\n", position, match.start())
            position = match.start()
            if not text[text.rfind("\n", 0, position) + 1 : position].strip():
                self.comments.append(line)
            if _MARKER.search(comment):
                self.markers.append(line)
        self.long = [
            number for number, row in enumerate(text.split("\n"), 1) if len(row) > LINE_CHARACTERS_MAX
        ]


@dataclass(frozen=True, slots=True)
class Span:
    """The lines of a definition, without its docstring: documentation never lowers a score."""

    first: int
    last: int
    docstring_first: int
    docstring_last: int

    @classmethod
    def of(cls, node: DefinitionNode) -> "Span":
        """Return the lines of a definition, its decorators included."""
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        last = node.end_lineno or first
        opening = node.body[0]
        if ast.get_docstring(node, clean=False) is None:
            return cls(first, last, first, first - 1)
        return cls(first, last, opening.lineno, opening.end_lineno or opening.lineno)

    @property
    def length(self) -> int:
        """The number of lines; at least 1, also if the docstring is on the only line."""
        return max(1, self.last - self.first - (self.docstring_last - self.docstring_first))

    def count(self, numbers: Sequence[int]) -> int:
        """Return how many of the sorted line numbers are inside."""
        return _count_between(numbers, self.first, self.last) - _count_between(
            numbers, self.docstring_first, self.docstring_last
        )

    def count_outside(self, members: Iterable["Span"], numbers: Sequence[int]) -> int:
        """Return how many line numbers are inside, but in none of the members or their docstrings."""
        inside = sum(_count_between(numbers, member.first, member.last) for member in members)
        return self.count(numbers) - inside


def _count_between(numbers: Sequence[int], first: int, last: int) -> int:
    return max(0, bisect_right(numbers, last) - bisect_left(numbers, first))


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function or method.

    Attributes:
        parameters: the parameters without the receiver (`self`, `cls`).
        annotated_share: annotated share of the parameters and the return value; `__init__` needs no return
            annotation.
        has_signature_hints: whether it has decorators, defaults, keyword-only or positional-only parameters.
        may_be_empty: whether it is abstract, an overload, in a Protocol, or a hook (a method with a docstring
            or a comment).
        lines: the number of lines without the docstring.
        comments: the number of lines of comment, inside and directly above.
        reminders: comments with TODO, FIXME, XXX or HACK.
    """

    name: str
    docstring: str
    parameters: tuple[str, ...]
    annotated_share: float
    has_signature_hints: bool
    may_be_empty: bool
    lines: int
    comments: int
    reminders: int
    body: Body


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """A class, with the facts of its methods.

    Attributes:
        has_origin: whether the class has bases or decorators.
        fields: attributes assigned or annotated in the class's body.
        members: methods and nested classes.
        comments: lines of comment directly above.
        reminders: comments with TODO, FIXME, XXX or HACK outside its methods.
        body: the class's body without the definitions in it.
    """

    name: str
    docstring: str
    has_origin: bool
    methods: tuple[FunctionFacts, ...]
    fields: int
    fields_annotated: int
    members: int
    comments: int
    reminders: int
    body: Body


class Definition(NamedTuple):
    """A function, method or class to score: its name within the module, its kind and its lines."""

    name: str
    kind: str
    line: int
    end_line: int
    facts: FunctionFacts | ClassFacts


def read_definitions(body: Sequence[ast.stmt], lines: SourceLines) -> Iterator[Definition]:
    """Yield the functions and classes of a module and of its classes, in source order, class before method.

    A definition inside a function belongs to that function, because nobody can import it by name.
    """
    for node in _definitions(body):
        if isinstance(node, ast.ClassDef):
            yield from _read_class(node, node.name, lines)
        else:
            kind = "async_function" if isinstance(node, ast.AsyncFunctionDef) else "function"
            yield _define(node, node.name, kind, _function_facts(node, lines, owner=None))


def _define(node: DefinitionNode, name: str, kind: str, facts: FunctionFacts | ClassFacts) -> Definition:
    return Definition(name, kind, node.lineno, node.end_lineno or node.lineno, facts)


def _definitions(body: Sequence[ast.AST]) -> Iterator[DefinitionNode]:
    """Yield the definitions of one namespace, also those under `if`, `try`, `with` or a loop."""
    pending = list(reversed(body))
    while pending:
        node = pending.pop()
        if isinstance(node, DefinitionNode):
            yield node
        elif not isinstance(node, ast.expr):
            pending += reversed(list(ast.iter_child_nodes(node)))


def _read_class(node: ast.ClassDef, name: str, lines: SourceLines) -> list[Definition]:
    members: list[Definition] = []
    methods: list[FunctionFacts] = []
    children = list(_definitions(node.body))
    for child in children:
        if isinstance(child, ast.ClassDef):
            members += _read_class(child, f"{name}.{child.name}", lines)
        else:
            methods.append(_function_facts(child, lines, owner=node))
            members.append(_define(child, f"{name}.{child.name}", "method", methods[-1]))
    return [_define(node, name, "class", _class_facts(node, children, tuple(methods), lines)), *members]


def _class_facts(
    node: ast.ClassDef,
    children: Sequence[DefinitionNode],
    methods: tuple[FunctionFacts, ...],
    lines: SourceLines,
) -> ClassFacts:
    own = [child for child in node.body if not isinstance(child, DefinitionNode)]
    fields = [child for child in own if isinstance(child, ast.Assign | ast.AnnAssign)]
    span, spans = Span.of(node), [Span.of(child) for child in children]
    body = read_body(own)
    body.faults[BodyFault.NAME] += not _is_cap_words(node.name)
    body.faults[BodyFault.LONG_LINE] += span.count_outside(spans, lines.long)
    return ClassFacts(
        name=node.name,
        docstring=ast.get_docstring(node) or "",
        has_origin=bool(node.bases or node.decorator_list),
        methods=methods,
        fields=len(fields),
        fields_annotated=sum(isinstance(child, ast.AnnAssign) for child in fields),
        members=len(children),
        comments=_comments_above(span.first, lines.comments),
        reminders=span.count_outside(spans, lines.markers),
        body=body,
    )


def _function_facts(node: FunctionNode, lines: SourceLines, *, owner: ast.ClassDef | None) -> FunctionFacts:
    arguments = node.args
    parameters = [*arguments.posonlyargs, *arguments.args]
    decorators = {last_name(decorator) for decorator in node.decorator_list}
    if owner is not None and "staticmethod" not in decorators:
        parameters = parameters[1:]
    parameters += arguments.kwonlyargs
    parameters += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    defaults = [default for default in (*arguments.defaults, *arguments.kw_defaults) if default is not None]
    annotated = [parameter.annotation is not None for parameter in parameters]
    if owner is None or node.name != "__init__":
        annotated.append(node.returns is not None)
    docstring = ast.get_docstring(node) or ""
    span = Span.of(node)
    comments = span.count(lines.comments) + _comments_above(span.first, lines.comments)
    body = read_body(node.body)
    body.faults[BodyFault.NAME] += not _is_snake_case(node.name)
    body.faults[BodyFault.PARAMETER_NAME] += sum(each.arg != each.arg.lower() for each in parameters)
    body.faults[BodyFault.SHADOWED_BUILTIN] += sum(each.arg in _BUILTINS for each in parameters)
    body.faults[BodyFault.MUTABLE_DEFAULT] += sum(map(_is_mutable, defaults))
    body.faults[BodyFault.LONG_LINE] += span.count(lines.long)
    return FunctionFacts(
        name=node.name,
        docstring=docstring,
        parameters=tuple(parameter.arg for parameter in parameters),
        annotated_share=fmean(annotated or [True]),
        has_signature_hints=bool(decorators or defaults or arguments.kwonlyargs or arguments.posonlyargs),
        may_be_empty=not decorators.isdisjoint(_DECLARATIONS)
        or (owner is not None and bool(docstring or comments or "Protocol" in map(last_name, owner.bases))),
        lines=span.length,
        comments=comments,
        reminders=span.count(lines.markers),
        body=body,
    )


def _comments_above(line: int, comments: Sequence[int]) -> int:
    """Count the lines of the comment that ends directly above a line."""
    index = bisect_left(comments, line)
    count = 0
    while count < index and comments[index - 1 - count] == line - 1 - count:
        count += 1
    return count


def _is_mutable(default: ast.expr) -> bool:
    return isinstance(default, _MUTABLE_LITERALS) or (
        isinstance(default, ast.Call) and last_name(default) in _MUTABLE_FACTORIES
    )


def _is_snake_case(name: str) -> bool:
    """Return whether a function's name follows PEP 8. The suffix of `visit_BinOp` or `do_GET` is free."""
    head = name.strip("_").partition("_")[0]
    return head == head.lower()


def _is_cap_words(name: str) -> bool:
    bare = name.strip("_")
    return bare[:1] == bare[:1].upper() and "_" not in bare
