"""Evidence about today's code whose coverage is older, as it is between two runs with coverage."""

from __future__ import annotations

from foretest.changes.git import Repository
from foretest.evidence.collect import build_store
from foretest.evidence.store import EvidenceStore


def with_older_coverage(repo: Repository, now: EvidenceStore, past: EvidenceStore) -> EvidenceStore:
    """The evidence at `now.commit` with the coverage of `past`; tests that came since have none."""
    pairs = zip(now.tests, now.seconds.tolist(), strict=True)
    known = {test: seconds for test, seconds in pairs if seconds == seconds}
    return build_store(repo, now.commit, collected=now.tests, durations=known, previous=past)
