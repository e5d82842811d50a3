"""Cases on disk, and which tests are sampled."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.lab.labels import Case, CaseFile, change_facts, sample_tests
from foretest.records import Change, FileChange, FileStatus, Hunk, Source, Symbol

UNITS = st.lists(st.text(min_size=1, max_size=8), max_size=30)


def case(**changes):
    files = (CaseFile("a.py", FileStatus.MODIFIED, touched=(Symbol("a.py", "f"),)),)
    named = {"case_id": "id", "repository": "key", "source": Source.UNDONE, "commit": "c"}
    facts = named | {
        "files": files,
        "failed": ("t.py::a", "t.py::b"),
        "modified_tests": ("t.py::a",),
        "removed": {"x": 2},
    }
    return Case(**(facts | changes))


def test_a_case_survives_its_line():
    for one in (case(), case(ran={"t.py::a": 0.5}, hunk=3), case(failed=(), source=Source.FAULT)):
        line = one.to_line()
        assert line.count("\n") == 1
        assert Case.from_line(line) == one


def test_a_case_tells_which_failures_the_commit_did_not_touch():
    assert case().untouched == ("t.py::b",)
    assert case().faulty
    assert not case(broken="timeout").faulty
    assert not case(failed=(), broken="none-failed").faulty


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"files": []}', '{"files": [{}]}', "{"])
def test_what_is_no_case_is_refused(line):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Case.from_line(line)


def test_words_of_tests_are_left_out_and_lines_counted():
    hunk = Hunk(1, 1, 1, 2, ("old_name = 1",), ("new_name = 1", "more = 2"))
    files = tuple(
        FileChange(path, FileStatus.MODIFIED, hunks=(hunk,)) for path in ("a.py", "tests/test_a.py")
    )
    facts = change_facts(Change("key", "b", None, files))
    assert facts["removed"] == {"old_name": 1, "old": 1, "name": 1}
    assert facts["added"]["more"] == 1
    assert (facts["hunks"], facts["lines_removed"], facts["lines_added"]) == (2, 2, 4)
    json.dumps([facts["removed"], facts["added"]])


@given(UNITS, UNITS, st.floats(0, 1), st.integers())
def test_sampling_logs_the_probability_of_every_unit_it_includes(suggested, others, rate, seed):
    chosen = sample_tests(suggested, others, rate, seed)
    assert all(chosen[unit] == 1.0 for unit in suggested)
    assert set(chosen) <= {*suggested, *others}
    assert all(chosen[unit] == rate for unit in set(chosen) - set(suggested))
    assert chosen == sample_tests(reversed(suggested), reversed(others), rate, seed)


def test_sampling_takes_the_share_it_says():
    others = [f"t.py::test_{n}" for n in range(4000)]
    assert 300 < len(sample_tests((), others, 0.1, 7)) < 500
    assert sample_tests((), others, 0.1, 7) != sample_tests((), others, 0.1, 8)
    assert not sample_tests((), others, 0.0, 7)
    assert len(sample_tests((), others, 1.0, 7)) == 4000


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(rate):
    with pytest.raises(ValueError, match="rate"):
        sample_tests((), (), rate, 0)
