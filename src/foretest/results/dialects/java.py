"""JUnit, TestNG, Spock and Kotlin, as Surefire, Failsafe, Gradle and JUnit's console tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from foretest.results.dialects.contract import Dialect, Scene, Spelling

_METHOD = re.compile(r"([\w$][\w$ ]*?)(?:\(([^()]*)\)|\{([^{}]*)\})?(?:\[(.*)\])?", re.DOTALL)


def _tells(_: Scene, case: Mapping[str, str]) -> bool:
    """Anything with a dotted class name: these four write alike, and so do their imitators."""
    return "." in case.get("classname", "") and " " not in case.get("classname", "")


def _told(_: Scene) -> pl.Expr:
    classname = pl.col("classname").str
    return classname.contains(".", literal=True) & ~classname.contains(" ", literal=True)


def _prefix(_: Scene, classname: str, __: str) -> str:
    return classname.replace("$", "::") + "::" if classname else ""


def _prefixes(classnames: pl.Series) -> pl.Series:
    return classnames.str.replace_all("$", "::", literal=True) + "::"


def _split(name: str) -> Spelling:
    """`isSmall(int)[2]` is `isSmall` with `(int)[2]`; `parses()` has no parameters.

    The types stay: methods of one name with other types are other tests. A display name that is
    all that was written (`[2] thirty`) tells a parameter set of an unknown method.
    """
    if name.startswith("["):
        return "", name
    method = _METHOD.fullmatch(name)
    if method is None:
        return name, None
    types, values = method[2] or method[3], method[4]
    if types:
        return method[1], f"({types})" + (f"[{values}]" if values is not None else "")
    return method[1], values


JUNIT = Dialect("junit", _tells, _prefix, _split, marks="([{", told=_told, prefixes=_prefixes)
