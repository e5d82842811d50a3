"""Contenders and their race: signs, calibration, who is left out, and what is told."""

from __future__ import annotations

import numpy as np
import pytest
import small_corpus

from foretest.cli.main import main
from foretest.errors import NothingToReplay
from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.models.contract import predict
from foretest.models.formula import Formula
from foretest.models.ranker import base_logit
from foretest.platform.ranking.contenders import QUESTIONS, SHIPPED, Contender, crossed
from foretest.platform.ranking.inputs import FAR, Inputs
from foretest.platform.ranking.linear import fit_linear
from foretest.platform.ranking.objective import FOLDS, Boosting, folds_of, log_loss, recipe_of
from foretest.platform.tracking.plots import CAUGHT
from foretest.platform.tracking.runs import Run
from foretest.replay.judge import ALL
from foretest.training.examples import Example
from foretest.training.fit import SLIM, Recipe

SIZE = 60


def example(repository: str, number: int, signal: str = "cochange") -> Example:
    """A change where the tests with the most of one feature fail, and all else is noise."""
    rng = np.random.default_rng((len(repository), number, *repository.encode()))
    columns = {name: rng.random(SIZE).astype(np.float32) for name in FEATURES}
    columns["import_depth"][:5] = np.nan
    failed = columns[signal] > 0.9
    failed[int(np.argmax(columns[signal]))] = True
    frame = FeatureFrame(SIZE, columns)
    return Example(repository, f"c{number}", f"{repository}-{number}", frame, failed)


@pytest.fixture
def examples() -> dict[str, list[Example]]:
    return {name: [example(name, n) for n in range(8)] for name in ("a", "b", "c", "d")}


def recipe() -> Recipe:
    return Recipe(least=5, rounds=30)


def test_missing_values_are_marked_and_far_ones_held() -> None:
    raw = np.array([[0.0], [2.0], [np.nan], [1e9]], np.float32)
    weights = np.array([1.0, 1.0, 1.0, 0.0])
    inputs = Inputs.of(raw, ["bm25"], weights)
    columns = inputs.columns(raw, np.zeros(4))
    assert columns.shape == (4, 3)
    assert columns[:, 0].tolist() == [-1.0, 1.0, 0.0, FAR]
    assert columns[:, 1].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_the_linear_contender_learns_and_keeps_its_signs(
    examples: dict[str, list[Example]],
) -> None:
    every = [e for part in examples.values() for e in part]
    model = fit_linear(every, recipe())
    weights = dict(zip(SLIM, model.weights, strict=False))
    assert max(weights, key=lambda name: weights[name]) == "cochange"
    signs = np.array([FEATURES[name].monotone for name in SLIM])
    assert (model.weights[: len(SLIM)] * signs >= 0).all()


@pytest.mark.parametrize("name", [c.name for c in QUESTIONS["kinds"]()])
def test_every_kind_answers_as_a_model_and_finds_the_signal(
    name: str, examples: dict[str, list[Example]]
) -> None:
    if name == "small neural":
        pytest.importorskip("torch", reason="LEFT OUT: the neural contender needs torch")
    (contender,) = (c for c in QUESTIONS["kinds"]() if c.name == name)
    quick = Contender(name, recipe_with(contender.recipe), contender.fitter)
    model = quick.fitted(examples, {}, Formula())
    unseen = example("zz", 1)
    scores = predict(model, unseen.frame)
    assert scores[unseen.failed].mean() > 2 * scores[~unseen.failed].mean()
    assert model.calibrated
    assert 0 < model.prior < 1


def recipe_with(base: Recipe) -> Recipe:
    from dataclasses import replace

    return replace(base, least=5, rounds=40)


def test_nobody_is_judged_by_a_model_that_saw_it(examples: dict[str, list[Example]]) -> None:
    seen: list[set[str]] = []

    def spying(part, recipe, base):  # type: ignore[no-untyped-def]
        seen.append({e.repository for e in part})
        return fit_linear(part, recipe, base)

    extra = {name: [example(name, 99)] for name in examples}
    models = crossed(Contender("spy", recipe(), spying), examples, extra, folds=4)
    assert sorted(models) == ["a", "b", "c", "d"]
    assert len({id(model) for model in models.values()}) == 4
    # Each model is fitted whole, then on parts to calibrate: none of those fits saw the one held.
    for held, fits in zip("abcd", np.array_split(np.array(seen, dtype=object), 4), strict=True):
        assert all(held not in part for part in fits)
    with pytest.raises(NothingToReplay, match="two"):
        crossed(Contender("spy", recipe(), spying), {"a": examples["a"]}, {}, folds=4)


