"""The ranker's training: sampling, augmentation, fitting, calibrating, and who may serve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretest.evidence.graph import SymbolGraph
from foretest.evidence.renumber import on_symbols, on_tests
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore, empty
from foretest.evidence.text import TextIndex
from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.features.query import FileFacts, Query
from foretest.models.formula import Formula
from foretest.records import Symbol
from foretest.replay.compare import Comparison, Endpoint
from foretest.replay.intervals import Interval
from foretest.replay.judge import FAULTS, Setting, Trial
from foretest.training import champion, crossfit
from foretest.training.crossfit import calibration_of, fit_calibrated, left_out
from foretest.training.examples import Example, dropped, sample, several_edits, without
from foretest.training.fit import Recipe, fit

# Its OpenMP runtime is a part of the system that slim images lack.
pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))

QUICK = Recipe(rounds=20, least=5, hard=20, easy=20)


def example(seed: int, repository: str = "r", n: int = 60, signal: str = "cochange") -> Example:
    """A change of which the tests with the highest `signal` fail; all else is noise."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.random(n).astype(np.float32) for name in FEATURES}
    columns["bm25"] *= 0.1
    frame = FeatureFrame(n, columns)
    failed = columns[signal] > 0.95
    failed[int(columns[signal].argmax())] = True
    return Example(repository, f"commit{seed}", f"case{seed}", frame, failed)


def corpus(repositories: int = 5, changes: int = 6, **more: str) -> dict[str, list[Example]]:
    return {
        f"r{r}": [example(100 * r + c, f"r{r}", **more) for c in range(changes)]
        for r in range(repositories)
    }


# --- sampling and augmentation ---


@given(seed=st.integers(0, 99), hard=st.integers(0, 70), easy=st.integers(1, 70))
def test_a_sample_holds_every_failing_test_and_stands_for_all_passing_ones(seed, hard, easy):
    of = example(seed)
    drawn = sample(of, Formula().predict(of.frame), np.random.default_rng(seed), hard, easy)
    assert len(set(drawn.rows.tolist())) == len(drawn.rows)
    failing = of.failed[drawn.rows]
    assert failing.sum() == of.failed.sum()
    assert drawn.weights[~failing].sum() == pytest.approx((~of.failed).sum())
    assert np.all(drawn.weights[failing] == 1)


def test_hard_examples_are_the_likeliest_passing_tests():
    of = example(3)
    scores = Formula().predict(of.frame)
    drawn = sample(of, scores, np.random.default_rng(0), 10, 0).rows
    passing = [row for row in drawn.tolist() if not of.failed[row]]
    worst_kept = scores[passing].min()
    left = np.setdiff1d(np.flatnonzero(~of.failed), passing)
    assert scores[left].max() <= worst_kept


def test_lost_evidence_is_unknown_and_nothing_else_changes():
    of = example(1)
    lost = without(of, ["coverage"], 0.5)
    for name, feature in FEATURES.items():
        if feature.family == "coverage":
            assert np.isnan(lost.frame[name]).all()
        else:
            assert np.array_equal(lost.frame[name], of.frame[name])
    assert lost.weight == 0.5
    assert np.array_equal(lost.failed, of.failed)


def test_the_share_that_loses_evidence_is_the_rate():
    many = [example(1)] * 400
    made = dropped(many, np.random.default_rng(0), rate=0.25, weight=0.5)
    assert 70 < len(made) < 130
    assert not dropped(many, np.random.default_rng(0), rate=0.0, weight=0.5)


def trial(number: int, *failed: str, **more: object) -> Trial:
    path = f"src/m{number}.py"
    query = Query(
        (FileFacts(path, touched=(Symbol(path, "f"),)),), {"word": 1, f"only{number}": 2}, {}
    )
    facts = Trial(
        f"case{number}", "r", f"commit{number}", 1000.0 + number, query, frozenset(failed)
    )
    return replace(facts, **more)  # type: ignore[arg-type]


