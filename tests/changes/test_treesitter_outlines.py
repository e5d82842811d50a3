"""Outlines of JavaScript and TypeScript."""

from __future__ import annotations

import sys

import pytest

from foretest.changes import treesitter
from foretest.changes.symbols import outline, touched
from foretest.records import Hunk, Symbol

JAVASCRIPT = """\
import { a } from "./a";
export default class Shape extends Base {
  static sides = 0;
  area = (x) => {
    return x;
  };
  get name() {
    return 1;
  }
  async *walk() {}
}
const arrow = async (x) => x, old = function () {
  return 2;
};
function* generate() {
  const inner = () => 1;
}
Shape.prototype.draw = function () {
  return 3;
};
const table = {
  key: 1,
  run() {
    return 4;
  },
};
describe("it", () => {
  it("works", () => {});
});
"""

TYPED = """\
abstract class Box<T> {
  private size: number = 1;
  open = (t: T): void => {
    use(t);
  };
}
namespace Tools {
  export function hammer(): number {
    return 1;
  }
}
interface Shape { area(): number }
"""


def owner_of(path: str, source: str) -> dict[str, str]:
    spans = outline(path, source).symbols
    owners = [s.symbol.qualname for s in spans for _ in range(s.first, s.last + 1)]
    return dict(zip((line.strip() for line in source.splitlines()), owners, strict=True))


@pytest.mark.parametrize("path", ["a.js", "a.jsx", "a.mjs", "a.ts", "a.tsx"])
def test_lines_of_javascript_have_their_owner(path: str) -> None:
    owners = owner_of(path, JAVASCRIPT)
    assert owners["return x;"] == "Shape.area"
    assert owners["return 1;"] == "Shape.name"
    assert owners["async *walk() {}"] == "Shape.walk"
    assert owners["return 2;"] == "old"
    assert owners["const inner = () => 1;"] == "generate"
    assert owners["return 3;"] == "draw"
    assert owners["return 4;"] == "table.run"
    for line in (
        "static sides = 0;",
        "key: 1,",
        'it("works", () => {});',
        'import { a } from "./a";',
    ):
        assert owners[line] == "<module>"


def test_lines_of_typescript_have_their_owner() -> None:
    owners = owner_of("a.ts", TYPED)
    assert owners["use(t);"] == "Box.open"
    assert owners["return 1;"] == "Tools.hammer"
    assert owners["private size: number = 1;"] == "<module>"
    assert owners["interface Shape { area(): number }"] == "<module>"


def test_markup_is_read_in_both_dialects() -> None:
    source = "export const View = (props) => {\n  return <b>{props.x}</b>;\n};\n"
    assert {owner_of(p, source)["return <b>{props.x}</b>;"] for p in ("a.tsx", "a.jsx")} == {"View"}


def test_a_change_touches_function_or_module_level() -> None:
    side = outline("a.js", JAVASCRIPT)

    def at(line: str) -> tuple[tuple[Symbol, ...], tuple[str, ...]]:
        number = [text.strip() for text in JAVASCRIPT.splitlines()].index(line) + 1
        return touched(side, side, [Hunk(number, 1, number, 1, (), ())])

    assert at("return 4;") == ((Symbol("a.js", "table.run"),), ("table",))
    symbols, names = at("key: 1,")
    assert symbols == (Symbol("a.js", "<module>"),)
    assert names == ("key", "table")
    assert {s.qualname for s in at("get name() {")[0]} == {"Shape.name", "<module>"}


@pytest.mark.parametrize("source", ["class {", "const = 1;\n", "\0", "<<<<<<< ours\n"])
def test_what_does_not_parse_is_module_level(source: str) -> None:
    assert {s.symbol.qualname for s in outline("a.ts", source).symbols} == {"<module>"}


def test_without_the_grammar_all_is_module_level(monkeypatch: pytest.MonkeyPatch) -> None:
    treesitter._parser.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_javascript", None)
    spans = outline("a.js", JAVASCRIPT).symbols
    assert [s.symbol.qualname for s in spans] == ["<module>"]
    assert spans[0].last == len(JAVASCRIPT.splitlines())


def test_deep_nesting_is_read() -> None:
    source = "const x = " + "[" * 3000 + "]" * 3000 + ";\nfunction f() {\n  return 1;\n}\n"
    assert owner_of("a.js", source)["return 1;"] == "f"
