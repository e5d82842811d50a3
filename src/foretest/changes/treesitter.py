"""Outlines of JavaScript and TypeScript by tree-sitter: one mechanism, a table a language."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from foretest.changes.outlines import Binding, Outline, count_lines, partition
from foretest.records import MODULE_LEVEL

if TYPE_CHECKING:
    from tree_sitter import Node, Parser


@dataclass(frozen=True, slots=True)
class Language:
    """Where a grammar comes from, and the node types that carry a file's symbols."""

    package: str
    grammar: str
    functions: frozenset[str]
    """Named code that runs when called."""
    classes: frozenset[str]
    """Named bodies that run where they stand."""
    assigned: frozenset[str]
    """Nodes that give the value, perhaps a function, on their right a name."""
    values: frozenset[str]
    """Functions without a name of their own."""


JAVASCRIPT = Language(
    "tree_sitter_javascript",
    "language",
    functions=frozenset(
        ("function_declaration", "generator_function_declaration", "method_definition")
    ),
    classes=frozenset(("class_declaration",)),
    assigned=frozenset(
        ("variable_declarator", "field_definition", "pair", "assignment_expression")
    ),
    values=frozenset(("arrow_function", "function_expression", "generator_function")),
)
TYPESCRIPT = replace(
    JAVASCRIPT,
    package="tree_sitter_typescript",
    grammar="language_typescript",
    classes=JAVASCRIPT.classes | {"abstract_class_declaration", "internal_module", "module"},
    assigned=JAVASCRIPT.assigned | {"public_field_definition"},
)
TSX = replace(TYPESCRIPT, grammar="language_tsx")

LANGUAGES = {
    ".js": JAVASCRIPT,
    ".jsx": JAVASCRIPT,
    ".mjs": JAVASCRIPT,
    ".cjs": JAVASCRIPT,
    ".ts": TYPESCRIPT,
    ".mts": TYPESCRIPT,
    ".cts": TYPESCRIPT,
    ".tsx": TSX,
}


def outline_by_tree_sitter(path: str, source: str) -> Outline | None:
    """The outline of a source; None where it does not parse or the grammar is not installed."""
    language = LANGUAGES[PurePosixPath(path).suffix]
    try:
        parser = _parser(language.package, language.grammar)
    except ImportError:
        return None
    root = parser.parse(source.encode("utf-8", "surrogatepass")).root_node
    if root.has_error:
        return None
    functions = []
    headers = []
    bindings = []
    for node, names in _named(root, language):
        first, last = _line(node.start_point), _line(node.end_point)
        if function := _function(node, language):
            functions.append((".".join(names), first, last))
            body = function.child_by_field_name("body")
            last = _line(body.start_point) if body is not None else last
            headers.append((first, last))
        bindings += [Binding(name, first, last) for name in names]
    return Outline(
        path,
        partition(path, functions, count_lines(source)),
        headers=tuple(sorted(headers)),
        bindings=tuple(bindings),
        sets={MODULE_LEVEL: frozenset(binding.name for binding in bindings)},
    )


@cache
def _parser(package: str, grammar: str) -> Parser:
    tree_sitter = importlib.import_module("tree_sitter")
    language: Any = getattr(importlib.import_module(package), grammar)()
    parser: Parser = tree_sitter.Parser(tree_sitter.Language(language))
    return parser


def _named(root: Node, language: Language) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """Nodes outside functions that have a name, with the names that hold them before it."""
    pending: list[tuple[Node, tuple[str, ...]]] = [(root, ())]
    while pending:
        node, names = pending.pop()
        if node.type in language.values:
            continue  # a callback where it stands: module level's own
        if node.type in language.functions | language.classes | language.assigned:
            names = (*names, _name(node))
            if node.type not in language.classes:
                yield node, names
            if _function(node, language) is not None:
                continue
        pending.extend((child, names) for child in reversed(node.named_children))


def _name(node: Node) -> str:
    """The node's name; the last part of it where that is a path such as `A.prototype.draw`."""
    fields = map(node.child_by_field_name, ("name", "property", "key", "left"))
    found = next((field for field in fields if field is not None and field.text), None)
    text = found.text.decode("utf-8", "replace") if found is not None and found.text else ""
    return text.rpartition(".")[2].strip("'\"")


def _function(node: Node, language: Language) -> Node | None:
    """The node whose body runs when this name is called."""
    if node.type in language.functions:
        return node
    value = node.child_by_field_name("value") or node.child_by_field_name("right")
    return value if value is not None and value.type in language.values else None


def _line(point: tuple[int, int]) -> int:
    return point[0] + 1
