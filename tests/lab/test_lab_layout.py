"""What counts as test, source and package."""

import pytest

from foretest.changes.layout import is_test_file as is_test
from foretest.lab.layout import import_names, import_roots, is_python_source


@pytest.mark.parametrize(
    "path",
    ["tests/a.py", "pkg/tests/data.json", "test_a.py", "pkg/a_test.py", "conftest.py", "x/test.py"],
)
def test_tests_are_told_by_place_and_name(path):
    assert is_test(path)
    assert not is_python_source(path)


@pytest.mark.parametrize(
    "path", ["src/a.py", "pkg/testing_tools.py", "pkg/latest.py", "contest.py"]
)
def test_sources_are_not_tests(path):
    assert not is_test(path)
    assert is_python_source(path)


@pytest.mark.parametrize(
    "path", ["setup.py", ".ci/run.py", "docs/conf.py", "benchmarks/a.py", "README.md"]
)
def test_what_lies_beside_the_code_is_no_source(path):
    assert not is_python_source(path)


def test_src_comes_before_the_top():
    files = ["src/a/__init__.py", "src/a/b.py", "tests/test_a.py", "performance/run.py"]
    assert import_roots(files) == ("src", "")
    assert import_names(files) == ("a",)


def test_flat_packages_modules_and_unusual_roots():
    assert import_names(["a/__init__.py", "b.py", "setup.py", "tests/__init__.py"]) == ("a", "b")
    assert import_roots(["lib/a/__init__.py", "lib/a/c/__init__.py"]) == ("lib", "")


def test_nothing_gives_the_top_alone():
    assert import_roots([]) == ("",)
    assert import_names([]) == ()
