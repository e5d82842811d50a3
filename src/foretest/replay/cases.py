"""Cases of the lab as trials: their facts become the query that a change would ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import nan

from foretest.features.query import FileFacts, query_of_facts
from foretest.lab.labels import Case
from foretest.records import Source
from foretest.replay.judge import ELSEWHERE, FAULTS, SAMPLED, Trial


def trials_of(cases: Iterable[Case], at: str) -> Iterator[Trial]:
    """What judging needs of each case, with evidence about the code of commit `at`.

    Cases that were tried at another commit, where other tests failed by other code, and injected
    faults, which nobody ever wrote, stand beside the past changes: in slices of their own.

    A case of which only a sample of the suite ran is set apart: evidence chose what certainly ran,
    so that failures which evidence foresees would be over-represented among those known. Of a slow
    suite the judge has the cases that were drawn to run in full; training weighs the others.
    """
    for case in cases:
        files = (
            FileFacts(f.path, f.status, f.old_path, f.binary, f.touched, f.names_set)
            for f in case.files
        )
        broken = case.broken or ("none-failed" if not case.failed else "")
        yield Trial(
            case_id=case.case_id,
            repository=case.repository,
            commit=case.undone_commit or case.case_id,
            time=float(case.author_time) if case.author_time else nan,
            query=query_of_facts(files, case.removed, case.added),
            failed=frozenset(case.failed),
            modified=frozenset(case.modified_tests),
            added=frozenset(case.added_tests),
            broken=broken or (SAMPLED if case.ran is not None else ""),
            title=_title(case),
            beside=_beside(case, at),
            ran=case.ran,
        )


def _beside(case: Case, at: str) -> str:
    if case.commit != at:
        return ELSEWHERE
    # Without a time a change has no place among the others.
    return FAULTS if case.source is Source.FAULT or not case.author_time else ""


def _title(case: Case) -> str:
    if case.source is Source.FAULT:
        return "fault: " + ", ".join(case.edits)
    part = "" if case.hunk is None else f", hunk {case.hunk + 1}"
    return f"{(case.undone_commit or case.commit)[:10]}{part}"
