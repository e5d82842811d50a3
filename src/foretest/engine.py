"""READ FIRST. The main flow: a change comes in, the tests that will fail go out.

`select_or_all` is the one place that fails open: whatever breaks in choosing, everything runs and
the reason is said. `record` takes results in. How the evidence is first gathered is in
`learning.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from foretest import bundle as bundles
from foretest import decisions
from foretest.bundle import Bundle
from foretest.changes.diff import read_change
from foretest.changes.git import Repository
from foretest.changes.layout import is_test_module
from foretest.changes.symbols import is_source, outline
from foretest.config import Config, load_config
from foretest.errors import ForetestError
from foretest.evidence.collect import stale_tests
from foretest.evidence.store import EvidenceStore
from foretest.features.build import build
from foretest.features.query import Query, query_of, unit_of
from foretest.models.formula import Formula
from foretest.records import Budget, Change, Choice, Selection, Why
from foretest.selection.compose import select as compose
from foretest.selection.everything import everything
from foretest.selection.explanation import Explainer
from foretest.selection.policy import Freshness, Rules
from foretest.selection.shards import Bin, shard

REMEMBERED = 2000
"""Commits back to which the age of evidence is counted; beyond, it is unknown and old."""


def select_or_all(
    start: Path,
    *,
    base: str | None = None,
    head: str | None = None,
    budget: Budget | None = None,
    bin: tuple[int, int] | None = None,
) -> Selection:
    """The selection for a change, or everything with the reason. Never raises for a broken set-up.

    `start` lies in the repository; `head` None is the working tree. The decision is kept under
    `.foretest/decisions` where that can be written.
    """
    decision_id = decisions.new_id()
    try:
        repo = Repository.open(start)
        config = load_config(repo.root)
        selection = select(repo, config, decision_id, base=base, head=head, budget=budget)
        if bin is not None:
            selection = only_shard(selection, Bin(*bin))
        return _kept(config, selection)
    except ForetestError as error:
        return everything(decision_id, f"All tests run: {error}")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return everything(decision_id, f"All tests run: selecting broke unexpectedly ({reason}).")


def select(
    repo: Repository,
    config: Config,
    decision_id: str,
    *,
    base: str | None = None,
    head: str | None = None,
    budget: Budget | None = None,
) -> Selection:
    """diff -> Change -> evidence -> features as of now -> scores -> rules, budget -> Selection."""
    bundle = read_bundle(config)
    change = change_of(repo, base, head)
    if budget is None or budget == Budget():
        budget = Budget(share=config.target)
    return compose(
        query_of(change),
        bundle.store,
        bundle.model,
        Rules.of(config),
        budget,
        time.time(),
        decision_id,
        base=change.base,
        head=change.head,
        units=units_now(repo, bundle.store, change.head),
        freshness=freshness(repo, bundle.store, change.head),
        bundle=bundle.digest,
    )


def change_of(repo: Repository, base: str | None, head: str | None) -> Change:
    """What happened since the branch began: from the merge base of `base` and `head` to `head`."""
    newest = repo.resolve(head) if head is not None else repo.head()
    start = repo.merge_base(repo.resolve(base), newest) if base is not None else repo.default_base()
    return read_change(repo, start, None if head is None else newest)


def units_now(repo: Repository, store: EvidenceStore, head: str | None) -> tuple[str, ...] | None:
    """The tests that exist now: those of the store, corrected by the test files changed since.

    None where the store's commit is not at hand, so that nothing can be told.
    """
    try:
        since = repo.diff_paths(store.commit, head)
    except ForetestError:
        return None
    moved = {path for path in since if is_test_module(path)}
    if not moved:
        return None
    sources = repo.read_many(head, [path for path in sorted(moved) if is_source(path)])
    outlines = {path: outline(path, source) for path, source in sources.items()}
    found = {
        unit
        for each in outlines.values()
        for span in each.symbols
        if (unit := unit_of(span.symbol)) is not None
    }
    # A test that a class inherits has no body in its file: only a vanished file lets it go.
    bodies = {str(test): bool(digest) for test, digest in _digests(store, moved)}
    kept = [
        test
        for test in store.tests
        if (file := test.partition("::")[0]) not in moved
        or test in found
        or (file in outlines and not bodies[test])
    ]
    return (*kept, *sorted(found.difference(kept)))


def freshness(repo: Repository, store: EvidenceStore, head: str | None) -> Freshness:
    """How many commits lie between the evidence and the state to be judged."""
    past = repo.ancestors(head or repo.head(), REMEMBERED)
    place = {commit: float(age) for age, commit in enumerate(past)}
    # Beyond what was walked through, the age is at least this; on another branch it is unknown.
    beyond = math.inf if len(past) == REMEMBERED else math.nan
    ages = tuple(place.get(commit, beyond) for commit in store.coverage_commits)
    age = place.get(store.commit, beyond)
    return Freshness(ages, age, is_ancestor=not math.isnan(age))


def staleness(repo: Repository, commit: str) -> int | None:
    """Commits between `commit` and HEAD; None where it is not in HEAD's past."""
    return repo.distance(commit, repo.head())


