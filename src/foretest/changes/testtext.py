"""What pytest would collect from a Python test file, as far as its text tells."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_Function = ast.FunctionDef | ast.AsyncFunctionDef

EMPTY = frozenset(("object", "ABC", "Generic", "Protocol", "Enum", "NamedTuple"))
"""Bases that bring no tests."""
CASES = frozenset(
    ("TestCase", "IsolatedAsyncioTestCase", "SimpleTestCase", "TransactionTestCase")
)  # fmt: skip
"""Bases that bring no tests either, and make a class collectable whatever its name."""

NO_TESTS = frozenset(("fixture", "yield_fixture", "property", "cached_property"))
"""Decorators that make something else of a function."""


@dataclass
class Class:
    """A class of the file: the tests in its own body, and its bases by their last name."""

    tests: set[str] = field(default_factory=set)
    bases: tuple[str, ...] = ()
    unsure: bool = False
    """Whether the text alone does not tell which tests it holds, or whether it is there."""
    built: bool = False
    """Whether it has a constructor: pytest passes such a class over."""


@dataclass
class TestText:
    """The tests of one file, by name: `test_a`, `TestX::test_b`."""

    __test__ = False

    functions: set[str] = field(default_factory=set)
    classes: dict[str, Class] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    """Names that the module binds otherwise: by assignment, import, or under a condition."""

    hidden: set[str] = field(default_factory=set)
    """Classes under a condition, whose tests are not told."""

    def holds(self, name: str, before: TestText | None) -> bool | None:
        """Whether a test that was there is still there; None where the text does not tell."""
        past = before or TestText()
        owner, _, test = name.rpartition("::")
        if owner in self.classes:
            return self._class_holds(owner, test, past)
        top = owner.partition("::")[0] if owner else test
        if not name or top in self.functions:
            return True
        if top in self.hidden or "*" in self.bound:
            return None
        own = top in past.functions or top in past.classes
        if top in self.bound:
            return True if top in past.bound and not own else None
        return False if own or top in past.bound else None

    def _class_holds(self, owner: str, test: str, past: TestText) -> bool | None:
        tests, outside = self.held(owner)
        old, old_outside = past.held(owner)
        was_built = owner in past.classes and past.classes[owner].built
        if self.classes[owner].built and not was_built:
            return False if not outside and not self._taken(owner) else None
        if test in tests:
            return True
        if not outside:
            return False if owner in past.classes else None
        # From a base of another file, as before; else that base may or may not have it.
        return True if outside == old_outside and test not in old else None

    def new(self, before: TestText | None, known: Sequence[str]) -> list[str] | None:
        """Tests that came with the change; None where the text does not tell them all."""
        past = before or TestText()
        imported = (self.bound | self.hidden) - past.bound - past.hidden - CASES
        if any(name.startswith(("test", "Test", "*")) for name in imported):
            return None
        found = [n for n in self.functions - past.functions if n not in known]
        owners = {name.rpartition("::")[0] for name in known}
        for owner in self.classes:
            tests, outside = self.held(owner)
            old, old_outside = past.held(owner)
            gained = {test for test in tests - old if f"{owner}::{test}" not in known}
            if owner in owners or self.collectable(owner):
                if outside - old_outside:
                    return None
                found.extend(f"{owner}::{test}" for test in gained)
            elif gained and not old:  # a class whose old tests were no tests has no new ones
                return None
        return sorted(found)

    def held(self, owner: str, seen: frozenset[str] = frozenset()) -> tuple[set[str], set[str]]:
        """Tests of a class with those it inherits within the file; bases that may bring others."""
        body = self.classes.get(owner)
        if body is None or owner in seen:
            return set(), set()
        tests, outside = set(body.tests), {f"?{owner}"} if body.unsure else set()
        for base in body.bases:
            if base in self.classes:
                more, unknown = self.held(base, seen | {owner})
                tests |= more
                outside |= unknown
            elif base not in EMPTY | CASES:
                outside.add(base)
        return tests, outside

    def collectable(self, owner: str) -> bool:
        """Whether pytest takes tests of the class: by its name, or as a unittest case."""
        parts = owner.split("::")
        chain = ["::".join(parts[: i + 1]) for i in range(len(parts))]
        return all(name in self.classes and self._taken(name) for name in chain)

    def shifted(self, before: TestText | None) -> set[str]:
        """Classes that gained or lost tests, their own or inherited ones."""
        past = before or TestText()
        owners = self.classes.keys() | past.classes.keys()
        return {owner for owner in owners if self.held(owner)[0] != past.held(owner)[0]}

    def inherits(self, classes: set[str]) -> bool:
        """Whether a class of this file has one of these as a base that is not its own."""
        foreign = {base for body in self.classes.values() for base in body.bases}
        return bool((foreign - self.classes.keys()) & classes)

    def _taken(self, owner: str, seen: frozenset[str] = frozenset()) -> bool:
        body = self.classes.get(owner)
        if body is None or owner in seen:
            return False
        if any(base in CASES or self._case(base, seen | {owner}) for base in body.bases):
            return True
        return owner.rpartition("::")[2].startswith("Test") and not body.built

    def _case(self, owner: str, seen: frozenset[str]) -> bool:
        body = self.classes.get(owner)
        if body is None or owner in seen:
            return False
        return any(base in CASES or self._case(base, seen | {owner}) for base in body.bases)


def read_tests(source: bytes) -> TestText | None:
    """The tests of a Python source; None where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code's own style
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    text = TestText()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if _is_test(node):
                    text.functions.add(name)
            case ast.ClassDef():
                _read_class(text, node, "")
            case ast.Expr() | ast.Pass():
                pass
            case _:
                text.bound.update(_bound(node))
                inner = (each for each in ast.walk(node) if isinstance(each, ast.ClassDef))
                text.hidden.update(each.name for each in inner)
    text.functions -= text.bound
    for name in text.bound & text.classes.keys():
        text.classes[name].unsure = True
    return text


