"""mozilla bugbug's published features of test selection, in our own words.

The original (github.com/mozilla/bugbug, model "testselect") learns which test groups a push breaks.
As there: failures of the test in all, and in the last pushes; the same among pushes that touched
the same types of files, files and directories; how often the test was touched together with the
changed files and directories; distances between the paths of test and change; gradient boosted
trees on a sample of the passing tests.

What differs: the trees are LightGBM's, not XGBoost's; a unit is a test function, not a manifest of
many; windows of 700, 1400 and 2800 pushes are 25, 50 and 100 changes, since a repository has some
hundred changes here and not a hundred thousand. Left out, since the data hold nothing of the kind:
platform, chunk, architecture, and Mozilla's mapping of files to components. "Touched together" is
the evidence's own count of co-changes, over the whole history.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from foretest.evidence.store import EvidenceStore
from foretest.features.paths import files_of
from foretest.features.query import Query
from foretest.replay.published.ledger import Counts, Ledger, Touched
from foretest.replay.published.links import strongest

WINDOWS = (25, 50, 100)
"""Numbers of changes looked back on."""

_SPANS = ("in_all", *(f"last_{n}" for n in WINDOWS))
NAMES = (
    *(f"failures_{span}" for span in _SPANS),
    *(f"failures_in_types_{span}" for span in _SPANS),
    *(f"failures_in_files_{span}" for span in _SPANS),
    "failures_in_directories_in_all",
    "together_files",
    "together_directories",
    "path_distance",
    "common_components",
    "common_parent",
)


def describe(query: Query, store: EvidenceStore, known: Ledger, now: float) -> Counts:
    """One row a test (float64[n_tests, len(NAMES)]); NaN = unknown. `now` is not looked at."""
    del now
    mine = Touched.of(query)
    spans = [known, *(known.latest(n) for n in WINDOWS)]
    columns = [span.failures for span in spans]
    columns += [s.sharing(bool(t.types & mine.types) for t in s.touched) for s in spans]
    columns += [s.sharing(bool(t.files & mine.files) for t in s.touched) for s in spans]
    columns.append(known.sharing(bool(t.directories & mine.directories) for t in known.touched))
    beside = _within(store, mine.directories)
    columns += [strongest(store.cochange, store, files) for files in (mine.files, beside)]
    columns += _paths(store, mine.files)
    return np.column_stack(columns)


def _within(store: EvidenceStore, directories: frozenset[str]) -> frozenset[str]:
    return frozenset(f for f in store.files if str(PurePosixPath(f).parent) in directories)


def _paths(store: EvidenceStore, changed: frozenset[str]) -> list[Counts]:
    """Least distance of folders, most parts in common, least depth of the last common folder."""
    files, of_test = files_of(store.tests)
    table = np.full((len(files), 3), np.nan)
    others = [PurePosixPath(path).parts for path in sorted(changed)]
    for at, file in enumerate(files if others else ()):
        parts = PurePosixPath(file).parts
        shared = [_shared(parts[:-1], other[:-1]) for other in others]
        pairs = zip(others, shared, strict=True)
        table[at, 0] = min(len(parts) + len(other) - 2 - 2 * same for other, same in pairs)
        table[at, 1] = max(len({*parts} & {*other}) for other in others)
        table[at, 2] = min((same for same in shared if same), default=np.nan)
    return list(table[of_test].T)


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many folders two paths have in common from the root on."""
    same = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        same += 1
    return same
