"""The pytest plugin that reads a peer's answer: what is left of the suite, and in which order.

It runs inside the peer's environment, under another name and without the rest of foretest: it
imports the standard library and pytest alone, and `recorder.py`, which is put beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

MARKER = "--foretest-answer"
_COLLECTED = pytest.StashKey[list[str]]()
"""Ids before the peer left any out: of how many parameters it chose some."""


def pytest_addoption(parser: Any) -> None:
    parser.addoption(MARKER, metavar="PATH", help="Write the ids of the tests that would run.")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(args: list[str]) -> None:
    """Drop what the project's own settings ask for and no measured run can have, as the lab does.

    All that stands before the marker comes from the project; what follows is the peer's.
    """
    import foretest_recorder  # type: ignore[import-not-found]

    count = next(at for at, arg in enumerate(args) if arg.startswith(f"{MARKER}="))
    args[:count] = foretest_recorder.without_dropped(args[:count])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    config.stash[_COLLECTED] = [item.nodeid for item in items]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: Any) -> None:
    ids = [item.nodeid for item in session.items]
    answer = {"ids": ids, "collected": session.config.stash.get(_COLLECTED, ids)}
    Path(session.config.getoption(MARKER)).write_text(json.dumps(answer), encoding="utf-8")
