"""Own calibration from tried changes, and what the command line and pytest do with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from foretest import bundle as bundles
from foretest.config import load_config
from foretest.features.build import build
from foretest.lab.labels import Case, CaseFile
from foretest.learning import SPENT
from foretest.models.formula import Formula
from foretest.records import Basis, FileStatus, Source, Symbol
from foretest.replay import strategies
from foretest.replay.cases import trials_of
from foretest.selection import promise as promises
from foretest.selection.policy import Freshness, Rules
from foretest.selection.promise import ALWAYS, KEY, Calibration, decisive, identity
from foretest.training import champion
from foretest.training.calibrate import (
    calibrate,
    caught,
    faulty,
    grouped,
    moments_of,
    scores_of,
)
from small_project import UNITS, Project

TAX = ("tests/test_prices.py::test_tax", "tests/test_prices.py::test_gross")


def case(project: Project, n: int, failed: Sequence[str] = TAX, **more: object) -> Case:
    """A change of `tax` that these tests noticed, as the lab keeps it."""
    path = "src/shop/prices.py"
    file = CaseFile(path, FileStatus.MODIFIED, touched=(Symbol(path, "tax"),))
    facts = Case(
        case_id=f"case{n}-{len(failed)}",
        repository="r",
        source=Source.UNDONE,
        commit=project.git("rev-parse", "HEAD"),
        files=(file,),
        undone_commit=f"{n:040x}",
        author_time=1_600_000_000 + 86_400 * n,
        removed={"amount": 1, "rates": 1},
        failed=tuple(failed),
    )
    return replace(facts, **more)  # type: ignore[arg-type]


def keep(project: Project, cases: Sequence[Case]) -> None:
    path = project.state / "lab" / "cases.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(each.to_line() for each in cases))


def own(project: Project, n: int, score: float) -> None:
    """Puts a calibration of n commits into the bundle, as if it had been measured."""
    groups = {f"c{i}": (((score, 0.0),),) for i in range(n)}
    put(project, Calibration(Basis.OWN, groups, identity(Formula()), usual(project)).to_json())


def usual(project: Project) -> dict[str, object]:
    return decisive(Rules.of(load_config(project.root)))


def put(project: Project, calibration: object) -> None:
    bundle = bundles.read(project.bundle)
    bundles.write(project.bundle, replace(bundle, thresholds={KEY: calibration}))


@pytest.fixture(autouse=True)
def _nothing_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package brings grows over time; these tests are about one repository."""
    monkeypatch.setattr(promises, "pooled", lambda: None)


# --- calibrating ---


def test_commits_are_the_groups_and_the_latest_are_kept_for_the_report(project: Project) -> None:
    hunks = [case(project, 3, TAX[:1])]
    keep(project, [*(case(project, n) for n in range(20)), *hunks])
    calibrated = calibrate(load_config(project.root))
    assert calibrated.calibration.basis is Basis.OWN
    assert list(calibrated.calibration.groups) == [f"{n:040x}" for n in range(15)]
    assert [len(s) for s in calibrated.calibration.groups.values()].count(2) == 1
    bundle = bundles.read(project.bundle)
    assert Calibration.from_json(bundle.thresholds[KEY]) == calibrated.calibration
    assert bundle.lineage["promise: calibrated on"] == "15 faulty commits"
    assert bundle.lineage["promise: 90 %"] == "100 % caught of 5 later commits"
    assert "promise: 95 %" not in bundle.lineage
    assert "up to 90 %, calibrated on 15 faulty commits" in calibrated.sentence()


def test_nothing_is_calibrated_on_what_is_spent_on_fitting(project: Project) -> None:
    keep(project, [case(project, n) for n in range(20)])
    bundle = bundles.read(project.bundle)
    spent = [f"{n:040x}" for n in (*range(9), 18)]
    bundles.write(project.bundle, replace(bundle, lineage={**bundle.lineage, SPENT: spent}))
    made = calibrate(load_config(project.root)).calibration
    assert list(made.groups) == [f"{n:040x}" for n in range(9, 17)]
    assert made.lineage["reported on"] == [f"{n:040x}" for n in (17, 19)]
    project.write("notes.txt", "later\n", commit="Later")
    project.foretest("learn").check()
    assert bundles.read(project.bundle).lineage[SPENT] == spent  # as long as the model serves


