"""How strongly tests are linked to some files: by imports, by changes in common."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore
from foretest.features.build import entries
from foretest.replay.published.ledger import Counts


def strongest(rows: SparseRows, store: EvidenceStore, files: Iterable[str]) -> Counts:
    """Greatest weight of each test (rows: tests x files) with one of the files; 0 without any."""
    marked = np.zeros(len(store.files), bool)
    marked[[store.file_index[f] for f in files if f in store.file_index]] = True
    greatest = np.zeros(len(store.tests))
    tests, _ = entries(rows, marked)
    if rows.weights is not None and len(tests):
        np.maximum.at(greatest, tests, rows.weights[marked[rows.indices]])
    return greatest