def test_several_edits_fail_what_any_of_them_fails():
    real = [trial(1, "t1"), trial(2, "t2"), trial(3, "t3", "t1"), trial(4, broken="import")]
    by_file = {f"src/m{n}.py": t.failed for n, t in enumerate(real, 1)}
    made = several_edits(real, np.random.default_rng(5), 20)
    assert len(made) > 10
    for joined in made:
        paths = [file.path for file in joined.query.files]
        assert 2 <= len(paths) <= 3
        assert joined.failed == frozenset[str]().union(*(by_file[path] for path in paths))
        assert joined.query.removed["word"] == len(paths)
        assert joined.beside == FAULTS, "it has no place in the history"


def test_edits_of_one_commit_alone_are_never_joined():
    real = [trial(1, "t1"), trial(2, "t2", commit="commit1")]
    assert several_edits(real, np.random.default_rng(0), 20) == []


# --- fitting ---


def test_the_ranker_finds_what_the_formula_under_weighs():
    ranker = fit([e for part in corpus().values() for e in part], QUICK)
    better = 0
    for seed in range(900, 910):
        of = example(seed)
        place = [
            int((scores > scores[of.failed].max()).sum())
            for scores in (ranker.raw(of.frame), Formula().predict(of.frame))
        ]
        better += place[0] < place[1]
    assert better >= 8


def test_the_same_examples_give_the_same_trees():
    examples = corpus(2)["r0"]
    assert fit(examples, QUICK).trees.text == fit(examples, QUICK).trees.text


def test_more_evidence_never_ranks_lower():
    ranker = fit([e for part in corpus().values() for e in part], QUICK)
    of = example(7)
    before = ranker.raw(of.frame)
    for name in ("bm25", "coverage_share", "cochange", "propagated_share"):
        columns = {**of.frame.columns, name: of.frame[name] + np.float32(0.5)}
        assert np.all(ranker.raw(FeatureFrame(of.frame.size, columns)) >= before - 1e-9), name


def test_nothing_to_fit_on_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        fit([])


# --- calibrating ---


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 400))
def test_calibrating_keeps_the_order_and_the_range(seed, n):
    rng = np.random.default_rng(seed)
    raw = np.round(rng.normal(size=n), 1)
    failed = (rng.random(n) < 1 / (1 + np.exp(-3 * raw))).astype(float)
    made = calibration_of(raw, failed)
    if made is not None:
        odds = made.log_odds(np.unique(raw))
        assert np.all(np.diff(odds) > 0)


def test_calibrated_probabilities_are_those_of_the_outcome():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=20_000)
    truth = 1 / (1 + np.exp(-(2 * raw - 3)))
    made = calibration_of(raw, (rng.random(20_000) < truth).astype(float))
    assert made is not None
    grid = np.array([-1.0, 0.0, 1.0, 2.0])
    stated = 1 / (1 + np.exp(-made.log_odds(grid)))
    assert stated == pytest.approx(1 / (1 + np.exp(-(2 * grid - 3))), abs=0.06)


def test_scores_that_are_all_the_same_have_no_calibration():
    assert calibration_of(np.zeros(50), np.zeros(50)) is None


def test_a_ranker_of_several_repositories_is_calibrated_and_of_one_is_not():
    several = corpus(4, 3)
    assert fit_calibrated(several, QUICK).calibrated
    assert not fit_calibrated({"r0": several["r0"]}, QUICK).calibrated


def test_a_ranker_never_sees_the_repository_that_it_is_left_out_for(monkeypatch):
    seen: list[set[str]] = []

    def watched(examples, *rest, **more):
        seen.append({e.repository for e in examples})
        return fit(examples, *rest, **more)

    monkeypatch.setattr(crossfit, "fit", watched)
    several = corpus(3, 2)
    for name in several:
        seen.clear()
        others = {other: part for other, part in several.items() if other != name}
        fit_calibrated(others, QUICK, extra={name: several[name]})
        assert seen
        assert all(name not in repositories for repositories in seen)
    assert left_out(several, QUICK).keys() == several.keys()


# --- who serves ---


