"""Features over repositories: as training builds them, the same on Ray and in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from foretest.cli.main import main
from foretest.errors import BadStore
from foretest.features.catalogue import FEATURES
from foretest.history.shelf import Shelf
from foretest.platform import featuring
from foretest.platform.corpus.facts import LAGGED, lessons_of
from foretest.platform.featuring import SCHEMA, TABLE, build_features, edition_of, read_features
from foretest.replay.judge import Setting
from foretest.training.examples import examples_of

NAMES = ("h11", "pyjwt")


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept facts of two small repositories."""
    kept = Path(__file__).parents[2] / "proof" / "cases"
    folder = tmp_path_factory.mktemp("facts")
    for path in (path for name in NAMES for path in kept.glob(f"{name}.*")):
        (folder / path.name).write_bytes(path.read_bytes())
    if not any(folder.iterdir()):
        pytest.skip("LEFT OUT: the kept facts under proof/cases are not here")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _one_code() -> Iterator[None]:
    """Rows are compared within one edition, and somebody may be editing the code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(featuring, "code_version", lambda: "code")
        yield


@pytest.fixture(scope="module")
def built(facts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features")
    build_features(facts, out, cluster=False)
    return out


def table(out: Path, facts: Path) -> pl.DataFrame:
    rows = Shelf(out).read(TABLE, SCHEMA, edition_of(facts)).collect()
    return rows.select(*SCHEMA).sort("repository", "coverage", "change", "row")


def test_rows_are_what_training_sees(facts: Path, built: Path) -> None:
    lesson, age = next(lessons_of(facts, ["pyjwt"], LAGGED))
    wanted = list(examples_of(lesson.trials, lesson.store, Setting(freshness=age), "pyjwt"))
    found = list(read_features(built, edition_of(facts), "pyjwt", LAGGED))
    assert len(found) == len(wanted) > 10
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.case_id, ours.commit) == (theirs.case_id, theirs.commit)
        assert ours.failed.tolist() == theirs.failed.tolist()
        for name in FEATURES:
            assert ours.frame[name].tobytes() == theirs.frame[name].tobytes(), name
    tests = table(built, facts).filter(pl.col("repository") == "pyjwt")["test"]
    assert set(tests) == set(lesson.store.tests)


def test_a_table_that_has_them_is_not_built_again(facts: Path, built: Path) -> None:
    before = Shelf(built).version(TABLE)
    again = build_features(facts, built, cluster=False)
    assert (again.rows, again.changes, again.version) == (0, 0, before)


def test_a_repository_without_facts_is_named(
    facts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--facts", str(facts), "--out", str(tmp_path / "out"), "--names", "nosuch", "--here"]
    assert main(["platform", "features", *options]) == 2
    assert "No facts of nosuch" in capsys.readouterr().err


def test_other_facts_are_another_edition(facts: Path, tmp_path: Path) -> None:
    (tmp_path / "h11.jsonl.gz").write_bytes((facts / "h11.jsonl.gz").read_bytes())
    assert edition_of(tmp_path) != edition_of(facts)
    with pytest.raises(BadStore, match="no facts"):
        build_features(tmp_path / "none", tmp_path / "out", cluster=False)


@pytest.mark.filterwarnings("ignore")  # Ray's own code and sockets
def test_a_cluster_builds_the_same_rows(facts: Path, built: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'foretest[platform]'")
    told: list[str] = []
    result = build_features(facts, tmp_path, told=lambda part, rows: told.append(part.name))
    assert sorted(set(told)) == sorted(NAMES)
    assert len(told) == 4
    whole = table(built, facts)
    assert result.rows == whole.height
    assert table(tmp_path, facts).equals(whole)
