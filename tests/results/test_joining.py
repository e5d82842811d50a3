"""Many tests of one name: found as if they were looked at one by one, and at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.results import joining
from foretest.results.joining import Units

PARTS = st.sampled_from(["a", "b", "test_x", "T"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: f"{'/'.join(parts)}.py::t")
SAID = st.lists(PARTS, max_size=4).map(".".join)


@given(
    st.sets(PATHS, min_size=2, max_size=30),
    SAID,
    st.sampled_from(["", "a.py", "a/b.py", "b/test_x.py"]),
)
def test_the_index_changes_nothing(paths: set[str], said: str, file: str) -> None:
    found = []
    for few in (0, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(joining, "_FEW", few)
            found.append(Units(paths).find(said, "t", file))
    assert found[0] == found[1]


def test_thousands_of_one_name_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    ends = joining._one_ends_other
    monkeypatch.setattr(joining, "_one_ends_other", lambda p, s: compared.append(p) or ends(p, s))
    units = Units(f"src/pkg/m{number}/test_x.py::test_run" for number in range(2000))
    for number in range(2000):
        found = units.find(f"m{number}.test_x", "test_run", "")
        assert found == f"src/pkg/m{number}/test_x.py::test_run"
    assert len(compared) < 10 * 2000
