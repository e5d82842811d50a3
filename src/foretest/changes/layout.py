"""Which files are tests, by the names that runners look for; the one rule for all rooms."""

from __future__ import annotations

import re

_TEST_MODULE = re.compile(r"(^|/)(test_[^/]*|[^/]*_tests?|tests?|[^/]*\.(test|spec))\.[a-z]+$")
TEST_FOLDERS = frozenset(("test", "tests", "__tests__", "testsuite", "unittests"))


def is_test_module(path: str) -> bool:
    """Whether a path looks like a file of tests, by the runners' usual names."""
    return bool(_TEST_MODULE.search(path))


def is_test_file(path: str) -> bool:
    """Whether a path looks like tests or what supports them alone.

    A package named `testing` is no such place: projects ship it.
    """
    *folders, name = path.split("/")
    beside = not TEST_FOLDERS.isdisjoint(folders)
    return beside or name == "conftest.py" or is_test_module(path)
