"""Edits that make a program faulty: found by the syntax tree, made in the text."""

from __future__ import annotations

import ast
import re
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from foretest.records import MODULE_LEVEL


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace bytes `start` to `end` of a file by `text`."""

    start: int
    end: int
    text: bytes
    operator: str
    qualname: str
    """The function or method that holds it, or module level, as `foretest.changes` names it."""


_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Scoped = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

_COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Eq: (r"==", ("!=",)),
    ast.NotEq: (r"!=", ("==",)),
    ast.Lt: (r"<", ("<=", ">=")),
    ast.LtE: (r"<=", ("<", ">")),
    ast.Gt: (r">", (">=", "<=")),
    ast.GtE: (r">=", (">", "<")),
    ast.Is: (r"\bis\b", ("is not",)),
    ast.IsNot: (r"\bis\s+not\b", ("is",)),
    ast.In: (r"\bin\b", ("not in",)),
    ast.NotIn: (r"\bnot\s+in\b", ("in",)),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: (r"\+", ("-",)),
    ast.Sub: (r"-", ("+",)),
    ast.Mult: (r"\*", ("+", "//")),
    ast.Div: (r"/", ("*", "//")),
    ast.FloorDiv: (r"//", ("/", "*")),
    ast.Mod: (r"%", ("//",)),
    ast.Pow: (r"\*\*", ("*",)),
    ast.BitAnd: (r"&", ("|",)),
    ast.BitOr: (r"\|", ("&",)),
    ast.LShift: (r"<<", (">>",)),
    ast.RShift: (r">>", ("<<",)),
}
_EXCEPTIONS = {
    "AttributeError": "KeyError",
    "ImportError": "ValueError",
    "IndexError": "KeyError",
    "KeyError": "IndexError",
    "LookupError": "ValueError",
    "OSError": "ValueError",
    "RuntimeError": "ValueError",
    "StopIteration": "ValueError",
    "TypeError": "ValueError",
    "ValueError": "TypeError",
}
_PLAIN_STRING = re.compile(rb"""[bBuUrR]{0,2}(?:"[^"\\\n]*"|'[^'\\\n]*')""")
_LEFT_ALONE = frozenset(("__all__", "__version__", "__author__", "__license__", "__slots__"))


def edits_of(source: bytes) -> list[Edit]:
    """Every edit that the operators know in a Python source, in the order of the text.

    Docstrings, annotations, and what is for type checkers stay as they are. Empty where the source
    does not parse, or where its lines could be counted in two ways.
    """
    if source.startswith(b"\xef\xbb\xbf") or b"\r" in source or b"\f" in source:
        return []
    try:
        source.decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    text = _Text(source)
    return sorted({e for node, scope in _walk(tree) for e in _of_node(node, scope, text)})


@dataclass(frozen=True, slots=True)
class _Scope:
    qualname: str = MODULE_LEVEL
    names: tuple[str, ...] = ()
    """Parameters of the function, for the wrong-name operator."""
    inside: bool = False
    """True within a function."""


class _Text:
    """A source by offsets; `ast` counts columns in UTF-8 bytes, as we do."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.lines: list[int] = [0, *accumulate(len(line) + 1 for line in source.split(b"\n"))]

    def start(self, node: ast.AST) -> int:
        line, column = int(node.lineno), int(node.col_offset)  # type: ignore[attr-defined]
        return self.lines[line - 1] + column

    def end(self, node: ast.AST) -> int:
        line, column = int(node.end_lineno), int(node.end_col_offset)  # type: ignore[attr-defined]
        return self.lines[line - 1] + column

    def of(self, node: ast.AST) -> bytes:
        return self.source[self.start(node) : self.end(node)]

    def line_of(self, offset: int) -> int:
        return bisect_right(self.lines, offset)

    def between(self, pattern: str, left: ast.AST, right: ast.AST) -> tuple[int, int] | None:
        """Where an operator's sign stands between its two sides."""
        start, end = self.end(left), self.start(right)
        gap = self.source[start:end].decode("utf-8")
        code = re.sub(r"#[^\n]*", lambda comment: " " * len(comment[0].encode()), gap)
        found = re.search(pattern, code)
        return (start + found.start(), start + found.end()) if found else None