def only_shard(selection: Selection, wanted: Bin) -> Selection:
    """This shard's part of a selection; what other shards run is left out here and says so."""
    if not selection.chosen:
        return selection
    seconds = {choice.test: choice.seconds for choice in selection.chosen}
    mine = frozenset(shard([c.test for c in selection.chosen], seconds, wanted))
    others = [
        replace(c, why=Why.OTHER_SHARD, reason=f"another of the {wanted.total} shards runs it")
        for c in selection.chosen
        if c.test not in mine
    ]
    return replace(
        selection,
        chosen=tuple(c for c in selection.chosen if c.test in mine),
        rest=(*others, *selection.rest),
        run_all=False,
    )


def explain(
    config: Config, test: str | None, *, base: str | None = None, limit: int = 20
) -> list[str]:
    """Sentences on why tests run for the last decision's change (or since `base`), or why not."""
    repo = Repository.open(config.root)
    bundle = read_bundle(config)
    if base is None:
        selection = decisions.load(config.state)
        base, head = selection.base, selection.head
    else:
        selection, head = select(repo, config, decisions.new_id(), base=base), None
    wanted = _matching(selection, test)
    if not wanted:
        return [f"No test matches '{test}'. `foretest explain` without a name lists them."]
    query = query_of(read_change(repo, repo.resolve(base), head))
    explainer = _explainer(repo, bundle, query, config, head)
    chosen = {choice.test: place for place, choice in enumerate(selection.chosen, 1)}
    lines: list[str] = []
    for choice in wanted[:limit]:
        place = chosen.get(choice.test)
        verdict = f"runs, place {place:,}" if place else "is left out"
        lines.append(f"{choice.test} {verdict}: {choice.reason or choice.why.value}.")
        row = bundle.store.test_index.get(choice.test)
        if row is not None:
            lines.extend(f"    {sentence}" for sentence in explainer.sentences(row))
    if len(wanted) > limit:
        lines.append(f"... and {len(wanted) - limit:,} more; --limit shows more of them.")
    return lines


def stale_units(start: Path, *, base: str | None = None) -> frozenset[str]:
    """Units whose coverage a run on this change takes again; empty where that cannot be told."""
    try:
        repo = Repository.open(start)
        store = read_bundle(load_config(repo.root)).store
        return stale_tests(store, change_of(repo, base, None))
    except ForetestError:
        return frozenset()


def read_bundle(config: Config) -> Bundle:
    """The bundle of a repository. Raises NoBundle, BadBundle, NewerBundle."""
    return bundles.read(config.bundle_path)


def _digests(store: EvidenceStore, files: set[str]) -> list[tuple[str, str]]:
    pairs = zip(store.tests, store.test_symbols_digest, strict=True)
    return [(test, digest) for test, digest in pairs if test.partition("::")[0] in files]


def _kept(config: Config, selection: Selection) -> Selection:
    """Keep the decision; a disk that refuses it costs the explanation, not the selection."""
    try:
        ensure_state(config)
        decisions.save(config.state, selection)
    except ForetestError as error:
        notice = f"The decision could not be kept, so `foretest explain` will not know it: {error}"
        return replace(selection, notices=(*selection.notices, notice))
    return selection


def ensure_state(config: Config) -> None:
    """Make `.foretest/`, which git ignores by a file of its own. Raises BadStore."""
    from foretest.durable import write_text

    marker = config.state / ".gitignore"
    if not marker.exists():
        write_text(marker, "*\n")


def _matching(selection: Selection, test: str | None) -> list[Choice]:
    everything_known: Sequence[Choice] = (*selection.chosen, *selection.rest)
    if test is None:
        return list(selection.chosen)
    exact = [choice for choice in everything_known if choice.test == test]
    return exact or [choice for choice in everything_known if test in choice.test]


def _explainer(
    repo: Repository, bundle: Bundle, query: Query, config: Config, head: str | None
) -> Explainer:
    fresh = freshness(repo, bundle.store, head)
    frame = build(
        query, bundle.store, time.time(), ages=fresh.ages, stale_after=config.max_coverage_age
    )
    parts = bundle.model.parts(frame) if isinstance(bundle.model, Formula) else None
    return Explainer(query, bundle.store, frame, parts)