def test_too_few_later_commits_leave_the_champion():
    formula = Formula()
    few = [trial(n, "t") for n in range(champion.FEWEST_TO_CHOOSE - 1)]
    crowned = champion.choose(formula, few, few, None, None)  # type: ignore[arg-type]
    assert crowned.model is formula
    assert crowned.name == champion.FORMULA
    assert crowned.sentence() == ""
    assert not crowned.compared


TESTS = tuple(f"tests/test_a.py::test_{i}" for i in range(8))
SYMBOLS = ("src/a.py::<module>", "src/a.py::f", "src/a.py::g")


def evidence() -> EvidenceStore:
    """Test 0 enters f and alone does so; nothing is known of what else tests do."""
    store = on_symbols(on_tests(empty("r"), TESTS), SYMBOLS, SymbolGraph.build(3, [], []))
    return replace(
        store,
        commit="c0",
        files=("src/a.py",),
        coverage=SparseRows.from_lists([[1] if i == 0 else [2] for i in range(8)], 3),
        coverage_commit=np.zeros(8, np.int32),
        coverage_commits=("c0",),
        text=TextIndex.build([{f"word{i}": 1.0} for i in range(8)]),
        imports=SparseRows.empty(8, 1, weighted=True),
        cochange=SparseRows.empty(8, 1, weighted=True),
        seconds=np.ones(8),
    )


def broke(number: int, test: int) -> Trial:
    query = Query((FileFacts("src/a.py", touched=(Symbol("src/a.py", "f"),)),))
    failed = frozenset({TESTS[test]})
    return Trial(f"case{number}", "r", f"commit{number}", 1e9 + 1000.0 * number, query, failed)


@pytest.mark.parametrize(("failing", "winner"), [(3, champion.OWN), (0, champion.FORMULA)])
def test_an_own_model_serves_only_where_it_is_better_on_later_changes(failing, winner, monkeypatch):
    monkeypatch.setattr(champion, "load", lambda: None)
    past = [broke(n, failing) for n in range(40)]
    later = [broke(n, failing) for n in range(40, 52)]
    setting = Setting(draws=1)
    crowned = champion.choose(Formula(), past, later, evidence(), setting)
    assert crowned.name == winner
    assert crowned.fitted == 40
    assert isinstance(crowned.model, Formula) == (winner == champion.FORMULA)
    assert winner in crowned.sentence()
    assert crowned.compared


def comparison(ours: float, theirs: float, p: float) -> Comparison:
    gap = Interval(ours - theirs, np.nan, np.nan)
    return Comparison(9, 1, Endpoint("first", ours, theirs, gap, p, p, np.nan), ())


@pytest.mark.parametrize(
    ("pretrained", "own_to_formula", "own_to_pretrained", "expected"),
    [
        ((0.1, 0.2, 0.9), (0.1, 0.2, 0.9), (0.1, 0.1, 0.9), champion.FORMULA),
        ((0.1, 0.2, 0.01), (0.1, 0.2, 0.01), (0.1, 0.1, 0.9), champion.PRETRAINED),
        ((0.1, 0.2, 0.01), (0.05, 0.2, 0.01), (0.05, 0.1, 0.01), champion.OWN),
        # Worse, however surely, never serves.
        ((0.3, 0.2, 0.001), (0.3, 0.2, 0.001), (0.3, 0.3, 0.9), champion.FORMULA),
        # Two challengers: each has to meet the corrected level.
        ((0.1, 0.2, 0.04), (0.1, 0.2, 0.04), (0.09, 0.1, 0.045), champion.FORMULA),
        ((0.1, 0.2, 0.04), (0.1, 0.2, 0.5), (0.1, 0.1, 0.5), champion.FORMULA),
    ],
)
def test_who_serves_has_to_beat_all_others(pretrained, own_to_formula, own_to_pretrained, expected):
    compared = {
        (champion.PRETRAINED, champion.FORMULA): comparison(*pretrained),
        (champion.OWN, champion.FORMULA): comparison(*own_to_formula),
        (champion.OWN, champion.PRETRAINED): comparison(*own_to_pretrained),
    }
    assert champion.winner(compared) == expected
    assert champion.winner({}) == champion.FORMULA
