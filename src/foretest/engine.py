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
from foretest.comparing import base_by_ci, before_push, context_of
from foretest.config import Config, load_config, unread_settings
from foretest.errors import ForetestError, NoBundle
from foretest.evidence.collect import stale_tests
from foretest.evidence.store import EvidenceStore
from foretest.features.build import DAY, build
from foretest.features.query import Query, query_of
from foretest.models.contract import Model
from foretest.models.prioritiser import Prioritiser
from foretest.models.risk import pretrained, size_of
from foretest.recollection import SNAPSHOT, remembered
from foretest.records import Budget, Choice, Selection, Why
from foretest.results.report import here
from foretest.selection.adapting import adapted, risk_row
from foretest.selection.compose import select as compose
from foretest.selection.everything import everything
from foretest.selection.existing import units_now
from foretest.selection.explanation import Explainer
from foretest.selection.policy import Freshness, Rules
from foretest.selection.promise import aim_for, calibrations
from foretest.selection.promise_wording import explanation
from foretest.selection.shards import Bin, shard
from foretest.selection.shortfall import shortfall

REMEMBERED = 2000
"""Commits back to which the age of evidence is counted; beyond, it is unknown and old."""

MOVED_ON = (
    "The work tree has moved on since this decision: what follows are the reasons kept with it."
    " `foretest select` decides anew."
)


def select_or_all(
    start: Path,
    *,
    base: str | None = None,
    head: str | None = None,
    budget: Budget | None = None,
    bin: tuple[int, int] | None = None,
    confidence: float | None = None,
    adapt: bool | None = None,
) -> Selection:
    """The selection for a change, or everything with the reason. Never raises for a broken set-up.

    `start` lies in the repository; `head` None is the working tree; `confidence` (0..1) None is
    that of the settings, 0 asks for none; `adapt` None, too. The decision is kept under
    `.foretest/decisions` where that can be written.
    """
    decision_id = decisions.new_id()
    try:
        repo = Repository.open(start)
        config = load_config(repo.root)
        if adapt is not None:
            config = replace(config, adapt=adapt)
        selection = select(
            repo, config, decision_id, base=base, head=head, budget=budget, confidence=confidence
        )
        unread = [
            str(f.relative_to(repo.root.resolve())) for f in unread_settings(start, repo.root)
        ]
        if unread:
            notice = f"The settings of {', '.join(unread)} are not read, only those at the root."
            selection = replace(selection, notices=(*selection.notices, notice))
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
    confidence: float | None = None,
) -> Selection:
    """diff -> Change -> evidence -> features as of now -> scores -> rules, budget -> Selection.

    Where a confidence is asked for, it decides what runs: a budget can only cut that.
    """
    bundle = bundle_or_history(config)
    start, notice = base_of(repo, bundle.store, base, head)
    change = read_change(repo, start, None if head is None else repo.resolve(head))
    state = repo.state(change.head)
    level = config.confidence if confidence is None else confidence
    rules = Rules.of(config)
    aim = aim_for(level, bundle.thresholds, bundle.model, rules) if level else None
    if budget is None or budget == Budget():
        budget = Budget(share=config.target) if aim is None else Budget()
    query, fresh = query_of(change), freshness(repo, bundle.store, change.head)
    now, notices = tomorrow(time.time()), [notice] if notice else []
    if config.adapt and query.files and aim is None:
        # Beside a promise a budget stays as given: the level of one that follows the change is
        # not known.
        row = risk_row(query, size_of(change), bundle.store, now, ages=fresh.ages)
        budget, told = adapted(budget, pretrained(), row)
        notices.append(told)
    selection = compose(
        query,
        bundle.store,
        model_for(query, bundle),
        rules,
        budget,
        now,
        decision_id,
        base=change.base,
        head=change.head,
        units=units_now(repo, bundle.store, change.head),
        freshness=fresh,
        bundle=bundle.digest,
        state=state,
        # Shards choose each for itself: what decides the draw must be the same for all of them.
        seed=f"{change.base} {state} {bundle.digest} {budget.share} {budget.seconds} {level}",
        aim=aim,
    )
    return replace(selection, notices=(*selection.notices, *filter(None, notices)))


