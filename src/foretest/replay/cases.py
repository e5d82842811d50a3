"""Cases of the lab as trials: their facts become the query that a change would ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from foretest.features.query import FileFacts, query_of_facts
from foretest.lab.labels import Case
from foretest.records import Source
from foretest.replay.judge import Trial


def trials_of(cases: Iterable[Case]) -> Iterator[Trial]:
    """What judging needs of each case.

    A case of which only a sample of the suite ran is set apart: evidence chose what certainly ran,
    so that failures which evidence foresees would be over-represented among those known.
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
            time=float(case.author_time),
            query=query_of_facts(files, case.removed, case.added),
            failed=frozenset(case.failed),
            modified=frozenset(case.modified_tests),
            added=frozenset(case.added_tests),
            broken=broken or ("sampled" if case.ran is not None else ""),
            title=_title(case),
        )


def _title(case: Case) -> str:
    if case.source is Source.FAULT:
        return "fault: " + ", ".join(case.edits)
    part = "" if case.hunk is None else f", hunk {case.hunk + 1}"
    return f"{(case.undone_commit or case.commit)[:10]}{part}"
