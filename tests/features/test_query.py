"""What a query keeps of a change."""

from __future__ import annotations

import pytest

from foretest.features.query import (
    is_test_file,
    is_test_module,
    query_of,
    query_of_facts,
    unit_of,
)
from foretest.lab.labels import CaseFile, change_facts
from foretest.records import Change, FileChange, FileStatus, Hunk, Symbol


def change(*files: FileChange) -> Change:
    return Change("example.org/acme/app", "a", "b", files)


def test_words_come_from_sources_alone() -> None:
    hunk = Hunk(1, 1, 1, 1, ("old_name = 1",), ("fresh = 'left join'",))
    test_hunk = Hunk(1, 0, 1, 1, (), ("def test_zebra(): pass",))
    query = query_of(
        change(
            FileChange("src/a.py", FileStatus.MODIFIED, hunks=(hunk,)),
            FileChange("tests/test_a.py", FileStatus.MODIFIED, hunks=(test_hunk,)),
        )
    )
    assert "old_name" in query.removed
    assert {"fresh", "left", "join"} <= set(query.added)
    assert not any("zebra" in word for word in query.added)


def test_a_past_case_asks_what_its_change_asked() -> None:
    hunk = Hunk(1, 1, 1, 1, ("old_name = 1",), ("fresh = 2",))
    touched = (Symbol("src/a.py", "<module>"),)
    asked = change(
        FileChange("src/a.py", FileStatus.MODIFIED, None, False, (hunk,), touched, ("fresh",)),
        FileChange("tests/test_a.py", FileStatus.MODIFIED, hunks=(hunk,)),
    )
    facts = change_facts(asked)
    assert isinstance(facts["files"][0], CaseFile)
    assert query_of_facts(facts["files"], facts["removed"], facts["added"]) == query_of(asked)


def test_bodies_of_tests_are_no_changed_symbols() -> None:
    source, test = Symbol("src/a.py", "f"), Symbol("tests/test_a.py", "TestA.test_f")
    helper = Symbol("tests/test_a.py", "make")
    query = query_of(
        change(
            FileChange("src/a.py", FileStatus.MODIFIED, touched=(source, source)),
            FileChange("tests/test_a.py", FileStatus.MODIFIED, touched=(test, helper)),
        )
    )
    assert query.touched == (source, helper)
    assert unit_of(test) == "tests/test_a.py::TestA::test_f"
    assert unit_of(helper) is None
    assert unit_of(Symbol("src/a.py", "test_mode")) is None


def test_a_renamed_file_is_known_by_its_old_name() -> None:
    renamed = FileChange("src/new.py", FileStatus.RENAMED, old_path="src/old.py")
    copied = FileChange("src/copy.py", FileStatus.COPIED, old_path="src/old.py")
    assert query_of(change(renamed, copied)).sources == ("src/old.py", "src/copy.py")


@pytest.mark.parametrize(
    ("path", "module", "test"),
    [
        ("tests/test_a.py", True, True),
        ("pkg/core/tests/helpers.py", False, True),
        ("a_test.go", True, True),
        ("web/app.spec.ts", True, True),
        ("conftest.py", False, True),
        ("src/testing/tools.py", False, False),
        ("src/contest.py", False, False),
        ("src/latest.py", False, False),
    ],
)
def test_paths_of_tests(path: str, module: bool, test: bool) -> None:
    assert (is_test_module(path), is_test_file(path)) == (module, test)
