"""Words of code, of strings and of changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.changes.words import change_words, words
from foretest.records import Change, FileChange, FileStatus, Hunk


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("x = a + 1", []),
        ("readChange", ["readchange", "read", "change"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("snake_case", ["snake_case", "snake", "case"]),
        ("__init__", ["__init__", "init"]),
        ("UPPER", ["upper"]),
        ("utf8 x12 2024 7", ["utf8", "utf", "x12", "12", "2024"]),
        ("def f(self): return None", ["self"]),
        ('raise ValueError("bad value")', ["valueerror", "value", "error", "bad", "value"]),
        ("über_Straße", ["über_straße", "über", "straße"]),
        ("is_valid", ["is_valid", "valid"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text())
def test_words_are_lower_case_and_long_enough(text: str) -> None:
    assert all(len(word) > 1 for word in words(text))
    assert words(f"{text}\nnext_line") == words(text) + words("next_line")


def test_change_words_keep_sides_and_paths_apart() -> None:
    hunk = Hunk(1, 1, 1, 2, ("old_name = 1",), ("newName", "newName"))
    files = (
        FileChange("src/tax_rate.py", FileStatus.RENAMED, "src/vat.py", hunks=(hunk, hunk)),
        FileChange("logo.png", FileStatus.ADDED, binary=True),
    )
    found = change_words(Change("r", "a", "b", files))
    assert found.removed == {"old_name": 2, "old": 2, "name": 2}
    assert found.added == {"newname": 4, "new": 4, "name": 4}
    assert found.paths == {"src": 2, "tax_rate": 1, "tax": 1, "rate": 1, "vat": 1, "logo": 1}
    assert found.lines["name"] == 6
