"""Meta's published recipe of predictive test selection, in our own words.

After Machalica, Samylkin, Porth and Chandra, "Predictive Test Selection", ICSE-SEIP 2019 (arXiv
1810.05286). As there: of the change, how often its files changed of late, how many files and
targets it reaches and which types of files it holds; of the target, its failure rates over 7, 14,
28 and 56 days and its number of tests; of both, the least distance in the dependency graph and the
words that their paths have in common; gradient boosted trees.

What differs: the trees are LightGBM's, not XGBoost's; a target is a test function, so that "number
of tests" is that of its file; the dependency graph is that of static imports. Left out: distinct
authors (not among the facts of a case) and the project's name (constant in a repository, unknown in
another). Changes that were taken back lie weeks apart, so that the short windows are mostly empty.
"""

from __future__ import annotations

import re

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.features.build import DAY
from foretest.features.paths import files_of
from foretest.features.query import Query
from foretest.replay.published.ledger import Counts, Ledger, Touched
from foretest.replay.published.links import strongest

CHANGED_DAYS = (3, 14, 56)
FAILED_DAYS = (7, 14, 28, 56)
NAMES = (
    *(f"changed_{days}d" for days in CHANGED_DAYS),
    "files",
    "targets",
    "types",
    "python_share",
    *(f"failure_rate_{days}d" for days in FAILED_DAYS),
    "tests_in_file",
    "least_distance",
    "common_tokens",
)


def describe(query: Query, store: EvidenceStore, known: Ledger, now: float) -> Counts:
    """One row a test (float64[n_tests, len(NAMES)]); NaN = unknown."""
    mine, n = Touched.of(query), len(store.tests)
    distance = _distance(store, mine.files)
    python = sum(file.endswith(".py") for file in mine.files) / max(len(mine.files), 1)
    change = [
        *(_changed(known.since(now - days * DAY), mine) for days in CHANGED_DAYS),
        float(len(mine.files)),
        float((~np.isnan(distance)).sum()),
        float(len(mine.types)),
        python,
    ]
    files, of_test = files_of(store.tests)
    columns = [np.full(n, value) for value in change]
    columns += [_rate(known.since(now - days * DAY), n) for days in FAILED_DAYS]
    columns.append(np.bincount(of_test, minlength=len(files))[of_test].astype(np.float64))
    columns += [distance, _tokens(files, mine.files)[of_test]]
    return np.column_stack(columns)


def _changed(recent: Ledger, mine: Touched) -> float:
    """How many recent changes touched one of the files."""
    return float(sum(bool(t.files & mine.files) for t in recent.touched))


def _rate(recent: Ledger, tests: int) -> Counts:
    if not recent.touched:
        return np.full(tests, np.nan)
    return recent.failures / len(recent.touched)


def _distance(store: EvidenceStore, files: frozenset[str]) -> Counts:
    """Least number of import steps from each test to one of the files; NaN where there is none."""
    nearest = strongest(store.imports, store, files)
    with np.errstate(divide="ignore"):
        return np.where(nearest > 0, 1 / nearest, np.nan)


def _tokens(tests: list[str], changed: frozenset[str]) -> Counts:
    """Most words that each test file's path shares with one changed path."""
    bags = [_words(path) for path in changed]
    return np.array(
        [max((len(_words(test) & bag) for bag in bags), default=0) for test in tests], np.float64
    )


def _words(path: str) -> frozenset[str]:
    return frozenset(re.split(r"[\W_]+", path.lower())) - {""}
