"""The gate bites: for each check a candidate that was made to fail it, and fails nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import small_corpus
from small_corpus import LIMITS

from foretest.errors import BadModel
from foretest.features.query import FileFacts
from foretest.models.formula import Formula
from foretest.platform.gate import cost, domain, slices
from foretest.platform.gate.behaviour import FRESH, PROSE
from foretest.platform.gate.exam import CANDIDATE, FORMULA, Candidate, Exam, Limits
from foretest.platform.gate.examine import examined
from foretest.platform.gate.templates import holds
from foretest.platform.gate.verdict import Check
from foretest.platform.training.trained import promising
from foretest.records import MODULE_LEVEL, FileStatus, Symbol, Why
from foretest.replay.judge import ALL
from foretest.replay.metrics import Score
from foretest.replay.table import Verdict
from foretest.selection.policy import Rules

NAMES = [small_corpus.SMALL.format(number) for number in range(3)]


@pytest.fixture(scope="module")
def facts():
    return small_corpus.corpus(3, 6)


@pytest.fixture(scope="module")
def sound(facts):
    return promising(Candidate(Formula()), facts, "made")


@pytest.fixture(scope="module")
def verdicts(sound, facts):
    return Exam(sound, Candidate(Formula()), facts, LIMITS).verdicts


@pytest.fixture(autouse=True)
def few_runs(monkeypatch):
    monkeypatch.setattr(cost, "RUNS", 1)
    monkeypatch.setattr(domain, "HUGE", 150)


def failing(
    candidate: Candidate, facts: Any, limits: Limits, rival: Candidate, verdicts: Any = None
) -> list[str]:
    """What fails; `verdicts` are those of a candidate that the replay cannot tell from this one."""
    exam = Exam(candidate, rival, facts, limits)
    if verdicts is not None:
        exam.__dict__["verdicts"] = verdicts
    return [check.name for check in examined(exam).checks if check.passed is False]


def test_a_sound_candidate_fails_nothing(sound, facts):
    verdict = examined(Exam(sound, Candidate(Formula()), facts, LIMITS))
    assert [check for check in verdict.checks if check.stops] == []
    assert verdict.passed


def test_on_few_changes_a_template_is_unknown_unless_it_surely_does_not_hold(sound, facts):
    exam = Exam(sound, Candidate(Formula()), facts, replace(LIMITS, holds=0.9))
    few = holds(exam, "all", lambda _: True)
    assert (few.passed, few.essential) == (None, False)
    assert few.why.startswith("6 changes are too few")
    enough = replace(exam, limits=replace(LIMITS, holds=0.6))
    first, *others = enough.instances
    most = holds(enough, "all but one", lambda instance: instance is not first)
    assert (most.passed, most.essential) == (None, False)
    assert first.trial.case_id in most.why
    held = [id(instance) for instance in others[:3]]
    assert holds(enough, "half", lambda instance: id(instance) in held).passed is False
    # Where certainty is to be had, what is not certain is failed.
    many = replace(exam, limits=replace(LIMITS, holds=0.66))
    many.__dict__["instances"] = 100 * enough.instances
    assert holds(many, "all but one", lambda instance: instance is not first).passed
    four = {id(first), *held}
    assert holds(many, "four of six", lambda one: id(one) in four).passed is False
    assert holds(exam, "none", lambda _: False).passed is False
    assert holds(exam, "enough", lambda _: True, 0.6).passed


# --- candidates that behave in one way only ---


class Bent(Candidate):
    """Sound but for one thing: scores turned upside down where `wrong(moment, query, store)`."""

    def wrong(self, moment: Any, query: Any, store: Any) -> bool:
        return False

    def score(self, moment, query=None, store=None):
        scores = super().score(moment, query, store)
        return 1 - scores if self.wrong(moment, query, store) else scores


class OnFreshWords(Bent):
    def wrong(self, moment, query, store):
        return query is not None and not {*FRESH}.isdisjoint({*query.removed, *query.added})


class OnNames(Bent):
    """Whatever names a test once more falls behind."""

    def wrong(self, moment, query, store):
        named = query is not None and any(word.startswith("case") for word in query.added)
        return named and query.files == moment.query.files


class OnTwice(Bent):
    def wrong(self, moment, query, store):
        return query is not None and len(query.files) == 2 * len(moment.query.files)


class OnProse(Bent):
    def wrong(self, moment, query, store):
        return query is not None and {*query.added} == {*PROSE}


class OnMoreCoverage(Bent):
    def wrong(self, moment, query, store):
        return moment.known.coverage.nnz > small_corpus.TESTS


class WithoutCoverage(Bent):
    def wrong(self, moment, query, store):
        return store is not None


class OnRenames(Bent):
    def wrong(self, moment, query, store):
        return query is not None and any(f.status is FileStatus.RENAMED for f in query.files)


class BlindToModules(Candidate):
    def score(self, moment, query=None, store=None):
        scores = super().score(moment, query, store)
        alone = query is not None and {s.qualname for s in query.touched} == {MODULE_LEVEL}
        return np.minimum(scores, self.model.prior) if alone else scores


class AfraidOfNothing(Candidate):
    def predict(self, frame):
        if all(np.isnan(column).all() for column in frame.columns.values()):
            raise BadModel("It cannot do without.", "")
        return super().predict(frame)


class Deciding(Candidate):
    """Decides as it should, until `changed(selection, **asked)`."""

    def changed(self, selection: Any, query: Any, units: Any, freshness: Any) -> Any:
        return selection

    def decide(self, moment, query=None, store=None, *, budget=None, units=None, freshness=None):
        made = super().decide(moment, query, store, budget=budget, units=units, freshness=freshness)
        return self.changed(made, query, units, freshness)


class Level(Deciding):
    def changed(self, selection, query, units, freshness):
        return replace(selection, chosen=tuple(replace(c, score=0.5) for c in selection.chosen))


class KnowsNoNewTest(Deciding):
    def changed(self, selection, query, units, freshness):
        return replace(selection, chosen=tuple(c for c in selection.chosen if c.why is not Why.NEW))


class TrustsOldEvidence(Deciding):
    def changed(self, selection, query, units, freshness):
        return replace(selection, run_all=False) if freshness else selection


class LostInHugeDiffs(Deciding):
    def changed(self, selection, query, units, freshness):
        huge = query is not None and len(query.files) > 100
        return replace(selection, run_all=False, chosen=()) if huge else selection


BENT: Mapping[str, type[Candidate]] = {
    "behaviour: renaming a local variable changes little": OnFreshWords,
    "behaviour: naming the failing test never lowers it": OnNames,
    "behaviour: a hunk twice changes little": OnTwice,
    "behaviour: a comment selects almost nothing": OnProse,
    "behaviour: more evidence never ranks lower": OnMoreCoverage,
    "failures: no coverage at all": WithoutCoverage,
    "failures: features that are missing": AfraidOfNothing,
    "failures: scores differ between tests": Level,
    "failures: a test that the bundle does not know": KnowsNoNewTest,
    "failures: evidence 500 commits old": TrustsOldEvidence,
    "domain: a renamed file is known by its old name": OnRenames,
    "domain: module-level code reaches who uses it": BlindToModules,
    "domain: a huge diff is answered and widens": LostInHugeDiffs,
}


@pytest.mark.parametrize("check", BENT)
def test_a_candidate_that_fails_one_thing_is_turned_away_for_it(check, sound, facts, verdicts):
    made = BENT[check](sound.model, promise=sound.promise)
    assert failing(made, facts, LIMITS, Candidate(Formula()), verdicts) == [check]


@pytest.mark.parametrize(
    ("check", "pattern"),
    [
        ("domain: a lock file runs everything", "*.lock"),
        ("domain: a data file widens", "*.dat"),
    ],
)
def test_rules_that_wave_such_files_through_are_turned_away(check, pattern, sound, facts):
    made = promising(Candidate(Formula(), Rules(never_widen=(pattern,))), facts, "made")
    assert failing(made, facts, LIMITS, Candidate(Formula())) == [check]


# --- candidates that order worse ---


@dataclass(frozen=True)
class Late(Formula):
    """The formula, whose first tests wait behind `wait` others."""

    wait: int = 3

    def predict(self, frame):
        scores = super().predict(frame)
        order = np.argsort(-scores, kind="stable")
        late = np.concatenate((order[2 : 2 + self.wait], order[:2], order[2 + self.wait :]))
        ranked = np.empty_like(scores)
        ranked[late] = np.sort(scores)[::-1]
        return ranked


def ordered_by(model: Formula, facts: Any) -> Candidate:
    """Judged by such stand-ins; itself it is sound."""
    stand_ins = dict.fromkeys(NAMES, model)
    return promising(Candidate(Formula(), stand_ins=stand_ins), facts, "made")


@pytest.mark.parametrize(
    ("check", "wait", "limits"),
    [
        ("standard: caught in 5%", 3, {"floors": ((0.05, 0.8),)}),
        ("standard: caught in 10%", 5, {"floors": ((0.10, 0.8),)}),
        ("standard: caught in 20%", 9, {"floors": ((0.20, 0.8),)}),
        ("standard: first failure", 5, {"floors": ((0.20, 0.8),), "latest": 0.05}),
    ],
)
def test_who_catches_too_little_is_turned_away_though_the_champion_is_as_bad(
    check, wait, limits, facts
):
    made = ordered_by(Late(wait=wait), facts)
    wanted = replace(LIMITS, **{"latest": 1.0, **limits})
    assert failing(made, facts, wanted, replace(made)) == [check]


@pytest.mark.parametrize(
    ("check", "wait", "limits"),
    [
        ("standard: in 5% beside the formula", 3, {"floors": ((0.05, 0.0),), "later": 1.0}),
        ("standard: in 10% beside the formula", 5, {"floors": ((0.10, 0.0),), "later": 1.0}),
        ("standard: in 20% beside the formula", 9, {"floors": ((0.20, 0.0),), "later": 1.0}),
        ("standard: first failure beside the formula", 3, {"floors": ((0.20, 0.0),)}),
    ],
)
def test_who_is_worse_than_the_rival_is_turned_away(check, wait, limits, facts):
    made = ordered_by(Late(wait=wait), facts)
    wanted = replace(LIMITS, **{"latest": 1.0, **limits})
    assert failing(made, facts, wanted, Candidate(Formula())) == [check]


# --- the promise and the cost ---


def test_a_promise_that_states_too_much_is_turned_away(sound, facts, verdicts):
    bold = replace(sound.promise, groups=dict.fromkeys(NAMES, (((0.99999, 0.0),),)))
    # What stands out by such a promise is nothing, so that comments still draw nothing in.
    made = replace(sound, promise=bold)
    assert failing(made, facts, LIMITS, Candidate(Formula()), verdicts) == ["promise: 50 %"]


@pytest.mark.parametrize("promise", ["none", "of another model"])
def test_no_promise_and_one_of_another_model_are_turned_away(promise, sound, facts, verdicts):
    made = None if promise == "none" else replace(sound.promise, model="ranker:0")
    made = replace(sound, promise=made)
    checks = failing(made, facts, LIMITS, Candidate(Formula()), verdicts)
    assert checks == ["promise: 50 %"]


@dataclass
class Clock:
    """Time passes with each look at it, and where a model takes its time."""

    now: float = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@dataclass(frozen=True)
class Slow(Formula):
    clock: Clock = field(default_factory=Clock)

    def predict(self, frame):
        self.clock.now += 1.0
        return super().predict(frame)

    def to_json(self):
        return Formula().to_json()


@pytest.mark.parametrize(
    ("check", "limits"),
    [
        ("cost: selection beside the formula's", {"slower": 3.0}),
        ("cost: selection of the largest suite", {"seconds": 0.5}),
    ],
)
def test_who_takes_too_long_is_turned_away(check, limits, sound, facts, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cost, "perf_counter", clock)
    made = replace(sound, model=Slow(clock=clock))
    assert failing(made, facts, replace(LIMITS, **limits), Candidate(Formula())) == [check]


@dataclass(frozen=True)
class Fat(Formula):
    def to_json(self):
        return {**super().to_json(), "padding": "x" * 60_000}


def test_who_is_too_large_is_turned_away(facts):
    made = promising(Candidate(Fat()), facts, "made")
    thin = replace(LIMITS, megabytes=0.05)
    assert failing(made, facts, thin, Candidate(Formula())) == ["cost: size of the model"]


# --- slices, and real changes of hard kinds: candidates by what they catch ---


def shown(
    facts: Any, missed: Callable[[Any, int], bool], limits: Limits = LIMITS
) -> dict[str, Check]:
    """The checks of one that catches everything but what is `missed(trial, n-th of these)`."""
    exam = Exam(Candidate(Formula()), Candidate(Formula()), facts, limits)
    found = []
    for number, ((name, case), (trial, _)) in enumerate(exam.trials.items()):
        for strategy in (CANDIDATE, FORMULA):
            lost = strategy == CANDIDATE and missed(trial, number)
            score = Score((0.0 if lost else 1.0,) * 5, True, 0.0, 0.0, 1.0, 1.0)
            found.append(Verdict(ALL, strategy, case, name, trial.commit, score))
    exam.__dict__["verdicts"] = tuple(found)
    checks = [*slices.checks(exam), *(c for c in domain.checks(exam) if "real" in c.name)]
    return {check.name: check for check in checks}


def changed(facts: Any, change: Callable[[int, int, Any], Any]) -> tuple[Any, ...]:
    """The facts with each trial as `change(repository, place, trial)` makes it."""
    return tuple(
        (replace(lesson, trials=tuple(change(r, p, t) for p, t in enumerate(lesson.trials))), age)
        for r, (lesson, age) in enumerate(facts)
    )


def in_file(trial: Any, path: str, **more: Any) -> Any:
    return replace(trial, query=replace(trial.query, files=(FileFacts(path, **more),)))


@pytest.fixture(scope="module")
def many():
    """Eight repositories of 24 changes, each change of a folder and a language of its own."""
    return changed(
        small_corpus.corpus(8, 24),
        lambda r, p, t: in_file(t, f"src/{'ab'[p % 2]}/m{p}.{('py', 'js')[p // 2 % 2]}"),
    )


LARGE = replace(LIMITS, slice_least=48)


@pytest.mark.parametrize(
    ("check", "missed", "least"),
    [
        # Half of one language over all repositories; of one repository, or folder: too few to tell.
        ("slices: language", lambda t, n: ".js" in t.query.files[0].path and n % 5 < 2, 48),
        ("slices: repository", lambda t, n: t.repository == "repository3" and n % 3 > 0, 24),
        (
            "slices: directory",
            lambda t, n: t.repository == "repository3" and "src/a" in t.query.files[0].path,
            12,
        ),
    ],
)
def test_a_slice_that_gets_systematically_less_is_named(check, missed, least, many):
    checks = shown(many, missed, replace(LIMITS, slice_least=least))
    failed = [name for name, each in checks.items() if each.passed is False]
    assert check in failed
    # A folder's loss is its repository's as well, where that is large enough to tell.
    assert {*failed} <= {check, "slices: repository", "slices: directory"}


def test_a_suite_size_and_an_age_that_get_less_are_named(many):
    def older(r, p, trial):
        return replace(trial, time=trial.time - (10 * 365.25 * 86_400 * (r < 4) * (p == 0)))

    ages = changed(many, older)
    checks = shown(
        ages,
        lambda t, n: t.repository < "repository4" and n % 3 == 0,
        replace(LIMITS, slice_least=90),
    )
    failed = [name for name, each in checks.items() if each.passed is False]
    assert failed == ["slices: repository age"]
    sizes = tuple(
        (replace(lesson, store=larger(lesson.store)) if r < 4 else lesson, age)
        for r, (lesson, age) in enumerate(many)
    )
    checks = shown(
        sizes,
        lambda t, n: t.repository < "repository4" and n % 3 == 0,
        replace(LIMITS, slice_least=90),
    )
    failed = [name for name, each in checks.items() if each.passed is False]
    assert failed == ["slices: suite size"]


def larger(store: Any) -> Any:
    """The same evidence in a suite of more than 300 tests."""
    from foretest.evidence.renumber import on_tests

    more = tuple(f"tests/test_more.py::test_{n}" for n in range(300))
    grown = on_tests(store, (*store.tests, *more))
    return replace(grown, seconds=np.ones(len(grown.tests)))


def test_slices_too_small_are_unknown_and_said():
    checks = shown(small_corpus.corpus(3, 4), lambda *_: False, replace(LIMITS, slice_least=20))
    for name in ("slices: repository", "slices: directory"):
        assert checks[name].passed is None
        assert "3 of 3 unknown" in checks[name].measured or "6 of 6" in checks[name].measured
        assert not checks[name].stops


MODULE = (Symbol("src/a/m.py", MODULE_LEVEL),)
KINDS = {
    "domain: real module-level changes": lambda t: in_file(t, "src/a/m.py", touched=MODULE),
    "domain: real data files": lambda t: in_file(t, "src/a/table.csv"),
    "domain: real renames": lambda t: in_file(
        t, "src/a/n.py", status=FileStatus.RENAMED, old_path="src/a/m.py"
    ),
    "domain: real lock files": lambda t: in_file(t, "uv.lock"),
    "domain: real huge diffs": lambda t: replace(
        t, query=replace(t.query, files=tuple(FileFacts(f"src/a/m{n}.py") for n in range(30)))
    ),
}


@pytest.mark.parametrize("check", KINDS)
def test_real_changes_of_a_hard_kind_that_are_lost_are_named(check):
    facts = changed(small_corpus.corpus(3, 12), lambda r, p, t: KINDS[check](t) if p % 2 else t)
    special = {t.case_id for lesson, _ in facts for p, t in enumerate(lesson.trials) if p % 2}
    checks = shown(facts, lambda t, n: t.case_id in special and n % 4 == 1)
    failed = [name for name in checks if name.startswith("domain") and not checks[name].passed]
    named = [name for name in failed if checks[name].passed is False]
    assert check in named
    assert {*named} <= {check, "domain: real data files"}  # a lock file is a data file, too
