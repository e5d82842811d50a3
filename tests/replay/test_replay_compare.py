"""Comparisons against values worked out by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest

from foretest.replay.compare import (
    FLIPS,
    Outcome,
    as_lines,
    compare,
    compare_verdicts,
    detectable,
    holm,
    sign_flip_p,
)
from foretest.replay.metrics import Score
from foretest.replay.table import Verdict


def groups(*sizes):
    ends = np.cumsum((0, *sizes))
    return [np.arange(a, b) for a, b in pairwise(ends)]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.001, 0.9]) == pytest.approx([1.0, 0.003, 1.0])
    assert holm([]) == []
    assert math.isnan(holm([math.nan, 0.02])[0])
    assert holm([math.nan, 0.02])[1] == pytest.approx(0.04)


def test_sign_flips_of_three_clusters_by_hand():
    # Sums 3, 1, 2: of 8 patterns only +++ and --- reach 6; with -1, +++ gives 4: 3 + 2 - 1
    assert sign_flip_p(np.array([3.0, 1.0, 2.0]), groups(1, 1, 1)) == pytest.approx(2 / 8)
    # |sum| >= 4 of (3, -1, 2): +-+ no flips: patterns with |.|>=4: (+,+,+)=4, (+,-,+)=6 and mirrors
    assert sign_flip_p(np.array([3.0, -1.0, 2.0]), groups(1, 1, 1)) == pytest.approx(4 / 8)
    assert sign_flip_p(np.zeros(3), groups(1, 1, 1)) == 1.0


def test_cases_of_one_cluster_flip_together():
    apart = np.ones(100)
    assert sign_flip_p(apart, groups(50, 50)) == pytest.approx(2 / 4)
    assert sign_flip_p(apart, groups(*[10] * 10)) == pytest.approx(2 / 1024)
    assert math.isnan(sign_flip_p(apart, groups(100)))


def test_many_clusters_are_drawn_and_never_give_a_p_of_zero():
    apart = np.ones(40)
    assert sign_flip_p(apart, groups(*[1] * 40)) == pytest.approx(1 / (FLIPS + 1))


def test_sign_flips_keep_their_level():
    generator = np.random.default_rng(3)
    rejected = sum(
        sign_flip_p(
            generator.normal(size=40) + np.repeat(generator.normal(size=8), 5), groups(*[5] * 8)
        )
        <= 0.05
        for _ in range(400)
    )
    assert rejected / 400 < 0.08


def test_the_detectable_difference_by_hand():
    assert detectable(0.01) == pytest.approx(0.01 * (1.959964 + 0.841621), rel=1e-5)
    assert math.isnan(detectable(math.nan))


def outcomes(*firsts):
    return [Outcome(first, (float(first <= 0.01), float(first <= 0.05), 1.0)) for first in firsts]


def test_a_comparison_by_hand():
    ours, theirs = outcomes(0.01, 0.02, 0.03, 0.04), outcomes(0.03, 0.02, 0.07, 0.06)
    clusters = [("a", "1"), ("a", "2"), ("b", "3"), ("b", "3")]
    got = compare(ours, theirs, clusters)
    assert (got.cases, got.repositories) == (4, 2)
    assert got.first.ours == pytest.approx(0.025)
    assert got.first.theirs == pytest.approx(0.045)
    assert got.first.difference.mean == pytest.approx(-0.02)
    assert got.first.p == got.first.p_holm == pytest.approx(2 / 4)
    assert [each.difference.mean for each in got.caught] == pytest.approx([0.25, 0.5, 0.0])
    # caught at 1 %: sums 1 and 0, at 5 %: 0 and 2; either way all four patterns reach it
    assert [each.p for each in got.caught] == [1.0, 1.0, 1.0]
    assert [each.p_holm for each in got.caught] == [1.0, 1.0, 1.0]
    assert got.caught[2].detectable == 0.0
    lines = as_lines(got, "A", "B")
    assert lines[0].startswith("A against B: 4 faulty changes in 2 repositories")
    assert "2.5% against 4.5%, -2.00" in lines[1]
    assert "Holm" not in lines[1]
    assert all("Holm" in line for line in lines[2:])


def test_one_repository_is_witnessed_by_its_commits():
    ours, theirs = outcomes(*[0.1] * 6), outcomes(*[0.2] * 6)
    got = compare(ours, theirs, [("r", f"{i}") for i in range(6)])
    assert got.first.p == pytest.approx(2 / 64)
    alone = compare(ours, theirs, [("r", "c")] * 6)
    assert math.isnan(alone.first.p)
    assert math.isnan(alone.first.detectable)
    assert "nan" in as_lines(alone, "A", "B")[1]


def test_cases_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="same cases"):
        compare(outcomes(0.1), outcomes(0.1, 0.2), [("a", "1")])

    def verdict(strategy, case, first):
        score = Score((0.0, 1.0, 1.0, 1.0, 1.0), True, first, first, 0.5, 0.5)
        return Verdict("all", strategy, case, "r", case, score)

    verdicts = [verdict("A", "x", 0.02), verdict("A", "y", 0.04), verdict("B", "y", 0.05)]
    with pytest.raises(ValueError, match="not judged on the same"):
        compare_verdicts(verdicts, "A", "B", "all")
    with pytest.raises(ValueError, match="not judged on the same"):
        compare_verdicts(verdicts, "A", "C", "all")
    verdicts.append(verdict("B", "x", 0.02))
    got = compare_verdicts(verdicts, "A", "B", "all")
    assert got.first.difference.mean == pytest.approx(-0.005)
    assert [each.ours for each in got.caught] == [0.0, 1.0, 1.0]