def model_for(query: Query, bundle: Bundle) -> Model:
    """The bundle's model; where nothing changed it has nothing to go by, but the past has."""
    return bundle.model if query.files else Prioritiser()


def base_of(
    repo: Repository, store: EvidenceStore, base: str | None, head: str | None
) -> tuple[str, str]:
    """The commit to compare with, and what is to be said of it.

    It is the merge base with `base`; else with what CI names as a request's base; else where the
    branch left the main line. On the main line it is the commit that the evidence describes, since
    all that came later is unproven, and where that says nothing the tip before CI's push, or the
    commit before.
    """
    newest = repo.resolve(head) if head is not None else repo.head()
    if base is not None:
        return repo.merge_base(repo.resolve(base), newest), ""
    context = context_of(repo, newest)
    named = base_by_ci(repo, context, newest) if context else None
    if named is not None:
        return named
    on_main_line = context is not None and context.on_default_branch
    fork = None if on_main_line else repo.fork_point(newest)
    if fork is not None:
        return fork, ""
    pushed = before_push(repo, context, newest)
    before = "the tip before this push" if pushed else "the commit before"
    if not repo.is_ancestor(store.commit, newest):
        parent = pushed or repo.default_base(newest)
        return parent, (
            f"Compared with {parent[:10]}, {before}, since the bundle's is not in this "
            "one's past. Give --base to judge more than the last commit."
        )
    if store.commit == newest and (head is not None or repo.state(None) == newest):
        parent = pushed or repo.default_base(newest)
        return parent, (
            f"Compared with {parent[:10]}, {before}: nothing changed since the bundle was made."
        )
    return store.commit, f"Compared with {store.commit[:10]}, the state of the bundle."


def tomorrow(now: float) -> float:
    """The end of the day (UTC): the same for shards that start one after the other."""
    return math.ceil(now / DAY) * DAY


def freshness(repo: Repository, store: EvidenceStore, head: str | None) -> Freshness:
    """How many commits lie between the evidence and the state to be judged."""
    past = repo.ancestors(head or repo.head(), REMEMBERED)
    place = {commit: float(age) for age, commit in enumerate(past)}
    # Coverage of a state that was not walked through counts as old: nothing vouches for it.
    ages = tuple(place.get(commit, math.inf) for commit in store.coverage_commits)
    if store.commit in place:
        return Freshness(ages, place[store.commit], is_ancestor=True)
    distance = repo.distance(store.commit, past[0])
    age = math.nan if distance is None else float(distance)
    return Freshness(ages, age, is_ancestor=repo.is_ancestor(store.commit, past[0]))


def staleness(repo: Repository, commit: str) -> int | None:
    """Commits between `commit` and HEAD; None where it is not in HEAD's past."""
    return repo.distance(commit, repo.head())


def only_shard(selection: Selection, wanted: Bin) -> Selection:
    """This shard's part of a selection; what other shards run is left out here and says so."""
    if not selection.chosen:
        return selection
    # The drawn ones go by their hash, so that they move no other test to another shard.
    seconds = {c.test: c.seconds for c in selection.chosen if c.why is not Why.EXPLORED}
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
    config: Config,
    test: str | None,
    *,
    base: str | None = None,
    confidence: float | None = None,
    limit: int = 20,
) -> list[str]:
    """Sentences on why tests run for the last decision's change, or why not.

    With another `base` or `confidence` (0..1; 0: none), on what would run then: all else stays as
    it was asked for in the last decision.
    """
    repo = Repository.open(config.root)
    bundle = bundle_or_history(config)
    if base is None and confidence is None:
        selection = decisions.load(config.state)
        head = selection.head
    else:
        selection, head = _decided_anew(repo, config, base, confidence)
    moved = repo.state(head) != selection.state
    wanted = _matching(selection, test)
    if not wanted:
        return [f"No test matches '{test}'. `foretest explain` without a name lists them."]
    explainer = None if moved else _explainer(repo, bundle, selection.base, config, head)
    chosen = {choice.test: place for place, choice in enumerate(selection.chosen, 1)}
    lines = [MOVED_ON] if moved else []
    for choice in wanted[:limit]:
        place = chosen.get(choice.test)
        verdict = f"runs, place {place:,}" if place else "is left out"
        lines.append(f"{choice.test} {verdict}: {choice.reason or choice.why.value}.")
        if explainer is not None:
            more = "" if place else _shortfall(selection, choice, bundle, config, explainer)
            told = _told(bundle.store.test_index.get(choice.test), choice, explainer, more)
            lines.extend(f"    {sentence}" for sentence in told)
    if len(wanted) > limit:
        lines.append(f"... and {len(wanted) - limit:,} more; --limit shows more of them.")
    return [*lines, *explanation(selection)]


