"""Outlines of Python sources, by Python's own syntax tree."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any

from foretest.changes.outlines import Binding, Import, Outline, count_lines, partition
from foretest.records import MODULE_LEVEL

_Function = ast.FunctionDef | ast.AsyncFunctionDef

_MUTATORS = frozenset(
    (
        "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop",
        "popitem", "popleft", "register", "remove", "reverse", "setdefault", "sort", "update",
    )
)  # fmt: skip

# What an analysis of names looks at; everything else only enters the digest.
_NOTED = (
    ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Global, ast.arg, ast.ExceptHandler,
    ast.Import, ast.ImportFrom,
)  # fmt: skip
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
_NO_CODE = frozenset(("ctx", "kind", "type_comment", "type_ignores"))
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def outline_python(path: str, source: str) -> Outline | None:
    """The outline of a Python source; None where it does not parse."""
    tree = _parse(source)
    if tree is None:
        return None
    lines = count_lines(source)
    statements = list(_module_level(tree))
    functions = [(name, node) for name, node, _ in statements if isinstance(node, _Function)]
    bindings = tuple(chain.from_iterable(_bindings(*statement) for statement in statements))
    module = _scan(tree, into_functions=False)
    scans: dict[str, list[_Scan]] = {}
    for name, node in functions:
        scans.setdefault(name, []).append(_scan(node, into_functions=True))
    everything = [module, *chain.from_iterable(scans.values())]
    aliases = _aliases(everything)
    reads = {MODULE_LEVEL: _reads(module, aliases, frozenset())}
    sets = {MODULE_LEVEL: frozenset(binding.name for binding in bindings)}
    for name, parts in scans.items():
        uses = [(part, _locals(part)) for part in parts]
        reads[name] = frozenset().union(*(_reads(part, aliases, own) for part, own in uses))
        sets[name] = frozenset().union(*(_sets(part, own) for part, own in uses))
    return Outline(
        path,
        partition(path, ((name, *_extent(node)) for name, node in functions), lines),
        headers=tuple(sorted(_header(node) for _, node in functions)),
        docstrings=tuple(sorted(chain.from_iterable(scan.docstrings for scan in everything))),
        bindings=bindings,
        sets=sets,
        reads=reads,
        imports=tuple(dict.fromkeys(chain.from_iterable(map(_imports, everything)))),
        digests={MODULE_LEVEL: _digest([module])} | {n: _digest(p) for n, p in scans.items()},
    )


def _parse(source: str) -> ast.Module | None:
    # A lone carriage return ends a line for Python, not for git: line numbers would not join.
    if "\r" in source and source.count("\r") != source.count("\r\n"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code's own style, such as bad escapes
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _module_level(tree: ast.Module) -> Iterator[tuple[str, ast.stmt, tuple[str, ...]]]:
    """Every statement outside functions: qualified name (or ""), itself, the classes around it."""
    pending: list[tuple[ast.AST, tuple[str, ...]]] = [(tree, ())]
    while pending:
        node, classes = pending.pop()
        for block in _BLOCKS:
            for child in getattr(node, block, ()):
                if isinstance(child, _Function):
                    yield ".".join((*classes, child.name)), child, classes
                elif isinstance(child, ast.ClassDef):
                    yield ".".join((*classes, child.name)), child, classes
                    pending.append((child, (*classes, child.name)))
                else:
                    if isinstance(child, ast.stmt):
                        yield "", child, classes
                    pending.append((child, classes))


def _extent(node: _Function) -> tuple[int, int]:
    return _first_line(node), node.end_lineno or node.lineno


def _header(node: _Function) -> tuple[int, int]:
    return _first_line(node), max(node.lineno, _first_line(node.body[0]) - 1)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min(node.lineno, *(d.lineno for d in decorators)) if decorators else node.lineno


# What module-level statements bind.


def _bindings(_: str, node: ast.stmt, classes: tuple[str, ...]) -> Iterator[Binding]:
    """A statement's names with its own lines; a block's head stands for what its body binds."""
    first, last = _first_line(node), node.end_lineno or node.lineno
    names = set(_bound(node))
    body: list[ast.stmt] = getattr(node, "body", [])
    if body:
        last = max(node.lineno, _first_line(body[0]) - 1)
        if not isinstance(node, _Function | ast.ClassDef):
            names.update(chain.from_iterable(map(_bound, body)))
    if names and classes:
        names.update(classes)
    for name in sorted(names):
        yield Binding(name, first, last)


def _bound(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import() | ast.ImportFrom():
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            for target in targets:
                yield from _target_names(target)
        case ast.AnnAssign() | ast.AugAssign() | ast.For() | ast.AsyncFor():
            yield from _target_names(node.target)
        case ast.With() | ast.AsyncWith():
            for item in node.items:
                if item.optional_vars is not None:
                    yield from _target_names(item.optional_vars)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner))):
            yield from _owner_names(owner)  # a call for its effect on what it is called on
        case _ if type(node).__name__ == "TypeAlias":  # Python 3.12
            yield node.name.id  # type: ignore[attr-defined]


def _target_names(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                yield from _target_names(element)
        case ast.Starred(value=value):
            yield from _target_names(value)
        case ast.Subscript(value=value):
            yield from _owner_names(value)
        case _:
            yield from _owner_names(target)


def _owner_names(owner: ast.expr) -> Iterator[str]:
    """The last attribute and the first name of `a.b.c[k]()`: c and a."""
    attribute = ""
    while True:
        match owner:
            case ast.Name(id=name):
                yield name
                break
            case ast.Attribute(value=value, attr=name):
                attribute = attribute or name
            case ast.Subscript(value=value) | ast.Call(func=value):
                pass
            case _:
                break
        owner = value
    if attribute:
        yield attribute


# One walk over a function, or over the module outside functions.


@dataclass(frozen=True, slots=True)
class _Scan:
    code: str
    noted: list[Any]
    docstrings: list[tuple[int, int]]


def _scan(root: ast.AST, into_functions: bool) -> _Scan:
    """Spell the code without positions and docstrings, and note the nodes that name something.

    Iterative, since generated code nests deeper than Python's stack. Empty fields are left out,
    so that a newer Python's additional ones change no digest.
    """
    code: list[str] = []
    noted: list[ast.AST] = []
    docstrings: list[tuple[int, int]] = []
    pending: list[Any] = [root]
    while pending:
        item = pending.pop()
        if item.__class__ is str:
            code.append(item)
            continue
        kind = item.__class__
        if kind in _NOTED:
            noted.append(item)
        if kind is ast.Name:  # names and constants are most of a tree: the short way
            code.append(f"(Name {item.id})")
            continue
        if kind is ast.Constant:
            code.append(f"(Constant {_spell(item.value)})")
            continue
        code.append("(" + kind.__name__)
        pending.append(")")
        for name in reversed(item._fields):
            value = getattr(item, name, None)
            if value is None or name in _NO_CODE:
                continue
            if value.__class__ is not list:
                pending.append(value if isinstance(value, ast.AST) else _spell(value))
            elif name == "body" and kind in _DOCUMENTED:
                if kind in _DOCUMENTED[:2] and not into_functions:
                    continue
                if text := _docstring(value):
                    docstrings.append((text.lineno, text.end_lineno or text.lineno))
                    value = value[1:]
                pending.extend(reversed(value))
            elif value:
                pending.append("]")
                pending.extend(v if isinstance(v, ast.AST) else _spell(v) for v in reversed(value))
            else:
                continue
            pending.append(f" {name}:")
    return _Scan("".join(code), noted, docstrings)


def _docstring(body: list[ast.stmt]) -> ast.stmt | None:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *_]:
            return body[0]
    return None


def _spell(value: object) -> str:
    # A hexadecimal literal may have more digits than Python agrees to print in decimal.
    return hex(value) if value.__class__ is int else repr(value)


def _digest(scans: list[_Scan]) -> str:
    state = blake2b(digest_size=8)
    for scan in scans:
        state.update(scan.code.encode("utf-8", "surrogatepass"))
    return state.hexdigest()


def _locals(scan: _Scan) -> frozenset[str]:
    names, declared = set(), set()
    for node in scan.noted:
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.ExceptHandler(name=str(name)):
                names.add(name)
            case ast.Global(names=those):
                declared.update(those)
    return frozenset(names - declared)


def _reads(scan: _Scan, aliases: Mapping[str, str], own: frozenset[str]) -> frozenset[str]:
    names = set()
    for node in scan.noted:
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if name not in own:
                names.add(name)
            case ast.Attribute(attr=name, ctx=ast.Load()):
                names.add(name)
            case ast.ImportFrom(names=those):
                names.update(alias.name for alias in those)
    return frozenset(names.union(aliases[name] for name in names if name in aliases))


def _sets(scan: _Scan, own: frozenset[str]) -> frozenset[str]:
    """Names of other scopes, and attributes of anything, that a function binds or mutates."""
    names = set()
    for node in scan.noted:
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if name not in own:
                names.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.Subscript(value=owner, ctx=ast.Store() | ast.Del()):
                names.update(_mutated(owner, own))
            case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in _MUTATORS:
                names.update(_mutated(owner, own))
    return frozenset(names)


def _mutated(owner: ast.expr, own: frozenset[str]) -> Iterator[str]:
    match owner:
        case ast.Name(id=name) if name not in own:
            yield name
        case ast.Attribute(attr=name):
            yield name


def _aliases(scans: Iterable[_Scan]) -> dict[str, str]:
    """What a name that an import gives is called where it comes from."""
    return {
        alias.asname: alias.name.rpartition(".")[2]
        for scan in scans
        for node in scan.noted
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }


def _imports(scan: _Scan) -> Iterator[Import]:
    for node in scan.noted:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), 0)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.module or "", tuple(a.name for a in node.names), node.level)
