"""Trees as LightGBM writes them: the same answers as its own, and no harm from any text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foretest.errors import BadModel
from foretest.models import trees as module
from foretest.models.trees import Trees
from small_ranker import TEXT, random_frame, ranker, rows_of, train

Floats = NDArray[np.floating]


def text() -> str:
    return TEXT.read_text("utf-8")


def stump(decision: int, threshold: str = "0.5", **fields: str) -> str:
    """One node: 1 to the left, 2 to the right."""
    tree = {
        "num_leaves": "2", "num_cat": "0", "split_feature": "0", "threshold": threshold,
        "decision_type": str(decision), "left_child": "-1", "right_child": "-2",
        "leaf_value": "1 2", "internal_value": "1.25", "is_linear": "0",
    }  # fmt: skip
    head = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\n"
        "feature_names=a\n\n"
    )
    lines = "\n".join(f"{key}={value}" for key, value in {**tree, **fields}.items())
    return f"{head}Tree=0\n{lines}\n\n\nend of trees\n"


def column(*values: float) -> Floats:
    return np.array(values, np.float64)[:, None]


@pytest.mark.parametrize(
    ("decision", "answers"),
    [
        # For -1, -1e-36, 0, 1e-36, 0.5, 0.6, NaN; the threshold is 0.5.
        (0, "1111121"),  # nothing is missing: NaN counts as 0
        (2, "1111121"),
        (4, "1222122"),  # zero is missing, and goes right
        (6, "1111121"),  # ... left
        (8, "1111122"),  # NaN is missing, and goes right
        (10, "1111121"),  # ... left
    ],
)
def test_each_kind_of_missing_value_goes_its_way(decision: int, answers: str) -> None:
    found = Trees.from_text(stump(decision)).raw(column(-1, -1e-36, 0, 1e-36, 0.5, 0.6, np.nan))
    assert "".join(f"{value:.0f}" for value in found) == answers


def test_a_threshold_is_inclusive_and_may_be_infinite() -> None:
    above = np.nextafter(0.5, 1)
    assert Trees.from_text(stump(8)).raw(column(0.5, above)).tolist() == [1, 2]
    assert Trees.from_text(stump(8, "inf")).raw(column(9e300, np.inf)).tolist() == [1, 1]
    assert Trees.from_text(stump(8, "-inf")).raw(column(-np.inf, -9e300)).tolist() == [1, 2]


def test_what_a_feature_moved_starts_at_the_root() -> None:
    found = Trees.from_text(stump(8))
    assert found.contributions(column(0.1, 0.9)).tolist() == [[-0.25, 1.25], [0.75, 1.25]]
    assert found.bias == 1.25


def test_a_tree_may_be_one_leaf() -> None:
    none = dict.fromkeys(
        ("split_feature", "threshold", "decision_type", "left_child", "right_child"), ""
    )
    found = Trees.from_text(stump(0, num_leaves="1", leaf_value="3", internal_value="", **{
        key: value for key, value in none.items() if key != "threshold"
    }))  # fmt: skip
    assert found.raw(column(0.1, np.nan)).tolist() == [3, 3]
    assert found.contributions(column(0.1)).tolist() == [[0, 3]]
    assert found.bias == 3


def test_contributions_sum_to_the_raw_score() -> None:
    model = ranker()
    rows = rows_of(model, random_frame(3, 500))
    raw, moved = model.trees.raw(rows), model.trees.contributions(rows)
    assert moved.shape == (500, len(model.trees.features) + 1)
    np.testing.assert_allclose(moved.sum(axis=1), raw, atol=1e-12)
    assert (moved[:, -1] == moved[0, -1]).all()
    assert moved[0, -1] == pytest.approx(model.trees.bias)


def test_rows_are_judged_alone_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ranker()
    rows = rows_of(model, random_frame(4, 300))
    raw = model.trees.raw(rows)
    monkeypatch.setattr(module, "CHUNK", 7)
    np.testing.assert_array_equal(model.trees.raw(rows), raw)
    np.testing.assert_array_equal(model.trees.raw(rows[[5, 200]]), raw[[5, 200]])
    assert model.trees.raw(rows[:0]).shape == (0,)


def test_a_matrix_of_another_width_is_refused() -> None:
    with pytest.raises(BadModel, match="features"):
        ranker().trees.raw(np.zeros((3, 2)))


# Against LightGBM itself.


def numbers(rng: np.random.Generator, n: int, k: int, odd: float) -> NDArray[np.float32]:
    """Normal, whole and constant columns with NaN, zeros and what is nearly zero."""
    matrix_ = rng.normal(size=(n, k)).astype(np.float32)
    matrix_[:, 0] = np.round(matrix_[:, 0])
    matrix_[rng.random(matrix_.shape) < odd] = np.nan
    matrix_[rng.random(matrix_.shape) < odd] = 0
    tiny = rng.random(matrix_.shape) < odd / 4
    matrix_[tiny] = rng.choice(
        np.array([1e-36, -1e-36, 1e-35, -2e-35, np.inf, -np.inf]), tiny.sum()
    )
    return matrix_


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    leaves=st.integers(2, 64),
    odd=st.sampled_from([0.0, 0.3, 0.6]),
    objective=st.sampled_from(["binary", "regression", "lambdarank"]),
    zero_as_missing=st.booleans(),
    use_missing=st.booleans(),
    monotone=st.booleans(),
)
def test_raw_scores_are_lightgbms_to_the_last_bit(
    seed: int, leaves: int, odd: float, monotone: bool, **given_: Any
) -> None:
    lightgbm = pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    rng = np.random.default_rng(seed)
    rows = numbers(rng, 400, 4, odd)
    seen = np.nan_to_num(rows, posinf=3, neginf=-3)
    target = (seen[:, 0] + seen[:, 1] * seen[:, 2] + rng.normal(size=400) > 0).astype(int)
    signs = [1, -1, 0, 0] if monotone else None
    made = {"num_leaves": leaves, "min_data_in_leaf": 3, "verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(rows, target, group=[100] * 4)
    trained = lightgbm.train(made | given_ | {"monotone_constraints": signs}, data, 12)
    found = Trees.from_text(trained.model_to_string())
    for asked in (rows, numbers(rng, 200, 4, odd)):
        raw = trained.predict(asked, raw_score=True)
        np.testing.assert_array_equal(found.raw(asked), raw)
        np.testing.assert_allclose(found.contributions(asked).sum(axis=1), raw, atol=1e-9)


def test_the_kept_text_is_what_lightgbm_writes() -> None:
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    written, kept = Trees.from_text(train(learning_rate=0.4)), ranker().trees
    assert written.features == kept.features
    assert len(written.trees) == len(kept.trees)


def test_a_forest_that_averages_is_refused_as_lightgbm_writes_it() -> None:
    pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
    forest = train(boosting="rf", bagging_freq=1, bagging_fraction=0.5)
    with pytest.raises(BadModel, match="averaged"):
        Trees.from_text(forest)


# Texts that are damaged, or made to do harm.

DAMAGED: dict[str, Callable[[str], str]] = {
    "empty": lambda t: "",
    "no trees": lambda t: t[: t.index("\nTree=0")] + "\nend of trees\n",
    "cut short": lambda t: t[: len(t) // 2],
    "not a model": lambda t: "\nTree=0\nend of trees",
    "other version": lambda t: t.replace("version=v4", "version=v9"),
    "classes": lambda t: t.replace("num_class=1", "num_class=3"),
    "outputs": lambda t: t.replace("num_tree_per_iteration=1", "num_tree_per_iteration=2"),
    "averaged": lambda t: t.replace("num_class=1", "num_class=1\naverage_output"),
    "linear": lambda t: t.replace("is_linear=0", "is_linear=1", 1),
    "categories": lambda t: t.replace("num_cat=0", "num_cat=1", 1),
    "categorical bit": lambda t: re.sub("decision_type=[0-9]+", "decision_type=1", t, count=1),
    "unknown missing": lambda t: re.sub("decision_type=[0-9]+", "decision_type=12", t, count=1),
    "fewer names": lambda t: t.replace("feature_names=base ", "feature_names="),
    "names twice": lambda t: t.replace("feature_names=base ", "feature_names=runs "),
    "key twice": lambda t: t.replace("num_cat=0", "num_cat=0\nnum_cat=0", 1),
    "no values": lambda t: t.replace("internal_value=", "other=", 1),
    "too few values": lambda t: re.sub("leaf_value=[^ ]+ ", "leaf_value=", t, count=1),
    "nan leaf": lambda t: re.sub("leaf_value=[^ ]+", "leaf_value=nan", t, count=1),
    "endless leaf": lambda t: re.sub("leaf_value=[^ ]+", "leaf_value=1e999", t, count=1),
    "nan threshold": lambda t: re.sub("threshold=[^ ]+", "threshold=nan", t, count=1),
    "words": lambda t: re.sub("threshold=[^ ]+", "threshold=high", t, count=1),
    "no number": lambda t: re.sub("num_leaves=.*", "num_leaves=", t, count=1),
    "no leaves": lambda t: re.sub("num_leaves=.*", "num_leaves=0", t, count=1),
    "leaves without end": lambda t: re.sub("num_leaves=.*", "num_leaves=10000000000", t, count=1),
    "digits without end": lambda t: re.sub("num_leaves=.*", "num_leaves=" + "9" * 5000, t, count=1),
    "feature beyond": lambda t: re.sub("split_feature=[0-9]+", "split_feature=7", t, count=1),
    "feature below": lambda t: re.sub("split_feature=[0-9]+", "split_feature=-1", t, count=1),
    "cycle": lambda t: re.sub("left_child=.*", "left_child=0 0 0 0 0", t, count=1),
    "leaf twice": lambda t: re.sub("right_child=-?[0-9]+", "right_child=-1", t, count=1),
    "child beyond": lambda t: re.sub("left_child=-?[0-9]+", "left_child=99", t, count=1),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused(name: str) -> None:
    damaged = DAMAGED[name](text())
    assert damaged != text()
    with pytest.raises(BadModel) as caught:
        Trees.from_text(damaged)
    assert caught.value.remedy


def test_a_cycle_beside_the_root_is_refused() -> None:
    """Every node has one parent here, but two of them only each other."""
    beside = stump(
        8, num_leaves="4", split_feature="0 0 0", threshold="1 2 3", decision_type="8 8 8",
        left_child="-1 2 1", right_child="-2 -3 -4", leaf_value="1 2 3 4", internal_value="1 2 3",
    )  # fmt: skip
    with pytest.raises(BadModel, match="form a tree"):
        Trees.from_text(beside.replace("threshold=0.5\n", ""))


def test_tables_do_not_grow_beyond_bounds() -> None:
    head, tail = stump(8).split("Tree=0\n")
    body = tail.replace("\n\n\nend of trees\n", "")
    blocks = "".join(
        f"Tree={i}\n{body.replace('threshold=0.5', f'threshold={i}')}\n\n" for i in range(5_000)
    )
    with pytest.raises(BadModel, match="too many thresholds"):
        Trees.from_text(f"{head}{blocks}\nend of trees\n")
    with pytest.raises(BadModel, match="too long"):
        Trees.from_text("tree\n" + " " * module.LONGEST_TEXT)


@settings(max_examples=150)
@given(st.data())
def test_any_damage_is_refused_or_read(data: st.DataObject) -> None:
    """Whatever a few changed bytes do: BadModel, or a model whose answers are finite."""
    damaged = text()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        piece = data.draw(st.sampled_from(["", "0", "-", "9", " ", "\n", "=", "e", ".", "\0", "ß"]))
        damaged = damaged[:place] + piece + damaged[place + 1 :]
    try:
        found = Trees.from_text(damaged)
    except BadModel:
        return
    rows = np.random.default_rng(0).normal(size=(50, len(found.features)))
    raw = found.raw(rows)
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(found.contributions(rows).sum(axis=1), raw, rtol=1e-6, atol=1e-6)
