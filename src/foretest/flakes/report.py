"""The repository's flaky tests, put together: lake, coverage of changes, ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from foretest.changes.diff import read_change
from foretest.changes.git import Repository, repository_key
from foretest.config import Config
from foretest.engine import read_bundle
from foretest.errors import ForetestError
from foretest.evidence.store import EvidenceStore
from foretest.features.build import entries, seen_symbols
from foretest.features.query import query_of
from foretest.flakes.history import read_history
from foretest.flakes.quarantine import read, today
from foretest.flakes.ranking import INTERRUPTION, FlakyTest, rank
from foretest.history.lake import Lake
from foretest.models.flaky import FlakyModel

COMMITS = 200
"""Commits with failures whose change is compared with coverage; git is asked once for each."""


def flaky_tests(
    config: Config, interruption: float = INTERRUPTION, model: FlakyModel | None = None
) -> list[FlakyTest]:
    """The flaky tests of the repository at `config.root`, the most costly first.

    Empty where nothing was recorded. Raises BadStore for a lake that cannot be read.
    """
    repo = Repository.open(config.root)
    rows = Lake(config.state / "lake").scan(repository_key(config, repo))
    history = read_history(rows, _coverage(repo, config), model)
    if history is None:
        return []
    entries_now = read(config.state, config.quarantine)
    return rank(history, interruption, entries_now, today())


def _coverage(repo: Repository, config: Config) -> Callable[[str], Mapping[str, bool] | None]:
    """Which units enter what a commit changed, by the bundle's coverage: a guess for old ones."""
    try:
        store: EvidenceStore | None = read_bundle(config).store
    except ForetestError:
        store = None
    asked = 0

    def covered(commit: str) -> Mapping[str, bool] | None:
        nonlocal asked
        if store is None or asked >= COMMITS:
            return None
        asked += 1
        try:
            change = read_change(repo, repo.resolve(f"{commit}^"), repo.resolve(commit))
        except ForetestError:  # rewritten, or the first of all
            return None
        wanted = np.zeros(len(store.symbols), np.bool_)
        wanted[seen_symbols(query_of(change), store)] = True
        if not wanted.any():
            return None
        entered = np.zeros(len(store.tests), np.bool_)
        entered[entries(store.coverage, wanted)[0]] = True
        known = store.has_coverage
        return {u: bool(entered[i]) for i, u in enumerate(store.tests) if known[i]}

    return covered