def _read_class(text: TestText, node: ast.ClassDef, outer: str) -> None:
    name = f"{outer}::{node.name}" if outer else node.name
    body = Class(bases=tuple(_last(base) for base in node.bases))
    marked = all(ast.unparse(each).startswith("pytest.mark.") for each in node.decorator_list)
    body.unsure = bool(not marked or node.keywords or name in text.classes)
    text.classes[name] = body
    for child in node.body:
        match child:
            case ast.FunctionDef(name=test) | ast.AsyncFunctionDef(name=test):
                body.built |= test in ("__init__", "__new__")
                if _is_test(child):
                    body.tests.add(test)
            case ast.ClassDef():
                _read_class(text, child, name)
            case ast.Expr() | ast.Pass():
                pass
            case _:
                names = set(_bound(child))
                # `__test__`, tests by assignment, tests under a condition: the text is not enough.
                body.unsure |= any(n.startswith("test") or n == "__test__" for n in names)


def _is_test(node: _Function) -> bool:
    calls = (each.func if isinstance(each, ast.Call) else each for each in node.decorator_list)
    return node.name.startswith("test") and NO_TESTS.isdisjoint(map(_last, calls))


def _bound(node: ast.stmt) -> Iterator[str]:
    """Every name that a statement may bind or delete, in its blocks too; `*` for a star import."""
    pending: list[ast.AST] = [node]
    while pending:
        item = pending.pop()
        match item:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
                continue
            case ast.ClassDef(name=name):
                yield name
                continue
            case ast.alias(name=name, asname=asname):
                yield asname or name.partition(".")[0]
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
        pending.extend(ast.iter_child_nodes(item))


def _last(base: ast.expr) -> str:
    """The last name of `a.b.C` or `C[int]`; what is no name is no base that one could know."""
    match base:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _last(value)
    return "?"
