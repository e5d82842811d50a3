"""Many files of one run, and files that only lie beside each other."""

from pathlib import Path

import pytest

from foretest.results.gathering import gather
from foretest.results.read import Origin


def write(path: Path, *names: str, failed: str = "") -> Path:
    cases = "".join(
        f'<testcase classname="org.{path.stem}" name="{name}" time="1">'
        f"{'<failure/>' * (name == failed)}</testcase>"
        for name in names
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<testsuite name="s" timestamp="2025-03-01T12:00:00">{cases}</testsuite>')
    return path


def test_files_that_share_no_test_are_one_run(tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        write(tmp_path / f"{name}.xml", "x", "y")
    gathered = gather([tmp_path], origin=Origin("h/o/n", "c", ci_run="ci-7"))
    (run,) = gathered.runs
    assert len(run.results) == 6
    assert run.run_id.startswith("ci-7-")
    assert gather([tmp_path]).runs[0].run_id == gather([tmp_path / "*.xml"]).runs[0].run_id


def test_files_that_repeat_tests_are_runs_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "one/A.xml", "x", failed="x")
    write(tmp_path / "two/A.xml", "x")
    gathered = gather([tmp_path / "one", tmp_path / "two"])
    assert [[r.attempt for r in run.results] for run in gathered.runs] == [[1], [1]]
    assert len({run.run_id for run in gathered.runs}) == 2


def test_a_named_run_takes_what_it_is_given_as_attempts(tmp_path: Path) -> None:
    first = write(tmp_path / "one/A.xml", "x", failed="x")
    second = write(tmp_path / "two/A.xml", "x")
    (run,) = gather([first, second], origin=Origin(run_id="r")).runs
    assert [(r.outcome.value, r.attempt) for r in run.results] == [("failed", 1), ("passed", 2)]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "A.xml", "x")
    (run,) = gather([path, tmp_path, path]).runs
    assert len(run.results) == 1


def test_what_is_no_report_is_refused_where_named_and_passed_over_where_found(
    tmp_path: Path,
) -> None:
    write(tmp_path / "A.xml", "x")
    (tmp_path / "pom.xml").write_text("<project/>")
    (tmp_path / "package.json").write_text("{}")
    searched, named = gather([tmp_path]), gather([tmp_path / "A.xml", tmp_path / "pom.xml"])
    assert len(searched.runs) == len(named.runs) == 1
    assert searched.refused == []
    assert searched.notices == ["2 of the files found there are no reports."]
    assert [path.name for path, _ in named.refused] == ["pom.xml"]


@pytest.mark.parametrize("place", ["empty", "none/*.xml", "gone.xml"])
def test_a_place_without_reports_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    gathered = gather([tmp_path / place])
    assert gathered.runs == []
    ((_, error),) = gathered.refused
    assert error.remedy


def test_copies_that_testng_leaves_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "TEST-A.xml", "x")
    write(tmp_path / "junitreports/TEST-A.xml", "x")
    (run,) = gather([tmp_path]).runs
    assert len(run.results) == 1


def test_unknown_tests_are_counted_over_all_files(tmp_path: Path) -> None:
    for name in ("A", "B"):
        write(tmp_path / f"{name}.xml", "x")
    (notice,) = gather([tmp_path], ["org.A::x"]).notices
    assert notice.startswith("1 of 2 results belong to no known test")