def _walk(tree: ast.Module) -> Iterator[tuple[ast.AST, _Scope]]:
    """Every node whose edit could matter, with the function that holds it."""
    pending: list[tuple[ast.AST, _Scope, tuple[str, ...]]] = [(tree, _Scope(), ())]
    while pending:
        node, scope, classes = pending.pop()
        yield node, scope
        for child in _children(node):
            inner, path = scope, classes
            if isinstance(child, ast.ClassDef) and not scope.inside:
                path = (*classes, child.name)
            elif isinstance(child, _Function) and not scope.inside:
                name = ".".join((*classes, child.name))
                arguments = (*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs)
                inner = _Scope(name, tuple(a.arg for a in arguments), True)
            pending.append((child, inner, path))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.JoinedStr):  # its parts have no reliable places before Python 3.12
        return
    if isinstance(node, ast.If) and _for_others(node.test):
        yield from node.orelse
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _apart(child):
                yield child


def _for_others(test: ast.expr) -> bool:
    """True for what only type checkers see, and for what only a script's caller runs."""
    shown = ast.dump(test)
    return "TYPE_CHECKING" in shown or "'__main__'" in shown


def _apart(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    targets = node.targets if isinstance(node, ast.Assign) else ()
    return any(isinstance(t, ast.Name) and t.id in _LEFT_ALONE for t in targets)


def _of_node(node: ast.AST, scope: _Scope, text: _Text) -> Iterator[Edit]:
    if isinstance(node, ast.If) and _for_others(node.test):
        return
    for start, end, new, operator in _raw(node, scope, text):
        if text.source[start:end] != new:
            yield Edit(start, end, new, operator, scope.qualname)


_Raw = tuple[int, int, bytes, str]


def _raw(node: ast.AST, scope: _Scope, text: _Text) -> Iterator[_Raw]:
    match node:
        case ast.Compare():
            sides = pairwise([node.left, *node.comparators])
            for operator, (left, right) in zip(node.ops, sides, strict=True):
                yield from _swap(_COMPARISONS[type(operator)], left, right, "comparison", text)
        case ast.BoolOp():
            words = (r"\band\b", ("or",)) if isinstance(node.op, ast.And) else (r"\bor\b", ("and",))
            for left, right in pairwise(node.values):
                yield from _swap(words, left, right, "boolean", text)
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            sign = _ARITHMETIC[type(node.op)]
            yield from _swap(sign, node.left, node.right, "arithmetic", text)
        case ast.AugAssign() if type(node.op) in _ARITHMETIC:
            pattern, others = _ARITHMETIC[type(node.op)]
            signs = (pattern + "=", tuple(other + "=" for other in others))
            yield from _swap(signs, node.target, node.value, "arithmetic", text)
            yield from _drop(node, text)
        case ast.Constant():
            yield from _constant(node, text, "constant" if scope.inside else "table-constant")
        case ast.If() | ast.While() | ast.IfExp():
            yield _replace(node.test, b"not (" + text.of(node.test) + b")", "condition", text)
        case ast.UnaryOp(op=ast.Not()):
            yield _replace(node, b"(" + text.of(node.operand) + b")", "condition", text)
        case ast.Return(value=ast.expr() as value):
            yield _replace(value, b"None", "return", text)
        case ast.Expr(value=ast.Call()) | ast.Assign() | ast.Delete() if scope.inside:
            yield from _drop(node, text)
        case ast.Raise() | ast.ExceptHandler():
            yield from _exception(node, text)
        case ast.Call():
            yield from _call(node, text)
        case ast.Subscript():
            yield from _index(node, text)
        case ast.arguments():
            for default in (*node.defaults, *(d for d in node.kw_defaults if d is not None)):
                yield from _default(default, text)
        case ast.Dict() | ast.List() | ast.Tuple() | ast.Set():
            yield from _table(node, text, "element" if scope.inside else "table")
        case ast.Break():
            yield _replace(node, b"continue", "jump", text)
        case ast.Continue():
            yield _replace(node, b"break", "jump", text)
        case ast.Name(ctx=ast.Load()) if node.id in scope.names:
            names = [name for name in scope.names if name not in (node.id, "self", "cls")]
            if names and node.id not in ("self", "cls"):
                other = names[text.start(node) % len(names)]
                yield _replace(node, other.encode(), "name", text)


def _replace(node: ast.AST, new: bytes, operator: str, text: _Text) -> _Raw:
    return text.start(node), text.end(node), new, operator


def _swap(
    signs: tuple[str, tuple[str, ...]], left: ast.AST, right: ast.AST, operator: str, text: _Text
) -> Iterator[_Raw]:
    place = text.between(signs[0], left, right)
    for other in signs[1] if place else ():
        yield (*place, other.encode(), operator)  # type: ignore[misc]


def _drop(node: ast.AST, text: _Text) -> Iterator[_Raw]:
    yield _replace(node, b"pass", "statement", text)


def _constant(node: ast.Constant, text: _Text, operator: str) -> Iterator[_Raw]:
    value = node.value
    if isinstance(value, bool):
        yield _replace(node, str(not value).encode(), operator, text)
    elif isinstance(value, int):
        for number in (value + 1, value - 1):
            shown = str(number) if number >= 0 else f"({number})"
            yield _replace(node, shown.encode(), operator, text)
    elif isinstance(value, float):
        yield _replace(node, repr(value * 2 + 1).encode(), operator, text)
    elif isinstance(value, str | bytes):
        shown_as = text.of(node)
        if _PLAIN_STRING.fullmatch(shown_as):
            quote = shown_as[-1:]
            opening = shown_as[: shown_as.index(quote) + 1]
            content = shown_as[len(opening) : -1]
            for changed in (content[:-1], content + b"x", content.swapcase()):
                yield _replace(node, opening + changed + quote, f"{operator}-string", text)


def _default(default: ast.expr, text: _Text) -> Iterator[_Raw]:
    if isinstance(default, ast.Constant) and default.value is None:
        yield _replace(default, b"()", "default", text)
    elif isinstance(default, ast.Constant):
        yield _replace(default, b"None", "default", text)


def _exception(node: ast.Raise | ast.ExceptHandler, text: _Text) -> Iterator[_Raw]:
    raised = node.exc if isinstance(node, ast.Raise) else node.type
    name = raised.func if isinstance(raised, ast.Call) else raised
    if isinstance(name, ast.Name) and name.id[:1].isupper():
        other = _EXCEPTIONS.get(name.id, "RuntimeError")
        yield _replace(name, other.encode(), "exception", text)
    if isinstance(node, ast.Raise):
        yield from _drop(node, text)


def _call(node: ast.Call, text: _Text) -> Iterator[_Raw]:
    plain = [a for a in node.args if not isinstance(a, ast.Starred | ast.GeneratorExp)]
    if len(plain) == len(node.args) >= 2:
        for left, right in pairwise(plain):
            between = text.source[text.end(left) : text.start(right)]
            new = text.of(right) + between + text.of(left)
            yield text.start(left), text.end(right), new, "argument-swap"
    parts: list[ast.AST] = [*node.args, *node.keywords]
    if len(plain) == len(node.args) and len(parts) >= 2:
        yield text.end(parts[-2]), text.end(parts[-1]), b"", "argument-drop"
    if isinstance(node.func, ast.Name) and node.func.id in ("len", "range") and len(plain) == 1:
        where = node if node.func.id == "len" else plain[0]
        for sign in (b" + 1", b" - 1"):
            yield _replace(where, b"(" + text.of(where) + sign + b")", "off-by-one", text)


def _index(node: ast.Subscript, text: _Text) -> Iterator[_Raw]:
    if isinstance(node.slice, ast.Slice):
        for bound in (node.slice.lower, node.slice.upper):
            if bound is not None:
                yield _replace(bound, b"(" + text.of(bound) + b") + 1", "off-by-one", text)


def _table(
    node: ast.Dict | ast.List | ast.Tuple | ast.Set, text: _Text, operator: str
) -> Iterator[_Raw]:
    if isinstance(node, ast.Dict):
        if None in node.keys:
            return
        starts: Sequence[ast.AST] = [key for key in node.keys if key is not None]
        ends: Sequence[ast.AST] = node.values
        for left, right in pairwise(node.values):
            if text.of(left) != text.of(right):
                yield _replace(left, text.of(right), f"{operator}-value", text)
    else:
        if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            return
        starts = ends = node.elts
    if len(starts) >= 3:  # a pair is rather a pair than a table
        for index in range(1, len(starts)):
            yield text.end(ends[index - 1]), text.end(ends[index]), b"", f"{operator}-drop"