def _decided_anew(
    repo: Repository, config: Config, base: str | None, confidence: float | None
) -> tuple[Selection, str | None]:
    """The last decision with another base or confidence, not kept; and the head that it judges."""
    last = decisions.last(config.state)
    if last is None:
        return select(repo, config, decisions.new_id(), base=base, confidence=confidence), None
    head = last.head if base is None else None
    budget: Budget | None = last.budget
    if confidence is None:
        # Nothing to go by where everything ran: then the settings say what is asked for.
        unsaid = None if last.budget == Budget() else 0.0
        confidence = last.promise.asked if last.promise else unsaid
    elif bool(confidence) != bool(last.promise):
        budget = None  # one that stood for no confidence, or beside one
    selection = select(
        repo,
        replace(config, adapt=False),  # the budget that is taken over was adapted already
        decisions.new_id(),
        base=base or last.base or None,
        head=head,
        budget=budget,
        confidence=confidence,
    )
    return selection, head


def _told(row: int | None, choice: Choice, explainer: Explainer, more: str) -> list[str]:
    """All evidence on a test, what would make it run, and last its score and what moved it."""
    if row is None:  # a new test: nothing is known of it
        return []
    told = [sentence for sentence in explainer.sentences(row) if sentence != choice.reason]
    return [*told, *filter(None, (more, explainer.moved(row)))]


def _shortfall(
    selection: Selection, choice: Choice, bundle: Bundle, config: Config, explainer: Explainer
) -> str:
    if not explainer.query.files:  # where nothing changed no score decided
        return ""
    if selection.promise is None:
        return shortfall(selection, choice, config.explore)
    known = calibrations(bundle.thresholds, bundle.model, Rules.of(config))
    return shortfall(selection, choice, config.explore, known)


def stale_units(start: Path, *, base: str | None = None) -> frozenset[str]:
    """Units whose coverage a run on this change takes again; empty where that cannot be told."""
    try:
        repo = Repository.open(start)
        store = read_bundle(load_config(repo.root)).store
        return stale_tests(store, read_change(repo, base_of(repo, store, base, None)[0], None))
    except ForetestError:
        return frozenset()


def read_bundle(config: Config) -> Bundle:
    """The bundle of a repository. Raises NoBundle, BadBundle, NewerBundle."""
    return bundles.read(config.bundle_path)


def bundle_or_history(config: Config) -> Bundle:
    """The bundle; where there is none, what the recorded runs alone make of one.

    Raises NoBundle where there is neither, BadBundle, NewerBundle.
    """
    try:
        return read_bundle(config)
    except NoBundle:
        if not (config.state / SNAPSHOT).exists():
            raise
        return remembered(config.state, replace(here(), flags=config.flags).key)


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
    repo: Repository, bundle: Bundle, base: str, config: Config, head: str | None
) -> Explainer:
    query = query_of(read_change(repo, repo.resolve(base), head))
    fresh = freshness(repo, bundle.store, head)
    frame = build(
        query,
        bundle.store,
        tomorrow(time.time()),
        ages=fresh.ages,
        stale_after=config.max_coverage_age,
    )
    return Explainer(query, bundle.store, frame, model_for(query, bundle))
