"""From a change and a model to a Selection: the rules, the scores, the budget, the reasons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from foretest.evidence.store import EvidenceStore
from foretest.features.build import build
from foretest.features.query import Query
from foretest.models.contract import Model, Scores, predict
from foretest.models.pretrained import likelihood
from foretest.records import Budget, Choice, Promise, Selection, Why
from foretest.selection.budget import BALANCED, Allocation, Strategy, choose, limit_seconds
from foretest.selection.explanation import UNLINKED, Explainer
from foretest.selection.policy import Freshness, Rules, Verdict, apply_rules
from foretest.selection.promise import Aim, decisive

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

EXPLAINED = frozenset({"coverage_age", "days_since_failure"})
"""Features that only explanations read."""
OVER_BUDGET = "its evidence is weaker than that of the tests which fill the budget"
BELOW = "its score is below {:.3g}, from which on tests run for the promise"
EXPLORED = "drawn at random, to see what evidence misses"
NO_PROMISE = "the level asked for cannot be promised with less"


def select(
    query: Query,
    store: EvidenceStore,
    model: Model,
    rules: Rules,
    budget: Budget,
    now: float,
    decision_id: str,
    *,
    base: str = "",
    head: str | None = None,
    units: Sequence[str] | None = None,
    freshness: Freshness | None = None,
    strategy: Strategy = BALANCED,
    bundle: str = "",
    state: str = "",
    seed: str = "",
    aim: Aim | None = None,
) -> Selection:
    """Decide what runs. Pure: the same arguments give the same Selection, draw included.

    `now` is in seconds since 1970; `units` are the tests that exist now, where they are known.
    `seed` decides the draw, where it is to be another than the decision's name. With an `aim` its
    threshold decides the set, and the budget can only cut it.
    """
    fresh = freshness or Freshness()
    verdict = apply_rules(query, store, rules, now, units=units, freshness=fresh)
    wanted = EXPLAINED.union(model.inputs)
    frame = build(
        query, store, now, ages=fresh.ages, stale_after=rules.max_coverage_age, only=wanted
    )
    scores = predict(model, frame)
    suite = _Suite(store, scores, verdict, likelihood(model, scores))
    allowed, aim = _limits(query, budget, verdict, aim)
    least = None if aim is None or verdict.run_all else aim.threshold or 0.0
    given = choose(
        suite.scores[suite.rows],
        suite.seconds[suite.rows],
        suite.always[suite.rows],
        allowed,
        explore_share=rules.explore,
        seed=seed or decision_id,
        strategy=strategy,
        least=least,
        high=None if suite.high is None else suite.high[suite.rows],
    )
    chosen = suite.chosen(given, Explainer(query, store, frame, model))
    return Selection(
        decision_id=decision_id,
        repository=store.repository,
        base=base,
        head=head,
        chosen=chosen,
        rest=suite.rest(given, least or 0.0, model.prior),
        run_all=bool(verdict.run_all) or not (math.isfinite(given.limit) or len(given.rest)),
        notices=(*verdict.notices, *_overspent(given)),
        budget=budget,
        bundle=bundle,
        state=state,
        promise=None if aim is None else suite.promise(given, aim, least or 0.0, budget, rules),
    )


def _limits(
    query: Query, budget: Budget, verdict: Verdict, aim: Aim | None
) -> tuple[Budget, Aim | None]:
    """What may run, and the level to be promised; what is to be said of both joins the notices."""
    allowed = Budget() if verdict.run_all else widened(budget, verdict.factor)
    limited = math.isfinite(limit_seconds(allowed, 1.0))
    if not query.files and not verdict.run_all and (limited or aim is not None):
        # Where nothing changed, no score means anything: only the rules choose.
        verdict.notices.append("Nothing changed: only tests that always run are selected.")
        return Budget(share=0.0), None
    if aim is not None and not verdict.run_all:
        verdict.notices.extend(filter(None, [aim.notice]))
        verdict.run_all = NO_PROMISE if aim.threshold is None and not limited else ""
    return allowed, aim


def predicted_seconds(measured: Floats) -> Floats:
    """Seconds of each test; the median of the others stands for one that was never measured."""
    known = measured[np.isfinite(measured)]
    typical = float(np.median(known)) if len(known) else 1.0
    return np.maximum(np.where(np.isfinite(measured), measured, typical), 0.0)


def pessimistic_seconds(usual: Floats, high: Floats) -> Floats | None:
    """Seconds that each test stays below in nine runs of ten; None where that is known of none.

    A test of which it is not known is taken to be as uncertain as the median of the others.
    """
    known = np.isfinite(high) & (usual > 0)
    if not known.any():
        return None
    ratio = float(np.median(np.maximum(high[known] / usual[known], 1.0)))
    return np.maximum(np.where(np.isfinite(high), high, usual * ratio), usual)


def widened(budget: Budget, factor: float) -> Budget:
    """The budget grown by a factor, at most to the whole suite."""
    share = None if budget.share is None else min(1.0, budget.share * factor)
    return Budget(share, None if budget.seconds is None else budget.seconds * factor)


class _Suite:
    """The store's tests and, behind them, the new ones: one numbering for all that may run."""

    def __init__(
        self, store: EvidenceStore, scores: Scores, verdict: Verdict, likelihoods: Scores | None
    ) -> None:
        self.verdict = verdict
        self.known, new = len(store.tests), len(verdict.new)
        self.names = [*store.tests, *verdict.new]
        self.scores = np.append(scores, np.ones(new, np.float32))
        told: list[float | None] = [] if likelihoods is None else likelihoods.tolist()
        # Nothing is known of a new test, and nothing of any without a calibrated score.
        self.likelihoods = told + [None] * (len(self.names) - len(told))
        self.seconds = predicted_seconds(np.append(store.seconds, np.full(new, np.nan)))
        self.high = pessimistic_seconds(
            self.seconds, np.append(store.seconds_high, np.full(new, np.nan))
        )
        self.always = np.append(verdict.always, np.ones(new, bool))
        self.rows = np.flatnonzero(np.append(verdict.present, np.ones(new, bool)))

    def chosen(self, given: Allocation, explainer: Explainer) -> tuple[Choice, ...]:
        """The choices in running order: new tests, those of the rules, the scored, the drawn."""
        always, whys, reasons = self._by_rules(self.rows[given.always])
        scored, explored = self.rows[given.scored], self.rows[given.explored]
        if self.verdict.run_all:
            why, told = Why.RUN_ALL, [self.verdict.run_all] * len(scored)
        else:
            why, told = Why.SCORE, explainer.reasons(scored) if len(scored) else []
        odds = given.inclusion[given.explored]
        return (
            *self._choices(always, whys, repeat(1.0), reasons),
            *self._choices(scored, repeat(why), repeat(1.0), told),
            *self._choices(explored, repeat(Why.EXPLORED), odds.tolist(), repeat(EXPLORED)),
        )

    def rest(self, given: Allocation, least: float, prior: float) -> tuple[Choice, ...]:
        """What is left out, the most deserving first; below `least` for want of evidence alone.

        Up to the model's `prior` there is none to speak of.
        """
        rows, odds = self.rows[given.rest], given.inclusion[given.rest].tolist()
        scores = self.scores[rows]
        words = (UNLINKED, OVER_BUDGET, BELOW.format(least))
        which = np.where(scores > prior, np.where(scores < least, 2, 1), 0)
        told = [words[i] for i in which.tolist()]
        return tuple(self._choices(rows, repeat(Why.OVER_BUDGET), odds, told))

    def promise(
        self, given: Allocation, aim: Aim, least: float, budget: Budget, rules: Rules
    ) -> Promise:
        """What the set promises; what a draw adds to it adds nothing to the promise.

        Nor does the factor by which caution widens a budget: that may only catch more.
        """
        out = self.scores[self.rows[np.concatenate((given.rest, given.explored))]]
        unforeseen = aim.calibration.unforeseen(decisive(rules)) if aim.calibration else ()
        return aim.promise(
            self._share(budget, self._named(unforeseen)),
            cut=bool((out >= least).any()),
            complete=not len(given.rest),
            empty=not len(given.always) and not len(given.scored),
        )

    def _share(self, budget: Budget, taken: NDArray[np.bool_]) -> float:
        """What a budget leaves of suite time to tests not `taken`; infinity where it holds all.

        Of seconds it is the share of usual time that fits whichever tests make it up, the least
        certain ones first. They are those of all tests, present or gone: a change must not enlarge
        its own share.
        """
        if budget.seconds is None or budget.share is not None:
            suite = float(self.seconds[self.rows].sum())
            rules = float(self.seconds[taken].sum()) / suite if suite else 0.0
            return limit_seconds(budget, 1.0) - rules
        high = self.seconds if self.high is None else self.high
        if budget.seconds >= high.sum():
            return math.inf
        left = budget.seconds - float(high[taken].sum())
        worst = np.argsort(self.seconds / np.maximum(high, 1e-12), kind="stable")
        usual = np.append(0.0, np.cumsum(self.seconds[worst]))
        share = np.interp(left, np.append(0.0, np.cumsum(high[worst])), usual) / usual[-1]
        return float(share) if left >= 0 else -1.0

    def _named(self, whys: Iterable[Why]) -> NDArray[np.bool_]:
        """The tests that rules of these kinds name."""
        named = np.zeros(len(self.names), bool)
        for why in whys:
            named[: self.known] |= self.verdict.named.get(why, False)
        return named

    def _by_rules(self, rows: Rows) -> tuple[Rows, list[Why], list[str]]:
        rules = {0: (Why.NEW, "it is new"), **self.verdict.rules}
        rule = np.append(self.verdict.rule_of, np.zeros(len(self.names) - self.known, np.int32))
        # Tests that were changed or failed of late come before those that caution adds.
        late = np.array([rules[r][0] is Why.WIDENED for r in sorted(rules)], np.int64)
        rank = np.where(rows >= self.known, -1, late[rule[rows]])
        rows = rows[np.argsort(rank, kind="stable")]
        told = [rules[r] for r in rule[rows].tolist()]
        return rows, [why for why, _ in told], [reason for _, reason in told]

    def _choices(
        self, rows: Rows, why: Iterable[Why], inclusion: Iterable[float], reason: Iterable[str]
    ) -> Iterable[Choice]:
        names = [self.names[row] for row in rows.tolist()]
        scores, seconds = self.scores[rows].tolist(), self.seconds[rows].tolist()
        likely = [self.likelihoods[row] for row in rows.tolist()]
        high = repeat(None) if self.high is None else self.high[rows].tolist()
        return map(Choice, names, why, scores, seconds, inclusion, reason, likely, high)


def _overspent(given: Allocation) -> tuple[str, ...]:
    """Say it where the rules alone take more than the budget."""
    if given.seconds <= given.limit * (1 + 1e-6) or not given.limit:
        return ()
    n = len(given.always)
    return (
        f"The {n:,} tests that always run take {given.seconds:,.1f} s, more than the budget of "
        f"{given.limit:,.1f} s: they run nevertheless, and nothing else does.",
    )
