"""Selected tests and results held against each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.results.joinrate import join_rate

UNITS = st.builds(
    "{}.py::{}".format, st.sampled_from("abc"), st.sampled_from(["t", "T::t", "T::u"])
)


@given(st.sets(UNITS, min_size=1), st.sets(UNITS))
def test_the_rate_counts_units_that_stand_on_both_sides(selected: set[str], seen: set[str]) -> None:
    rate = join_rate(selected, seen)
    assert rate is not None
    assert (rate.selected, rate.returned) == (len(selected), len(selected & seen))
    assert set(rate.missing) <= selected - seen
    assert set(rate.strange) <= seen - selected
    assert bool(rate.cause) == bool(rate.missing) == (rate.share < 1)


def test_nothing_selected_has_no_rate() -> None:
    assert join_rate([], ["a.py::t"]) is None


def test_files_come_back_with_their_tests_and_tests_with_their_files_error() -> None:
    rate = join_rate(["a.py", "b.py::T", "c.py::t"], ["a.py::t", "b.py::T::x", "c.py"])
    assert rate is not None
    assert rate.share == 1
    assert rate.cause == ""


@pytest.mark.parametrize(
    ("selected", "seen", "complete", "cause"),
    [
        (["p/a.py::t", "p/b.py::u"], ["a.py::t", "b.py::u"], True, "another folder"),
        (["p/a.py::t"], ["p\\a.py::t"], True, "slashes"),
        (["p/a.py::t", "p/b.py::t"], ["a.py::t", "b.py::t"], True, "another folder"),
        (["p/a.py::T::t"], ["other.A::t"], True, "differently"),
        (["a.py::t"], ["x.py::z"], True, "another run"),
        (["a.py::t", "a.py::u"], ["a.py::u"], True, "left selected tests out"),
        (["a.py::t"], [], True, "no result at all"),
        (["a.py::t"], ["a.py::u"], False, "cut short"),
    ],
)
def test_the_likely_cause(selected: list[str], seen: list[str], complete: bool, cause: str) -> None:
    rate = join_rate(selected, seen, complete)
    assert rate is not None
    assert cause in rate.cause


def test_the_account_shows_both_sides() -> None:
    rate = join_rate(["p/a.py::t", "p/b.py::u"], ["a.py::t"])
    assert rate is not None
    assert rate.account() == (
        "0 of 2 selected tests came back (0%); selected, but without a result: p/a.py::t, "
        "p/b.py::u; in the report, but not selected: a.py::t."
    )