def test_each_family_is_taken_away_alone_and_whole() -> None:
    contenders = {c.name: c for c in QUESTIONS["families"]()}
    assert next(iter(contenders)) == SHIPPED
    families = {feature.family for feature in FEATURES.values()}
    for name, contender in contenders.items():
        inputs = set(contender.recipe.inputs)
        if name.startswith("less "):
            gone = {n for n, feature in FEATURES.items() if feature.family == name[5:]}
            assert contender.lost == gone
            assert inputs == set(SLIM) - gone
        elif name.endswith(" alone"):
            assert {FEATURES[n].family for n in inputs} == {name.removesuffix(" alone")}
        elif name.startswith("with all of "):
            assert {FEATURES[n].family for n in inputs - set(SLIM)} == {name[12:]}
    assert {c[5:] for c in contenders if c.startswith("less ")} <= families
    assert set(contenders["every feature"].recipe.inputs) == set(FEATURES)


def test_what_is_taken_away_reaches_nobody(examples: dict[str, list[Example]]) -> None:
    """Without coverage the scores are those of a repository that has none."""
    (contender,) = (c for c in QUESTIONS["families"]() if c.name == "less coverage")
    quick = Contender("quick", recipe_with(contender.recipe), lost=contender.lost)
    model = quick.fitted(examples, {}, Formula())
    seen = example("zz", 1).frame
    unknown = np.full(SIZE, np.nan, np.float32)
    columns = {n: unknown if n in contender.lost else c for n, c in seen.columns.items()}
    blind = FeatureFrame(SIZE, columns)
    assert predict(model, seen).tolist() == predict(model, blind).tolist()


def test_growing_in_steps_learns_and_goes_on_where_it_was_kept(
    examples: dict[str, list[Example]], tmp_path
) -> None:
    folds = folds_of(examples, {})
    assert len(folds) == FOLDS
    config = {"rate": 0.1, "leaves": 4, "least": 5, "ridge": 1.0}
    boosting = Boosting(folds, config)
    start = np.mean([log_loss(f.held.start, f.held) for f in folds])
    first = boosting.grow(10)
    boosting.save(tmp_path)
    second = boosting.grow(10)
    assert second < first < start
    again = Boosting(folds, config)
    again.load(tmp_path)
    assert again.grow(10) == pytest.approx(second, rel=1e-9)
    assert recipe_of(config).leaves == 4


def test_log_loss_is_what_it_says() -> None:
    folds = folds_of({n: [example(n, 1)] for n in "abc"}, {})
    rows = folds[0].held
    p = 1 / (1 + np.exp(-rows.start))
    loss = -(rows.labels * np.log(p) + (1 - rows.labels) * np.log1p(-p))
    assert log_loss(rows.start, rows) == pytest.approx(np.average(loss, weights=rows.weights))
    assert np.isfinite(base_logit(p)).all()


def test_the_verb_races_contenders_and_tells_what_each_catches(tmp_path, capsys, monkeypatch):
    few = (Contender(SHIPPED, recipe()), Contender("linear", recipe(), fit_linear))
    monkeypatch.setitem(QUESTIONS, "kinds", lambda: few)  # type: ignore[arg-type]
    told: list[dict[str, float]] = []
    monkeypatch.setattr(Run, "metrics", lambda _, values: told.append(values))
    monkeypatch.setattr(Run, "kept", True)
    monkeypatch.setattr(Run, "figure", lambda _, chart, name: told.append({name: 0.0}))
    facts = str(small_corpus.write(tmp_path, repositories=3, changes=4))
    asked = ["platform", "compare", "kinds", "--facts", facts, "--folds", "3", "--tracking", ""]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "12 faulty changes" in out
    (figures, plot) = told
    assert list(plot) == [CAUGHT]
    for name in ("oracle", "foretest", SHIPPED, "linear"):
        assert 0 <= figures[f"{ALL}/{name}/caught at 20 percent"] <= 1
