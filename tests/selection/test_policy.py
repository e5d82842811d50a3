"""The always-run rules and the widening, rule by rule."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from foretest.config import Config
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore, empty
from foretest.features.query import FileFacts, Query
from foretest.records import FileStatus, Symbol, Why
from foretest.selection.policy import Freshness, Rules, Verdict, apply_rules
from foretest.selection.widening import BUILDS, INSTALLED, RUNNERS, matches

NEVER = ("*.md", "docs/**")


def verdict_of(store: EvidenceStore, now: float, *files: FileFacts, **more: Any) -> Verdict:
    rules = more.pop("rules", Rules(never_widen=NEVER))
    return apply_rules(Query(files), store, rules, now, **more)


def why(verdict: Verdict, store: EvidenceStore) -> dict[str, Why]:
    rows = np.flatnonzero(verdict.always).tolist()
    return {store.tests[row]: verdict.rules[int(verdict.rule_of[row])][0] for row in rows}


def facts(path: str, *touched: str, **more: Any) -> FileFacts:
    return FileFacts(path, touched=tuple(Symbol(path, name) for name in touched), **more)


def test_a_source_with_evidence_widens_nothing(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("src/app/parser.py", "shared"))
    assert not verdict.always.any()
    assert not verdict.run_all
    assert verdict.new == ()


def test_a_changed_body_runs(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("tests/test_parser.py", "TestDeep.test_nested"))
    assert why(verdict, store) == {"tests/test_parser.py::TestDeep::test_nested": Why.CHANGED}


def test_shared_test_code_runs_the_file(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("tests/test_parser.py", "<module>", "test_parse"))
    assert why(verdict, store) == {
        "tests/test_parser.py::test_parse": Why.CHANGED,
        "tests/test_parser.py::TestDeep::test_nested": Why.WIDENED,
    }
    assert "tests/test_parser.py" in verdict.notices[0]


def test_a_test_file_of_unknown_change_runs_whole(store: EvidenceStore, now: float) -> None:
    assert len(why(verdict_of(store, now, facts("tests/test_draw.py")), store)) == 2


def test_test_code_that_coverage_knows_widens_nothing(store: EvidenceStore, now: float) -> None:
    assert not verdict_of(store, now, facts("tests/support.py", "make")).always.any()
    unknown = verdict_of(store, now, facts("tests/support.py", "other"))
    assert len(why(unknown, store)) == 6  # all below tests/


def test_conftest_runs_what_lies_below(store: EvidenceStore, now: float) -> None:
    below = verdict_of(store, now, facts("tests/conftest.py", "fixture"))
    assert set(why(below, store).values()) == {Why.WIDENED}
    assert "other/test_far.py::test_far" not in why(below, store)
    assert len(why(below, store)) == 6
    assert verdict_of(store, now, facts("conftest.py")).run_all


def test_new_tests_are_found(store: EvidenceStore, now: float) -> None:
    added = facts("tests/test_fresh.py", "test_one", status=FileStatus.ADDED)
    unknown = facts("tests/test_blank.py", status=FileStatus.ADDED)
    grown = facts("tests/test_parser.py", "test_more")
    verdict = verdict_of(store, now, added, unknown, grown)
    assert verdict.new == (
        "tests/test_fresh.py::test_one",
        "tests/test_blank.py",
        "tests/test_parser.py::test_more",
    )


def test_the_tests_at_hand_decide_what_is_new_and_gone(store: EvidenceStore, now: float) -> None:
    units = [store.tests[0], "tests/test_x.py::test_x", "tests/test_x.py::test_x"]
    verdict = verdict_of(store, now, units=units)
    assert verdict.new == ("tests/test_x.py::test_x",)
    assert verdict.present.tolist() == [True, *[False] * 6]


def test_deleted_and_renamed_test_files_are_gone(store: EvidenceStore, now: float) -> None:
    deleted = facts("tests/test_draw.py", status=FileStatus.DELETED)
    moved = facts("tests/test_grid.py", status=FileStatus.RENAMED, old_path="tests/test_table.py")
    verdict = verdict_of(store, now, deleted, moved)
    gone = {store.tests[row] for row in np.flatnonzero(~verdict.present)}
    assert {unit.partition("::")[0] for unit in gone} == {
        "tests/test_draw.py",
        "tests/test_table.py",
    }
    assert verdict.new == ("tests/test_grid.py",)
    assert not verdict.run_all


def test_must_run_and_recent_failures(store: EvidenceStore, now: float) -> None:
    rules = Rules(must_run=("other/*", "*::test_lookup"), recent_days=120)
    verdict = verdict_of(store, now, rules=rules)
    assert why(verdict, store) == {
        "tests/test_table.py::test_lookup": Why.MUST_RUN,
        "other/test_far.py::test_far": Why.MUST_RUN,
        "tests/test_draw.py::test_draw": Why.RECENTLY_FAILED,
    }
    assert not verdict_of(store, now, rules=Rules(recent_days=14)).always.any()
    before = verdict_of(store, now - 200 * 86_400, rules=Rules(recent_days=120))
    assert not before.always.any()  # that failure has not happened yet


@pytest.mark.parametrize(
    "path",
    ["poetry.lock", "sub/requirements-dev.txt", "pyproject.toml", "package-lock.json", "tox.ini",
     ".github/workflows/ci.yml", "Dockerfile", "Makefile", "src/setup.cfg", "go.sum"],
)  # fmt: skip
def test_builds_and_dependencies_run_all(store: EvidenceStore, now: float, path: str) -> None:
    verdict = verdict_of(store, now, facts(path))
    assert path in verdict.run_all
    assert any(path in notice for notice in verdict.notices)
    quiet = verdict_of(store, now, facts(path), rules=Rules(never_widen=(path,)))
    assert not quiet.run_all


@pytest.mark.parametrize("path", ["README.md", "docs/guide/index.txt", "src/app/NOTES.md"])
def test_never_widen_is_obeyed(store: EvidenceStore, now: float, path: str) -> None:
    verdict = verdict_of(store, now, facts(path))
    assert not verdict.run_all
    assert not verdict.always.any()
    assert verdict.notices[0] == f"Taken as harmless, since never_widen names them: {path}."


def test_what_never_widen_waves_through_is_said_once(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, *(facts(f"docs/page{n}.txt") for n in range(5)))
    assert "docs/page0.txt, docs/page1.txt, docs/page2.txt and 2 more" in verdict.notices[0]
    assert not any("page" in notice for notice in verdict.notices[1:])


def test_never_widen_ends_at_test_folders(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("tests/cases/case.md"))
    assert len(why(verdict, store)) == 6  # all below tests/
    meant = Rules(never_widen=("tests/cases/*.md",))
    assert not verdict_of(store, now, facts("tests/cases/case.md"), rules=meant).always.any()


def test_never_widen_spares_tests_that_name_the_file(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("docs/schema.key"), facts("docs/schema.md"))
    assert why(verdict, store) == {"tests/test_table.py::test_lookup": Why.WIDENED}
    assert verdict.notices[0] == "1 test names docs/schema.key, which changed."
    assert verdict.notices[1].endswith(" docs/schema.md.")


def test_never_widen_spares_files_of_tests(store: EvidenceStore, now: float) -> None:
    prose = ("README.md::README.md", *store.tests[1:])
    known = dataclasses.replace(store, tests=prose)
    verdict = verdict_of(known, now, facts("README.md"))
    assert why(verdict, known) == {prose[0]: Why.CHANGED}
    assert not any("README.md" in notice for notice in verdict.notices)


@pytest.mark.parametrize("status", [FileStatus.SUBMODULE, FileStatus.UNMERGED, FileStatus.TYPE])
def test_statuses_that_hide_the_content_run_all(
    store: EvidenceStore, now: float, status: FileStatus
) -> None:
    assert verdict_of(store, now, facts("src/app/parser.py", status=status)).run_all


def test_a_chance_word_does_not_narrow(store: EvidenceStore, now: float) -> None:
    assert "share/schema.json" in verdict_of(store, now, facts("share/schema.json")).run_all


def test_data_of_a_package_runs_the_tests_that_use_it(store: EvidenceStore, now: float) -> None:
    apart = (*(f"pkg{symbol[3:]}" for symbol in store.symbols[:-1]), "lib/mod.py::make")
    known = dataclasses.replace(store, symbols=apart, imports=SparseRows.empty(7, 4, weighted=True))
    verdict = verdict_of(known, now, facts("lib/data/weather.json"))
    assert why(verdict, known) == dict.fromkeys(
        (
            "tests/test_parser.py::TestDeep::test_nested",  # enters lib/mod.py
            "tests/test_new.py::test_unmeasured",  # nothing is known of it
            "other/test_far.py::test_far",  # names the file
        ),
        Why.WIDENED,
    )
    assert "lib/data/weather.json" in verdict.notices[0]


def test_data_below_tests_runs_those_that_name_it(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("web/tests/schema.json"))
    assert why(verdict, store) == {"tests/test_table.py::test_lookup": Why.WIDENED}


def test_data_beside_tests_runs_them(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("other/data/storm.bin", binary=True))
    assert set(why(verdict, store)) == {"other/test_far.py::test_far"}


def test_data_that_nothing_names_runs_all(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("share/unknown-thing.json"))
    assert "share/unknown-thing.json" in verdict.run_all


def test_code_in_other_languages_needs_links(store: EvidenceStore, now: float) -> None:
    assert not verdict_of(store, now, facts("ext/fast.c")).run_all  # it changed with a test
    assert verdict_of(store, now, facts("ext/slow.c")).run_all


def test_code_that_the_store_does_not_know(store: EvidenceStore, now: float) -> None:
    assert verdict_of(store, now, facts("tools/gen.py", "f")).run_all
    added = facts("src/app/fresh.py", "f", status=FileStatus.ADDED)
    assert not verdict_of(store, now, added).run_all


def test_deleted_modules_run_their_users(store: EvidenceStore, now: float) -> None:
    deleted = facts("src/app/draw.py", "draw", status=FileStatus.DELETED)
    users = why(verdict_of(store, now, deleted), store)
    assert set(users) == {"tests/test_draw.py::test_draw", "tests/test_draw.py::test_slow"}
    unknown = facts("src/app/ghost.py", status=FileStatus.DELETED)
    assert verdict_of(store, now, unknown).run_all


def test_a_mode_change_is_harmless(store: EvidenceStore, now: float) -> None:
    verdict = verdict_of(store, now, facts("share/schema.json", status=FileStatus.MODE))
    assert not verdict.always.any()


def test_stale_evidence_widens_aloud(store: EvidenceStore, now: float) -> None:
    old = verdict_of(store, now, freshness=Freshness(age=201))
    assert old.run_all
    assert "201 commits" in " ".join(old.notices)
    beside = verdict_of(store, now, freshness=Freshness(age=3, is_ancestor=False))
    assert beside.factor == 2
    assert "doubled" in " ".join(beside.notices)
    strange = verdict_of(store, now, freshness=Freshness(is_ancestor=False))
    assert strange.run_all
    assert "no history in common" in " ".join(strange.notices)
    unknown = verdict_of(store, now, freshness=Freshness(ages=(math.nan,), age=1))
    assert "6 of 7" in " ".join(unknown.notices)
    aged = verdict_of(store, now, freshness=Freshness(ages=(500.0,), age=1, is_ancestor=True))
    assert "6 of 7" in " ".join(aged.notices)
    fresh = verdict_of(store, now, freshness=Freshness(ages=(1.0,), age=1, is_ancestor=True))
    assert fresh.notices == ["Coverage of 1 of 7 tests is unknown: "
                             "words, imports and history judge them."]  # fmt: skip


def test_a_store_without_tests_runs_all(now: float) -> None:
    assert verdict_of(empty("r"), now).run_all


def test_unknown_coverage_is_said(store: EvidenceStore, now: float) -> None:
    known = dataclasses.replace(store, coverage_commit=np.zeros(7, np.int32))
    assert not verdict_of(known, now).notices


def test_rules_come_from_the_configuration(tmp_path: Any) -> None:
    rules = Rules.of(Config(tmp_path, must_run=("a",), recent_days=3.0))
    assert (rules.must_run, rules.recent_days, rules.explore) == (("a",), 3.0, 0.01)


def test_sources_are_in_no_table() -> None:
    for path in ("src/app/parser.py", "web/app.ts", "lib/lock.py", "README.md"):
        assert not any(matches(path, table) for table in (INSTALLED, RUNNERS, BUILDS))
