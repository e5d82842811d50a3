"""Pairs to finish with: changes of the corpus that were taken back, and the tests that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foretest.changes.git import Repository
from foretest.durable import writing
from foretest.errors import BadStore, NothingToReplay
from foretest.lab.labels import Case
from foretest.lab.undo import undo_candidates
from foretest.platform.corpus.facts import FRESH, read_evidence, read_facts
from foretest.platform.encoder.cochanges import Ragged, one_of, origin_of
from foretest.platform.encoder.config import training_names
from foretest.platform.encoder.hunks import HunkText, hunk_texts, test_texts
from foretest.platform.encoder.pairs import PairBatch, batch_of, draws
from foretest.platform.encoder.tokenizer import CodeTokenizer, Tokens
from foretest.platform.tracking.lineage import digest_of

MOST_HUNKS = 16
"""Of one change; what a larger one is about shows in these."""
BYSTANDERS = 0.5
"""Tests of the suite beside those that failed, as a share of a batch's size."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Suite:
    """One repository's tests and faulty changes as tokens, and which tests each change fails."""

    name: str
    cases: tuple[str, ...]
    """Names of the changes, by row."""
    hunks: Ragged
    hunk_cases: NDArray[np.int64]
    """int64[hunks]: the row of the change that a hunk belongs to, ascending."""
    tests: Ragged
    """In the order of the evidence's tests."""
    failed: Mask
    """bool[cases, tests]"""

    def write(self, path: Path, origin: str = "") -> None:
        with writing(path) as part:
            np.savez_compressed(
                part,
                origin=np.array(origin),
                cases=np.array(self.cases, np.str_),
                hunks=self.hunks.tokens,
                hunk_starts=self.hunks.starts,
                hunk_cases=self.hunk_cases,
                tests=self.tests.tokens,
                test_starts=self.tests.starts,
                failed=self.failed,
            )

    @classmethod
    def read(cls, path: Path) -> Suite:
        with np.load(path, allow_pickle=False) as kept:
            return cls(
                path.stem,
                tuple(map(str, kept["cases"])),
                Ragged(kept["hunks"], kept["hunk_starts"]),
                kept["hunk_cases"],
                Ragged(kept["tests"], kept["test_starts"]),
                kept["failed"],
            )


def texts_of(repo: Repository, at: str, cases: Sequence[Case]) -> dict[str, list[HunkText]]:
    """The hunks of each case as they would look in a diff that takes the change back.

    Facts keep no text: it is read again from the history, by the commit and hunk that were undone.
    A case that the history no longer gives has none.
    """
    commits = {case.undone_commit for case in cases if case.undone_commit}
    wanted = {case.case_id for case in cases}
    return {
        candidate.case_id: [hunk.turned() for hunk in hunk_texts(candidate.patch)]
        for candidate in undo_candidates(repo, at, only=commits)
        if candidate.case_id in wanted
    }


def suite_of(
    repo: Repository, facts: Path, name: str, tokenizer: CodeTokenizer, context: int
) -> Suite:
    """Read a repository's facts, and the text of their changes and tests from its clone.

    Raises BadStore where there is no evidence to the facts.
    """
    evidence = read_evidence(facts, name, FRESH)
    if evidence is None:
        raise BadStore(f"There is no evidence of {name}.", "Mine it: foretest platform corpus.")
    store, _ = evidence
    at = repo.resolve(store.commit)
    cases = [c for c in read_facts(facts, name) if c.faulty and c.commit == store.commit]
    texts = texts_of(repo, at, cases)
    kept = [case for case in cases if texts.get(case.case_id)]
    hunks = [texts[case.case_id][:MOST_HUNKS] for case in kept]
    failed = np.zeros((len(kept), len(store.tests)), dtype=bool)
    for row, case in enumerate(kept):
        places = [store.test_index[unit] for unit in case.failed if unit in store.test_index]
        failed[row, places] = True
    return Suite(
        name,
        tuple(case.case_id for case in kept),
        Ragged.of(tokenizer.changes([hunk for each in hunks for hunk in each], context)),
        np.repeat(np.arange(len(kept)), [len(each) for each in hunks]),
        Ragged.of(tokenizer.tests(test_texts(repo, at, store.tests), context)),
        failed,
    )


def prepare_suites(
    clones: Path,
    facts: Path,
    names: Sequence[str],
    out: Path,
    tokenizer: CodeTokenizer,
    context: int,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write `undone/NAME.npz` for each repository with facts and a clone, held out or not.

    What was made already of the same facts is not made again.
    """
    for name in names:
        path = out / "undone" / f"{name}.npz"
        origin = f"{tokenizer.digest} {context} {digest_of(facts, f'{name}.*')}"
        if origin_of(path) == origin or not (clones / name / "repo").exists():
            continue
        suite = suite_of(Repository.open(clones / name / "repo"), facts, name, tokenizer, context)
        suite.write(path, origin)
        sizes = f"{len(suite.cases)} changes, {len(suite.hunks)} hunks, {len(suite.tests)} tests"
        progress(f"{name}: {sizes}")


class UndonePairs:
    """A source of batches, each of one repository: what a change failed, among what it did not.

    Repositories are drawn by the root of their changes. Of each change a hunk and a failing test
    are drawn; tests of the suite come along that, as likely as not, none of them fails.
    """

    def __init__(self, suites: Sequence[Suite]) -> None:
        self._suites = [suite for suite in suites if suite.failed.any(1).sum() > 1]
        if not self._suites:
            raise NothingToReplay("There are no changes to train on.", "Make: encoder pairs.")
        roots = np.sqrt([len(suite.cases) for suite in self._suites])
        self._odds = roots / roots.sum()

    @classmethod
    def read(cls, folder: Path) -> UndonePairs:
        """All files of a folder that the encoder may learn."""
        names = training_names(sorted(path.stem for path in folder.glob("*.npz")))
        return cls([Suite.read(folder / f"{name}.npz") for name in names])

    @property
    def cases(self) -> int:
        return sum(len(suite.cases) for suite in self._suites)

    def sequences(self, count: int) -> list[Tokens]:
        """Hunks and tests, alike many, drawn evenly from all repositories."""
        found: list[Tokens] = []
        for suite in self._suites:
            for side in (suite.hunks, suite.tests):
                most = count // (2 * len(self._suites))
                step = max(len(side) // max(most, 1), 1)
                found.extend(side[place] for place in range(0, len(side), step)[:most])
        return found

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[PairBatch]:
        for random in draws(seed, start):
            suite = self._suites[random.choice(len(self._suites), p=self._odds)]
            faulty = np.flatnonzero(suite.failed.any(1))
            cases = random.choice(faulty, size, replace=len(faulty) < size)
            hunks = [one_of(random, suite.hunk_cases, case) for case in cases]
            broken = [random.choice(np.flatnonzero(suite.failed[case])) for case in cases]
            others = random.integers(0, len(suite.tests), int(BYSTANDERS * size))
            tests = np.concatenate((broken, others))
            yield batch_of(
                [suite.hunks[h] for h in hunks],
                [suite.tests[t] for t in tests],
                suite.failed[np.ix_(cases, tests)],
            )
