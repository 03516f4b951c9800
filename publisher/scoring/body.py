"""Counts in a function's or class's body, made in one walk over its syntax tree. Nothing is judged here."""

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

LONG_BODY_STATEMENTS: Final = 50
"""Each full 50 statements are one fault, as for pylint's too-many-statements."""

MANY_BRANCHES: Final = 15
"""Each full 15 branches are one fault; pylint's too-many-branches begins above 12."""


class BodyFault(Enum):
    """Faults by PEP 8 and common sense. `scoring.rules.PENALTIES` gives the weight of each."""

    NAME = auto()
    PARAMETER_NAME = auto()
    LONG_LINE = auto()
    BARE_EXCEPT = auto()
    SILENT_EXCEPT = auto()
    MUTABLE_DEFAULT = auto()
    DYNAMIC_CODE = auto()
    GLOBAL = auto()
    SHADOWED_BUILTIN = auto()
    NONE_EQUALITY = auto()
    LONG_BODY = auto()
    MANY_BRANCHES = auto()


@dataclass(slots=True)
class Body:
    """The counts.

    `returns`, `bare_returns`, `yields` and `exceptions` leave out the functions defined inside.

    Attributes:
        operations: expressions that do something. A docstring, an `...`, a `return None` or the raising of
            NotImplementedError does not count. A body with no operations is a stub, however it is wrapped.
        statements: all except docstrings: documentation never lowers a score.
        branches: decisions, as McCabe counts them, less one.
        depth: levels of indentation below the body; `elif` adds no level.
        returns: returns of something other than None.
        bare_returns: returns without a value.
        falls_through: whether the last statement can be left other than by `return` or `raise`.
        not_implemented: raises of NotImplementedError.
        exceptions: names of the other exceptions that are raised.
        faults: the count of each fault.
    """

    operations: int = 0
    statements: int = 0
    branches: int = 0
    depth: int = 0
    returns: int = 0
    bare_returns: int = 0
    yields: int = 0
    falls_through: bool = True
    not_implemented: int = 0
    exceptions: set[str] = field(default_factory=set)
    faults: Counter[BodyFault] = field(default_factory=Counter)

    @property
    def gives_a_value(self) -> bool:
        """True if the body returns or yields a value."""
        return self.returns > 0 or self.yields > 0

    @property
    def gives_mixed(self) -> bool:
        """True if the body returns a value on one path and nothing on another."""
        return self.returns > 0 and self.yields == 0 and (self.bare_returns > 0 or self.falls_through)


def read_body(statements: Sequence[ast.stmt]) -> Body:
    """Count what the statements hold. No recursion, because an `elif` chain may be thousands deep."""
    body = Body(falls_through=_falls_through(statements))
    pending: list[tuple[ast.AST, int, bool]] = [(child, 0, True) for child in statements]
    while pending:
        node, depth, is_own = pending.pop()
        if isinstance(node, ast.stmt):
            body.statements += not _is_docstring(node)
            body.depth = max(body.depth, depth)
            if _note_idle(body, node, is_own=is_own):
                continue
        elif isinstance(node, ast.expr):
            body.operations += 1
        kind = type(node)
        if kind in _NOTES:
            _NOTES[kind](body, node)
        if is_own and kind in _OUTCOMES:
            _note_outcome(body, node)
        is_own = is_own and kind not in _SCOPES
        pending += ((child, level, is_own) for child, level in _children(node, depth))
    body.faults[BodyFault.LONG_BODY] = body.statements // LONG_BODY_STATEMENTS
    body.faults[BodyFault.MANY_BRANCHES] = body.branches // MANY_BRANCHES
    return body


def last_name(node: ast.AST | None) -> str:
    """Return the last name of a decorator, exception or callee: `c` of `a.b.c(x)`; empty if there is none."""
    while isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


