"""Re-training: what is newer, who may win, and what the command says; champion and challenger."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from small_corpus import BEGIN, DAY, SMALL, corpus, write

from foretest.cli.main import main
from foretest.errors import BadConfiguration
from foretest.models.formula import Formula
from foretest.models.ranker import Ranker
from foretest.platform.corpus.facts import names_in
from foretest.platform.gate.exam import Candidate
from foretest.platform.gate.promise import cases_of
from foretest.platform.gate.verdict import Check, Verdict
from foretest.platform.tracking.runs import open_tracker
from foretest.platform.training import retraining, trained
from foretest.platform.training.release import BUNDLE, champion_of, read, written
from foretest.platform.training.retraining import later_than, retrain, until_of
from foretest.platform.training.trained import UNTIL, lessons, train
from foretest.replay.intervals import Interval
from foretest.training.continuing import continued
from foretest.training.fit import Recipe

# Its OpenMP runtime is a part of the system that slim images lack.
pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))

QUICK = Recipe(rounds=5, least=5, hard=10, easy=10)
HALF = BEGIN + 3.5 * 30 * DAY
"""Four of eight changes are earlier."""


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    return write(tmp_path_factory.mktemp("facts"), repositories=3, changes=8)


@pytest.fixture(scope="module")
def champion(facts):
    early = lessons(facts, names_in(facts), lambda _, trial: trial.time < HALF)
    return train(early, QUICK).candidate


def test_a_champion_says_until_when_it_knows(champion):
    assert until_of(champion.model) == {SMALL.format(n): BEGIN + 3 * 30 * DAY for n in range(3)}
    assert until_of(Formula()) == {}


def test_newer_is_what_comes_after_and_the_window_comes_last(champion):
    taught = corpus(3, 8)
    later = later_than(until_of(champion.model), taught)
    assert later.size == 12
    for lesson, _ in taught:
        when = {trial.case_id: trial.time for trial in lesson.trials}
        fit = [when[case] for case in later.fit[lesson.repository]]
        window = [when[case] for case in later.window[lesson.repository]]
        assert len(fit) == len(window) == 2
        assert HALF < min(fit) <= max(fit) < min(window)


def test_a_challenger_goes_on_from_the_champion_and_saw_nothing_of_the_window(facts, champion):
    done = retrain(facts, names_in(facts), champion, recipe=QUICK)
    model = done.challenger.candidate.model
    assert isinstance(model, Ranker)
    assert len(model.trees.trees) > len(champion.model.trees.trees)
    judged = {t.case_id for lesson, _ in done.window for t in lesson.trials}
    fitted = {e.case_id for part in done.challenger.pool.real.values() for e in part}
    assert len(judged) == 6
    assert judged.isdisjoint(fitted)
    first = min(t.time for lesson, _ in done.window for t in lesson.trials)
    assert max(model.lineage[UNTIL].values()) < first
    assert {each["name"] for each in model.lineage["repositories"]} == {*names_in(facts)}
    # All catch everything here: a tie keeps the champion.
    assert not done.won
    assert done.sentence.startswith("The champion stays. On 6 later faulty changes")


def test_what_a_warm_start_calibrates_on_was_never_seen(facts, champion, monkeypatch):
    began = []

    def recorded(ranker, examples, recipe):
        began.append((ranker, {e.repository for e in examples}))
        return continued(ranker, examples, recipe)

    monkeypatch.setattr(trained, "continued", recorded)
    names = names_in(facts)
    made = train(lessons(facts, names), QUICK, start=champion, stand_ins=False)
    (whole, all_of_them), *folds = began
    assert (whole, all_of_them) == (champion.model, {*names})
    held = {name: start for start, known in folds for name in {*names} - known}
    assert held == dict(champion.stand_ins)
    assert made.candidate.model.calibration != champion.model.calibration
    # Without stand-ins nothing is left that can be held out: what was known of scores stays.
    alone = replace(champion, stand_ins={})
    kept = train(lessons(facts, names), QUICK, start=alone, stand_ins=False).candidate.model
    assert kept.calibration == champion.model.calibration


def test_a_pooled_promise_is_of_who_never_saw_the_repository(champion):
    later = replace(champion, in_time=True)
    name = SMALL.format(0)
    assert later.judged_by(name) == champion.model
    assert later.without(name) == champion.stand_ins[name]
    assert not cases_of(replace(later, stand_ins={}), corpus(3))


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_challenger_that_lost_is_known_by_its_run(facts, tmp_path, champion, capsys):
    mlflow = pytest.importorskip(
        "mlflow", reason="MLflow is not installed: pip install 'foretest[platform]'"
    )
    verdict = Verdict("ranker", "formula", (Check("a", True, "-", "-"),), 1, 1)
    written(champion, verdict, (), tmp_path / "serving")
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    options = ["--facts", str(facts), "--tracking", address, "--out", str(tmp_path / "out")]
    assert main(["platform", "retrain", *options, "--champion", str(tmp_path / "serving")]) == 0
    sentence = capsys.readouterr().out.strip()
    assert sentence.startswith("The champion stays.")
    client = mlflow.MlflowClient(address)
    experiment = client.get_experiment_by_name("retraining").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert run.data.tags["outcome"] == sentence
    assert "window/champion first failure" in run.data.metrics


def test_a_fresh_challenger_is_fitted_on_all_before_the_window(facts, champion):
    done = retrain(facts, names_in(facts), champion, recipe=QUICK, warm=False)
    fitted = {e.case_id for part in done.challenger.pool.real.values() for e in part}
    assert len(fitted) == 18


def test_nothing_newer_is_said_and_no_fault(facts, tmp_path, champion, capsys):
    whole = train(lessons(facts, names_in(facts)), QUICK).candidate
    verdict = Verdict("ranker", "formula", (Check("a", True, "-", "-"),), 1, 1)
    written(whole, verdict, (), tmp_path / "serving")
    options = ["--facts", str(facts), "--champion", str(tmp_path / "serving")]
    assert main(["platform", "retrain", *options]) == 0
    assert capsys.readouterr().out == (
        "Nothing to do: 0 faulty commits are newer than the champion's data, 8 are needed.\n"
    )


def better(comparison):
    """The same comparison, surely won."""
    first = replace(
        comparison.first, ours=0.01, theirs=0.5, difference=Interval(-0.5, -0.5, -0.5), p=0.001
    )
    return replace(comparison, first=first)


def test_a_challenger_that_wins_passes_the_gate_before_it_serves(
    facts, tmp_path, champion, monkeypatch, capsys
):
    compare = retraining.compare_verdicts
    monkeypatch.setattr(retraining, "compare_verdicts", lambda *given: better(compare(*given)))
    verdict = Verdict("ranker", "formula", (Check("a", True, "-", "-"),), 1, 1)
    written(champion, verdict, (), tmp_path / "serving")
    options = [
        *("--facts", str(facts), "--champion", str(tmp_path / "serving")),
        *("--out", str(tmp_path / "out"), "--registry", str(tmp_path / "registry")),
    ]
    status = main(["platform", "retrain", *options])
    told = capsys.readouterr().out
    assert told.startswith("The challenger wins.")
    card = (tmp_path / "out" / "card.md").read_text()
    assert "later ones than all that it was fitted on" in card
    assert "none of which the scoring model saw" not in card
    gate = json.loads((tmp_path / "out" / "gate.json").read_text())
    # Six changes are too few for the promise or an interval: what is unknown stops a candidate.
    assert gate["changes"] == 6
    assert status == (0 if gate["passed"] else 1)
    assert (champion_of(open_tracker("", spool=tmp_path), tmp_path / "registry") is None) == (
        not gate["passed"]
    )
    assert read(tmp_path / "out" / BUNDLE).stand_ins.keys() == {*names_in(facts)}


def test_without_a_champion_the_formula_is_one(facts):
    done = retrain(facts, names_in(facts), Candidate(Formula()), recipe=QUICK)
    assert list(done.compared) == [("fresh fit", "champion")]


def test_a_repository_without_facts_is_named(facts):
    from foretest.cli.platform.train import named

    with pytest.raises(BadConfiguration, match="No facts of nowhere"):
        named(facts, f"{SMALL.format(0)},nowhere")
