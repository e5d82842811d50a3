"""Changes of which a sample of a slow suite ran: learnt from by their weights, never judged."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from test_replay_judge import TESTS, evidence, trial

from foretest.features.catalogue import FEATURES
from foretest.features.frame import FeatureFrame
from foretest.lab.labels import sample_tests
from foretest.replay.judge import SAMPLED, Setting, moments
from foretest.training.crossfit import calibration_of
from foretest.training.examples import Example, examples_of, sample

RAN = {TESTS[0]: 1.0, TESTS[6]: 1.0, TESTS[3]: 0.05}


def test_a_judge_passes_them_over_and_a_learner_sees_the_tests_that_ran():
    whole, later = trial("a", 6, time=1.0), trial("c", 6, time=3.0)
    part = replace(trial("b", 3, 6, time=2.0), broken=SAMPLED, ran=RAN)
    apart = Counter()
    judged = [t.case_id for t, *_ in moments([whole, part, later], evidence(), Setting(), apart)]
    assert (judged, apart) == (["a", "c"], {SAMPLED: 1})

    _, learnt, _ = examples_of([whole, part, later], evidence(), Setting(), "r")
    assert learnt.frame.size == 3
    assert learnt.failed.tolist() == [False, True, True]  # units 0, 3 and 6, in the store's order
    assert learnt.stands_for.tolist() == [1.0, pytest.approx(20.0), 1.0]


def test_nobodys_history_knows_of_failures_that_a_sample_met():
    part = replace(trial("b", 3, time=2.0), broken=SAMPLED, ran=RAN)
    seen = {
        t.case_id: moment.past
        for t, moment, _ in moments(
            [part, trial("c", 6, time=3.0)], evidence(), Setting(), Counter(), sampled=True
        )
    }
    assert not seen["c"].failures.any()


def test_sums_over_samples_are_those_over_suites():
    n, rng = 400, np.random.default_rng(0)
    columns = {name: rng.random(n).astype(np.float32) for name in FEATURES}
    failed = rng.random(n) < 0.1
    tests = [f"t{i}" for i in range(n)]
    sums = []
    for seed in range(300):
        ran = sample_tests(tests[:20], tests, 0.2, seed)
        rows = np.array([i for i, name in enumerate(tests) if name in ran])
        part = Example(
            "r", "c", "x", FeatureFrame(n, columns).take(rows), failed[rows],
            inclusion=np.array([ran[tests[i]] for i in rows]),
        )  # fmt: skip
        drawn = sample(part, columns["bm25"][rows], rng, 10, 10)
        bad = part.failed[drawn.rows]
        sums.append((drawn.weights[bad].sum(), drawn.weights[~bad].sum()))
    found = np.mean(sums, axis=0)
    assert found == pytest.approx([failed.sum(), n - failed.sum()], rel=0.05)


def test_a_test_that_stands_for_ten_counts_as_ten_in_calibrating():
    rng = np.random.default_rng(1)
    raw = rng.random(300)
    failed = (rng.random(300) < raw).astype(float)
    weights = np.where(rng.random(300) < 0.5, 1.0, 10.0)
    repeated = np.repeat(np.arange(300), weights.astype(int))
    weighed = calibration_of(raw, failed, weights)
    plain = calibration_of(raw[repeated], failed[repeated])
    assert weighed is not None
    assert plain is not None
    assert weighed.x == pytest.approx(plain.x)
    assert weighed.y == pytest.approx(plain.y)
