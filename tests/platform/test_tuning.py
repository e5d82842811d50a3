"""Searches side by side: each spends what it was given, and its winner has a name of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_corpus import corpus

from foretest.cli.main import main
from foretest.platform.cluster import local_cluster
from foretest.platform.ranking.contenders import SHIPPED
from foretest.platform.ranking.objective import ROUNDS, STEP, Fold, folds_of
from foretest.platform.ranking.searching import found_by, winners
from foretest.platform.ranking.tuning import REPORTS, SEARCHES, Found, search
from foretest.replay.strategies import RANDOM
from foretest.training.pool import pool

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own code, and its sockets closed late


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'foretest[platform]'")
    pytest.importorskip("lightgbm", reason="LightGBM is not installed", exc_type=ImportError)
    with local_cluster(cpus=2) as started:
        yield started.address


@pytest.fixture(scope="module")
def folds() -> list[Fold]:
    lessons = pool(corpus(6))
    return folds_of(lessons.real, lessons.extra)


@pytest.mark.parametrize("name", SEARCHES)
def test_each_search_finds_what_is_no_worse_than_its_first_try(
    name: str, cluster: str, folds: list[Fold], tmp_path: Path
) -> None:
    found = search(name, folds, 3, tmp_path, address=cluster)
    assert 1 <= found.trials <= 3
    assert set(found.best) == {"rate", "leaves", "least", "ridge"}
    assert found.rounds in range(STEP, ROUNDS + 1, STEP)
    spent = [seconds for seconds, _ in found.curve]
    losses = [loss for _, loss in found.curve]
    assert spent == sorted(spent)
    assert losses == sorted(losses, reverse=True)
    assert (found.loss, found.cpu_seconds) == (losses[-1], spent[-1])
    assert len(found.curve) <= 3 * REPORTS
    assert found.by(spent[0]) == losses[0]
    assert found.by(0.0) == float("inf")


def test_a_search_ends_when_its_time_is_spent(
    cluster: str, folds: list[Fold], tmp_path: Path
) -> None:
    found = search("random", folds, 50, tmp_path, address=cluster, cpu_seconds=1e-6)
    # Its first report spends the time; what was under way at that moment may report once more.
    assert len(found.curve) < REPORTS
    assert found.trials <= 2


def test_winners_are_told_from_orders_of_the_same_name() -> None:
    lessons = pool(corpus(4))
    best = {"rate": 0.1, "leaves": 2.0, "least": 5.0, "ridge": 1.0}
    found = [Found(name, 0, 1, best, STEP, 0.1, 1.0, ((1.0, 0.1),)) for name in SEARCHES]
    named = winners(found, lessons.real, lessons.extra)
    assert {found_by(name) for name in SEARCHES} < set(named)
    assert RANDOM not in named


def test_the_verb_judges_on_other_repositories_and_reads_back_what_was_found(
    cluster: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Path(__file__).parents[2] / "proof" / "cases"
    if not kept.exists():
        pytest.skip("the kept facts are not here")
    facts, out = tmp_path / "facts", tmp_path / "out"
    facts.mkdir()
    for name in ("glom", "h11", "mako", "pyjwt"):
        for file in kept.glob(f"{name}.*"):
            shutil.copy(file, facts)
    words = ["platform", "tune", "--facts", str(facts), "--on", "glom,h11,pyjwt", "--trials", "2"]
    words += ["--minutes", "0.01", "--search", "random", "--out", str(out), "--address", cluster]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "Judged on 1 others: mako." in told
    assert f"{found_by('random')} against {SHIPPED}" in told

    def again(*_: object) -> Found:
        raise AssertionError("what was found is searched for again")

    monkeypatch.setattr("foretest.platform.ranking.searching.search", again)
    assert main(words) == 0
    assert capsys.readouterr().out == told
