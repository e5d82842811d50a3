"""pytest, and others that write pytest's dotted class names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from foretest.results.dialects.contract import Dialect, Scene, Spelling, under

_MODULE = re.compile(r"(?:^|\.)(?:test_\w+|\w+_test)(?:\.|$)")
"""A test module within a dotted name, where the suite was given another name."""
_CLASS = re.compile(r"\.(?=[A-Z])")
"""Where classes begin: with a capital by PEP 8, which modules do not have."""


def _tells(scene: Scene, case: Mapping[str, str]) -> bool:
    if scene.suite.get("name") == "pytest" or scene.root.get("name") == "pytest tests":
        return True
    classname = case.get("classname", "")
    if _file(case).endswith(".py"):
        return True
    return _MODULE.search(classname) is not None and not _of_java(scene, classname, case)


def _told(scene: Scene) -> pl.Expr:
    if scene.root.get("name") == "pytest tests":
        return pl.lit(value=True)
    classname = pl.col("classname")
    is_class = (pl.col("suite_name") == classname) & classname.str.contains(r"(?:^|\.)\p{Lu}[^.]*$")
    of_java = is_class | pl.col("name").str.contains(r"(?s)^[^\[]*\)(?:\[.*)?$")
    named = (pl.col("suite_name") == "pytest") | pl.col("file").str.ends_with(".py")
    return named | (classname.str.contains(_MODULE.pattern) & ~of_java)


def _of_java(scene: Scene, classname: str, case: Mapping[str, str]) -> bool:
    """Packages of Java may be called like test modules; suites are classes there, tests methods."""
    called = case.get("name", "").partition("[")[0]
    named = scene.suite.get("name") == classname and classname.rpartition(".")[2][:1].isupper()
    return named or called.endswith(")")


def _file(case: Mapping[str, str]) -> str:
    return case.get("file", "")


def _prefix(scene: Scene, classname: str, file: str) -> str:
    """`tests.test_a.TestX` is `tests/test_a.py::TestX::`; a file in the report says more."""
    if file.endswith(".py"):
        file = scene.files(file)
        dotted = file.removesuffix(".py").replace("/", ".")
        classes = classname.removeprefix(dotted).lstrip(".")
        return "::".join((file, *classes.split("."), "")) if classes else f"{file}::"
    if not classname:
        return ""
    first = _CLASS.search(classname)
    if first is None:
        return f"{classname.replace('.', '/')}.py::"
    module, classes = classname[: first.start()], classname[first.end() :]
    return f"{module.replace('.', '/')}.py::{classes.replace('.', '::')}::"


def _prefixes(classnames: pl.Series) -> pl.Series:
    parted = classnames.str.replace(r"\.([A-Z])", "\n$1").str.splitn("\n", 2)
    parts = parted.struct.rename_fields(["1", "2"]).struct.unnest()
    module, classes = pl.col("1").str.replace_all(".", "/", literal=True) + ".py::", pl.col("2")
    within = (classes.str.replace_all(".", "::", literal=True) + "::").fill_null("")
    return parts.select(prefix=module + within).to_series()


def _split(name: str) -> Spelling:
    function, bracket, rest = name.partition("[")
    return function, rest.removesuffix("]") if bracket else None


def _splits(names: pl.Series) -> pl.DataFrame:
    parts = names.str.splitn("[", 2).struct.unnest()
    return parts.select(text="field_0", parameters=pl.col("field_1").str.strip_suffix("]"))


def _identify(scene: Scene, case: Mapping[str, str]) -> Spelling:
    classname, name, file = case.get("classname", ""), case.get("name", ""), _file(case)
    if not classname:  # a module that could not be collected stands under its own dotted name
        return (scene.files(file) if file else f"{name.replace('.', '/')}.py"), None
    text, parameters = _split(name)
    return under(_prefix(scene, classname, file), text), parameters


PYTEST = Dialect(
    "pytest",
    _tells,
    _prefix,
    _split,
    marks="[",
    identify=_identify,
    splits=_splits,
    told=_told,
    prefixes=_prefixes,
)