_LEVELS: Final = frozenset(
    (
        *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match),
        *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    )
)
_OUTCOMES: Final = frozenset((ast.Return, ast.Yield, ast.YieldFrom, ast.Raise))
_SCOPES: Final = frozenset((ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda))


_WITHOUT_FACTS: Final = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
"""A third of all nodes: `Load` of each name, and the operators."""


def _children(node: ast.AST, depth: int) -> Iterator[tuple[ast.AST, int]]:
    is_level = type(node) in _LEVELS
    chained = node.orelse[0] if isinstance(node, ast.If) and len(node.orelse) == 1 else None
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _WITHOUT_FACTS):
            continue
        is_elif = child is chained and isinstance(child, ast.If)
        yield child, depth + (is_level and not is_elif)


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _note_idle(body: Body, node: ast.stmt, *, is_own: bool) -> bool:
    """Return whether a statement does nothing. Its expressions are then not counted as operations."""
    match node:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Return(value=ast.Constant(value=None)):
            return True
        case ast.Return(value=None):
            body.bare_returns += is_own
            return True
        case ast.Raise() if last_name(node.exc) == "NotImplementedError":
            body.not_implemented += 1
            return True
    return False


def _note_decision(body: Body, node: ast.AST) -> None:
    match node:
        case ast.BoolOp():
            body.branches += len(node.values) - 1
        case ast.comprehension():
            body.branches += 1 + len(node.ifs)
        case ast.ExceptHandler():
            body.branches += 1
            body.faults[BodyFault.BARE_EXCEPT] += node.type is None
            is_broad = last_name(node.type) in {"Exception", "BaseException"}
            body.faults[BodyFault.SILENT_EXCEPT] += is_broad and isinstance(node.body[0], ast.Pass)
        case _:
            body.branches += 1


def _note_suspect(body: Body, node: ast.AST) -> None:
    match node:
        case ast.Call(func=ast.Name(id="eval" | "exec")):
            body.faults[BodyFault.DYNAMIC_CODE] += 1
        case ast.Global():
            body.faults[BodyFault.GLOBAL] += 1
        case ast.Compare(ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Constant(value=None)]):
            body.faults[BodyFault.NONE_EQUALITY] += 1
        case _:
            pass


def _note_outcome(body: Body, node: ast.AST) -> None:
    match node:
        case ast.Return():
            body.returns += 1
        case ast.Raise():
            body.exceptions.add(last_name(node.exc))
        case _:
            body.yields += 1


_NOTES: Final[dict[type[ast.AST], Callable[[Body, ast.AST], None]]] = {
    ast.If: _note_decision,
    ast.IfExp: _note_decision,
    ast.For: _note_decision,
    ast.AsyncFor: _note_decision,
    ast.While: _note_decision,
    ast.match_case: _note_decision,
    ast.BoolOp: _note_decision,
    ast.comprehension: _note_decision,
    ast.ExceptHandler: _note_decision,
    ast.Call: _note_suspect,
    ast.Global: _note_suspect,
    ast.Compare: _note_suspect,
}


def _falls_through(statements: Sequence[ast.stmt]) -> bool:
    pending = [statements]
    while pending:
        block = pending.pop()
        exits = _exits(block[-1]) if block else None
        if exits is None:
            return True
        pending += exits
    return False


def _exits(node: ast.stmt) -> list[list[ast.stmt]] | None:
    """Return the blocks through which control may leave a statement; None if it continues with the next one.

    Doubt favours the author: `while True` counts as without exit, although there may be a `break`.
    """
    match node:
        case ast.Return() | ast.Raise() | ast.While(test=ast.Constant(value=True | 1)):
            return []
        case ast.If():
            return [node.body, node.orelse]
        case ast.With() | ast.AsyncWith():
            return [node.body]
        case ast.Try() | ast.TryStar():
            return [node.orelse or node.body, *(handler.body for handler in node.handlers)]
        case ast.Match() if _is_wildcard(node.cases[-1]):
            return [case.body for case in node.cases]
    return None


def _is_wildcard(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