def test_what_a_choice_has_seen_is_spent_for_good(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = champion.Crowned(Formula(), champion.FORMULA, compared={"another": None})  # type: ignore[dict-item]
    monkeypatch.setattr(champion, "choose", lambda *_: compared)
    keep(project, [case(project, n) for n in range(20)])
    config = load_config(project.root)
    champion.crown(config)
    first = [f"{n:040x}" for n in range(8)]
    assert bundles.read(project.bundle).lineage[SPENT] == first
    assert not calibrate(config).calibration.groups.keys() & {*first}
    # A later call that compares nothing forgets none of them.
    monkeypatch.setattr(champion, "choose", lambda *_: replace(compared, compared=None))
    champion.crown(config)
    assert bundles.read(project.bundle).lineage[SPENT] == first


@pytest.mark.parametrize("commit", [0, 18])  # calibrated on; reported on
def test_a_kept_calibration_goes_once_the_model_was_chosen_on_its_commits(
    project: Project, commit: int
) -> None:
    keep(project, [case(project, n) for n in range(20)])
    config = load_config(project.root)
    assert calibrate(config).calibration.size == 15
    bundle = bundles.read(project.bundle)
    lineage = {**bundle.lineage, SPENT: [f"{commit:040x}"]}
    bundles.write(project.bundle, replace(bundle, lineage=lineage))
    keep(project, [])
    assert calibrate(config).calibration.size == 0
    assert KEY not in bundles.read(project.bundle).thresholds


def test_a_calibration_made_under_other_rules_goes(project: Project) -> None:
    keep(project, [case(project, n) for n in range(40)])
    config = load_config(project.root)
    broad = replace(config, must_run=("*",))
    made = calibrate(broad).calibration
    assert made.size == 30
    assert {c for cases in made.groups.values() for c in cases} == {((ALWAYS, 0.0),)}
    project.break_tax()
    asked = project.foretest("select", "--confidence", "95%").check()
    assert len(asked.units) == UNITS
    assert "made under other rules" in asked.err
    keep(project, [case(project, n) for n in range(12)])
    again = calibrate(config).calibration
    assert again.size == 9
    assert {c for cases in again.groups.values() for c in cases} != {((ALWAYS, 0.0),)}


@pytest.mark.parametrize(
    "lineage",
    [
        {},
        {"commit": "no commit"},
        {"report": "text"},
        {"report": ["a"]},
        {"report": {"promise: 90 %": 3}},
        {"reported on": None},
        {"commit": "\0"},
    ],
)
def test_a_kept_calibration_with_a_damaged_lineage_makes_way(
    project: Project, lineage: dict[str, object]
) -> None:
    keep(project, [case(project, n) for n in range(40)])
    config = load_config(project.root)
    whole = calibrate(config).calibration
    put(project, {**whole.to_json(), "lineage": {**whole.lineage, **lineage} if lineage else {}})
    keep(project, [case(project, n) for n in range(4)])
    assert calibrate(config).calibration.size == 3


def test_cases_are_judged_as_in_everyday_use(project: Project) -> None:
    """Tests that ran and never failed: a model may tell them from those that never ran."""
    store = bundles.read(project.bundle).store
    trials = faulty(trials_of([case(project, 0)], store.commit), store)
    (_, moment), *_ = moments_of(trials, store, Formula(), Freshness())
    rates = build(moment.query, moment.store, moment.now, only=("fail_rate",))["fail_rate"]
    assert rates.tolist() == [0.0] * len(store.tests)


def test_faults_foreign_commits_and_broken_cases_do_not_count(project: Project) -> None:
    strange = [
        case(project, 0, source=Source.FAULT),
        case(project, 1, commit="f" * 40),
        case(project, 2, broken="collection"),
        case(project, 3, failed=()),
        case(project, 4, failed=("tests/test_gone.py::test_gone",)),
        case(project, 5, ran={TAX[0]: 1.0}),
    ]
    keep(project, strange)
    before = project.bundle.read_bytes()
    calibrated = calibrate(load_config(project.root))
    assert calibrated.calibration.size == 0
    assert calibrated.sentence() == ""
    assert project.bundle.read_bytes() == before


def test_scores_are_those_of_the_product(project: Project) -> None:
    store = bundles.read(project.bundle).store
    trials = faulty(trials_of([case(project, 0), case(project, 1, TAX[1:])], store.commit), store)
    scored = scores_of(trials, store, Formula(), Freshness())
    project.break_tax()
    chosen = json.loads(project.foretest("select", "--all", "--format", "json").check().out)
    shown = {choice["test"]: choice["score"] for choice in chosen["chosen"]}
    assert [group for group, _ in scored] == [f"{0:040x}", f"{1:040x}"]
    best = max(shown[test] for test in TAX)
    assert scored[0][1][0][0] == pytest.approx(best, rel=0.05)  # the change itself differs a bit
    moments = moments_of(trials, store, Formula(), Freshness())
    decided = {c.test: c.score for c in strategies.decided([*moments][1][1]).chosen}
    assert scored[1][1][0][0] == decided[TAX[1]]
    assert 0 < scored[0][1][0][1] < 1


def test_what_rules_run_is_always_caught(project: Project) -> None:
    store = bundles.read(project.bundle).store
    data = CaseFile("data/rates.json", FileStatus.MODIFIED)
    widened = case(project, 0, files=(data,))
    trials = faulty(trials_of([widened], store.commit), store)
    assert scores_of(trials, store, Formula(), Freshness()) == [(f"{0:040x}", ((ALWAYS, 0.0),))]


def test_the_larger_calibration_stays_until_it_is_too_old(project: Project) -> None:
    config = load_config(project.root)
    keep(project, [case(project, n) for n in range(40)])
    first = calibrate(config).calibration
    assert first.size == 30
    project.write("notes.txt", "later\n", commit="Later")
    done = project.foretest("learn").check()  # no case was tried at this commit
    assert "Promise: up to 95 %, calibrated on 30 faulty commits." in done.out
    assert "100 % caught of 10 later commits" in project.foretest("stats").check().out
    assert Calibration.from_json(bundles.read(project.bundle).thresholds[KEY]) == first
    old = calibrate(replace(config, max_coverage_age=0)).calibration
    assert old.size == 0
    assert KEY not in bundles.read(project.bundle).thresholds


def test_groups_weigh_alike_whatever_their_size() -> None:
    low, middle, high = (((score, 0.0),) for score in (0.1, 0.3, 0.9))
    groups = grouped([("a", low), ("a", middle), ("b", high)])
    assert groups == {"a": (low, middle), "b": (high,)}
    assert caught(groups, 0.2) == pytest.approx(0.75)
    assert caught(groups, None) == 1.0


# --- the command line ---


def test_confidence_decides_the_set(project: Project) -> None:
    own(project, 19, 0.2)
    project.break_tax()
    done = project.foretest("select", "--confidence", "95%", "--format", "json").check()
    selection = json.loads(done.out)
    assert {c["test"] for c in selection["chosen"]} >= set(TAX)
    assert all(c["score"] >= 0.2 for c in selection["chosen"] if c["why"] == "score")
    assert all(c["score"] < 0.2 for c in selection["rest"])
    assert selection["promise"]["made"] == 0.95
    assert "promise: 95 % of faulty changes are caught; calibrated on 19" in done.err
    told = project.foretest("explain", "test_tax").check().out
    assert "past changes, taken back" in told
    assert "promise: 95 %" in project.foretest("summary").check().out.lower()


def test_too_few_cases_run_everything_and_say_how_many(project: Project) -> None:
    own(project, 18, 0.2)
    project.break_tax()
    done = project.foretest("select", "--confidence", "95%").check()
    assert len(done.units) == UNITS
    assert "takes 19 faulty commits" in done.err
    assert "18 faulty commits here" in done.err
    assert "nothing is left out" in done.err


def test_a_budget_cuts_and_the_lower_promise_is_printed(project: Project) -> None:
    own(project, 19, 0.001)
    project.break_tax()
    whole = project.foretest("select", "--confidence", "95%").check()
    done = project.foretest("select", "--confidence", "95%", "--target", "20%").check()
    assert 0 < len(done.units) < len(whole.units)
    # Every known case is reached at once; one of 19 that chose the threshold does not count.
    assert "promise: 95 % of faulty changes are caught" in done.err
    late = {f"c{i}": (((0.001, 0.3),),) for i in range(19)}
    put(project, Calibration(Basis.OWN, late, identity(Formula()), usual(project)).to_json())
    none = project.foretest("select", "--confidence", "95%", "--target", "20%").check()
    assert "no promise (95 % asked): of the faulty changes known, too few" in none.err
    empty = project.foretest("select", "--confidence", "95%", "--target", "0%").check()
    assert not empty.units
    assert "no promise (95 % asked)" in empty.err


def test_a_budget_beside_a_promise_does_not_follow_the_change(project: Project) -> None:
    own(project, 19, 0.2)
    project.break_tax()
    asked = ("select", "--target", "20%", "--adapt", "--format", "json")
    follows, stays = (
        json.loads(project.foretest(*asked, *more).check().out)["budget"]["share"]
        for more in ((), ("--confidence", "95%"))
    )
    assert follows != 0.2
    assert stays == 0.2


def test_another_models_calibration_is_refused(project: Project) -> None:
    groups = {f"c{i}": (((0.2, 0.0),),) for i in range(50)}
    put(project, Calibration(Basis.OWN, groups, "formula:0000", usual(project)).to_json())
    project.break_tax()
    done = project.foretest("select", "--confidence", "95%").check()
    assert len(done.units) == UNITS
    assert "known: no calibration" in done.err


def test_a_damaged_calibration_runs_everything_only_if_it_is_needed(project: Project) -> None:
    put(project, {"groups": "x"})
    project.break_tax()
    done = project.foretest("select", "--confidence", "95%").check()
    assert "calibration of the promise cannot be read" in done.err
    assert "foretest learn" in done.err
    assert done.units == ["tests"]
    assert len(project.foretest("select").check().units) < UNITS


def test_without_confidence_nothing_changes(project: Project) -> None:
    project.break_tax()
    before = json.loads(project.foretest("select", "--format", "json").check().out)
    own(project, 30, 0.01)
    after = json.loads(project.foretest("select", "--format", "json").check().out)
    assert after["promise"] is None
    assert after["chosen"] == before["chosen"]


def test_the_setting_is_overruled_by_the_command(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(project, 19, 0.2)
    project.break_tax()
    monkeypatch.setenv("FORETEST_CONFIDENCE", "0.95")
    assert "promise: 95 %" in project.foretest("select").check().err
    assert "promise" not in project.foretest("select", "--confidence", "0").check().err
    assert "promise" not in project.foretest("select", "--all").check().err
    assert "promise: 90 %" in project.foretest("select", "--confidence", "90%").check().err
    monkeypatch.setenv("FORETEST_CONFIDENCE", "1.5")
    assert "confidence" in project.foretest("select").check().err


def test_shards_keep_it_together(project: Project) -> None:
    own(project, 19, 0.2)
    project.break_tax()
    whole = project.foretest("select", "--confidence", "95%").check()
    parts = [
        project.foretest("select", "--confidence", "95%", "--bin", f"{i}/2").check() for i in (1, 2)
    ]
    assert sorted(parts[0].units + parts[1].units) == sorted(whole.units)
    assert all("promise, all shards together: 95 %" in part.err for part in parts)


@pytest.mark.parametrize("text", ["nonsense", "120%", "-5%"])
def test_what_is_no_share_is_refused(project: Project, text: str) -> None:
    assert "is not a share" in project.foretest("select", "--confidence", text).check(2).err


# --- pytest ---


def test_pytest_runs_what_the_promise_needs(project: Project) -> None:
    own(project, 19, 0.2)
    project.break_tax()
    ran = project.pytest("-v", "--foretest", "--foretest-confidence=95%").check(1)
    assert "foretest: promise: 95 % of faulty changes are caught" in ran.out
    assert "test_tax" in ran.out
    assert "deselected" in ran.out


def test_pytest_refuses_to_promise_for_a_selection_made_before(
    project: Project, tmp_path: Path
) -> None:
    own(project, 19, 0.2)
    project.break_tax()
    made = tmp_path / "made.json"
    made.write_text(
        project.foretest("select", "--confidence", "95%", "--format", "json").check().out
    )
    ran = project.pytest("-v", f"--foretest-selection={made}").check(1)
    assert "foretest: promise: 95 % of faulty changes are caught" in ran.out
    refused = project.pytest(
        "-v", f"--foretest-selection={made}", "--foretest-confidence=99%"
    ).check(1)
    assert "--foretest-confidence cannot change a selection that was made before" in refused.out
