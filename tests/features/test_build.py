"""Features of known evidence, by hand-made figures."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from foretest.evidence.store import EvidenceStore, empty
from foretest.features.build import build, rarity
from foretest.features.catalogue import CATALOGUE, FEATURES
from foretest.features.frame import FeatureFrame
from foretest.features.paths import path_similarity
from foretest.features.query import FileFacts, Query
from foretest.records import Change, FileStatus, Symbol

PARSE, NESTED, LOOKUP, DRAW, SLOW, UNMEASURED, FAR = range(7)


def query(*symbols: str, names: tuple[str, ...] = (), **words: float) -> Query:
    found = [Symbol.parse(s) for s in symbols]
    files = dict.fromkeys(s.file for s in found)
    facts = [
        FileFacts(file, touched=tuple(s for s in found if s.file == file), names_set=names)
        for file in files
    ]
    return Query(tuple(facts), words, {})


def test_every_feature_is_built_and_no_other(store: EvidenceStore, now: float) -> None:
    frame = build(query("src/app/parser.py::shared", parse=1), store, now)
    assert list(frame.columns) == [feature.name for feature in CATALOGUE]
    assert len(FEATURES) == len(CATALOGUE)


def test_bounded_features_stay_in_bounds(store: EvidenceStore, now: float) -> None:
    asked = query("src/app/parser.py::Parser.parse", "src/app/table.py::lookup", parse=3, query=1)
    frame = build(asked, store, now)
    unbounded = ("days_since_failure", "runs", "seconds", "test_words", "coverage_age")
    for name, column in frame.columns.items():
        if name not in unbounded and not name.startswith("change_"):
            known = column[~np.isnan(column)]
            assert ((known >= 0) & (known <= 1)).all(), name


def test_coverage_share_weighs_by_rarity(store: EvidenceStore, now: float) -> None:
    frame = build(query("src/app/parser.py::Parser.parse", "src/app/parser.py::shared"), store, now)
    share = frame["coverage_share"]
    parse, shared = rarity(np.array([2, 6]), 6)
    assert share[PARSE] == pytest.approx(1.0)
    assert share[FAR] == pytest.approx(1e-3 / (parse + 1e-3), rel=1e-4)
    assert shared == 0  # every test with coverage enters it
    assert frame["coverage_rarity"][PARSE] == pytest.approx(parse)
    assert frame["coverage_focus"][PARSE] == pytest.approx(1 / 2 + 1 / 6)


def test_unknown_coverage_is_missing_and_never_zero(store: EvidenceStore, now: float) -> None:
    frame = build(query("src/app/parser.py::Parser.parse"), store, now)
    for name in ("coverage_share", "coverage_rarity", "file_coverage_share", "breadth"):
        assert math.isnan(frame[name][UNMEASURED]), name
    assert frame["coverage_share"][DRAW] == 0


def test_module_level_alone_leaves_coverage_missing(store: EvidenceStore, now: float) -> None:
    asked = query("src/app/table.py::<module>", names=("KEYWORDS",))
    frame = build(asked, store, now)
    assert np.isnan(frame["coverage_share"]).all()
    assert frame["propagated_share"][LOOKUP] > 0
    assert frame["propagated_share"][DRAW] == 0


def test_old_coverage_proves_only_what_it_shows(store: EvidenceStore, now: float) -> None:
    asked = query("src/app/parser.py::Parser.parse")
    frame = build(asked, store, now, ages=[300.0], stale_after=200)
    assert frame["coverage_share"][PARSE] == 1
    assert math.isnan(frame["coverage_share"][DRAW])
    assert frame["coverage_age"][PARSE] == 300
    assert math.isnan(frame["coverage_age"][UNMEASURED])


def test_what_no_test_enters_is_said(store: EvidenceStore, now: float) -> None:
    frame = build(query("src/app/parser.py::Parser.parse", "src/app/new.py::f"), store, now)
    assert frame["change_unseen"][0] == pytest.approx(0.5)
    assert frame["coverage_share"][PARSE] == 1  # what nothing enters is held against nobody


def test_text_ranks_shared_words(store: EvidenceStore, now: float) -> None:
    bm25 = build(query("src/app/draw.py::draw", circle=1), store, now)["bm25"]
    assert bm25.argmax() == DRAW
    assert bm25[SLOW] > 0 == bm25[PARSE]
    assert np.isnan(build(Query(), store, now)["bm25"]).all()


def test_nothing_after_now_is_seen(store: EvidenceStore, now: float) -> None:
    later = build(Query(), store, now)
    earlier = build(Query(), store, now - 200 * 86_400)
    assert later["days_since_failure"][DRAW] == pytest.approx(100)
    assert later["fail_rate"][DRAW] == pytest.approx(0.5 * 0.5 ** (100 / 30))
    assert math.isnan(earlier["days_since_failure"][DRAW])
    assert earlier["fail_rate"][DRAW] == 0


def test_a_test_without_runs_has_no_rate(store: EvidenceStore, now: float) -> None:
    fresh = dataclasses.replace(store, runs=np.zeros(7), failures=np.zeros(7))
    assert np.isnan(build(Query(), fresh, now)["fail_rate"]).all()


def test_links_need_a_linked_file(store: EvidenceStore, now: float) -> None:
    frame = build(query("src/app/parser.py::shared"), store, now)
    assert frame["import_depth"][[PARSE, UNMEASURED, FAR]].tolist() == [1, 0.5, 0]
    assert np.isnan(frame["cochange"]).all()
    native = build(Query((FileFacts("ext/fast.c"),)), store, now)
    assert native["cochange"][SLOW] == 0.5


def test_only_names_the_columns(store: EvidenceStore, now: float) -> None:
    asked = query("src/app/parser.py::Parser.parse", parse=1)
    frame = build(asked, store, now, only={"bm25", "coverage_share"})
    whole = build(asked, store, now)
    assert set(frame.columns) == {"bm25", "coverage_share"}
    assert all(np.array_equal(c, whole[n], equal_nan=True) for n, c in frame.columns.items())


def test_an_empty_store_and_an_empty_change(store: EvidenceStore, now: float) -> None:
    assert build(query("src/app/parser.py::shared"), empty("r"), now).size == 0
    assert build(Change("r", "a", None, ()), store, now).size == 7


def test_many_files_are_looked_at_in_parts(
    store: EvidenceStore, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = query("src/app/parser.py::shared", "src/app/table.py::lookup", "src/app/draw.py::draw")
    whole = build(asked, store, now)["file_coverage_share"]
    monkeypatch.setattr("foretest.features.build.CHUNK", 1)
    parts = build(asked, store, now)["file_coverage_share"]
    np.testing.assert_allclose(parts, whole)
    assert whole[LOOKUP] > whole[FAR]


def test_renamed_files_are_found_under_their_old_names(store: EvidenceStore, now: float) -> None:
    facts = FileFacts("src/app/grammar.py", FileStatus.RENAMED, "src/app/parser.py")
    assert build(Query((facts,)), store, now)["import_depth"][PARSE] == 1


def test_paths_resemble_by_name_and_folder() -> None:
    tests = ("tests/parsers/test_left.py::test_a", "tests/test_draw.py::test_b")
    near, far = path_similarity(tests, ["src/app/parsers/left.py"])
    assert near > 0.7 > far
    assert np.isnan(path_similarity(tests, [])).all()


def test_a_frame_takes_rows_and_refuses_other_shapes(store: EvidenceStore, now: float) -> None:
    frame = build(Query(), store, now).take(np.array([3, 0]))
    assert frame["seconds"].tolist() == pytest.approx([5.0, 0.1])
    with pytest.raises(ValueError, match="bm25"):
        FeatureFrame(2, {"bm25": np.zeros(3, np.float32)})
