"""Reports with odd content: damage is named, what was read stands, other reports are not lost."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foretest.errors import BadReport
from foretest.records import Configuration, Outcome
from foretest.results import read as reading
from foretest.results.gathering import gather
from foretest.results.normalise import LONGEST
from foretest.results.read import Origin, read_report
from foretest.results.report import FORMAT, VERSION

GOLD = Path(__file__).parent / "gold"
REPORTS = sorted(p for p in GOLD.iterdir() if p.suffix in (".xml", ".json", ".jsonl"))
GOOD = '<testsuite name="pytest"><testcase classname="tests.test_a" name="t" time="2"/></testsuite>'
MOMENTS = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
WORDS = ["", "null", "[]", "{}", "5", '"x"', "1e999", "-1", "<", "&", "]]>", "\0", "9" * 400]
TOKENS = st.sampled_from([*WORDS, *MOMENTS, 'encoding="idna"']).map(str.encode)


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(REPORTS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), TOKENS), min_size=1, max_size=4),
)
def test_no_mutation_of_a_real_report_raises(
    path: Path, edits: list[tuple[float, int, bytes]]
) -> None:
    data = path.read_bytes()[:20_000]
    for place, length, token in edits:
        at = int(place * len(data))
        data = data[:at] + token + data[at + length :]
    with tempfile.TemporaryDirectory() as folder:
        other = written(Path(folder), "good.xml", GOOD)
        gathered = gather([written(Path(folder), f"odd{path.suffix}", data), other])
        tests = {result.test.unit for run in gathered.runs for result in run.results}
        assert "tests/test_a.py::t" in tests
        assert all(isinstance(error, BadReport) for _, error in gathered.refused)


def test_what_an_adapter_stumbles_over_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbling(*_: object) -> object:
        yield from known(*_)
        raise AttributeError("no such thing")

    document = next(d for d in reading.DOCUMENTS if d.runner == "gtest")
    known = document.cases
    odd = replace(document, cases=stumbling)
    monkeypatch.setattr(reading, "DOCUMENTS", (odd,))
    gathered = gather([GOLD / "gtest.json", written(tmp_path, "good.xml", GOOD)])
    (run,) = gathered.runs
    assert not run.complete
    assert {result.test.runner for result in run.results} == {"gtest", "pytest"}
    assert "AttributeError" in gathered.notices[0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"stats": {"failures": 1}, "results": [{"state": "failed"}]}', "tests"),  # mochawesome
        ('{"config": {"a": 1}}', "suites"),
        ('{"numFailedTestSuites": 0, "testResults": {}}', "testResults"),
    ],
)
def test_json_without_its_list_is_no_report(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadReport, match=f"holds no `{named}`"):
        read_report(written(tmp_path, "r.json", text))


def test_an_empty_list_is_a_report_of_nothing(tmp_path: Path) -> None:
    assert read_report(written(tmp_path, "r.json", '{"config": {}, "suites": []}')).run.complete


def test_a_damaged_report_without_results_is_refused_where_it_was_named(tmp_path: Path) -> None:
    bad = written(tmp_path, "bad.xml", "<testsuite><testcase name=")
    good = written(tmp_path, "good.xml", GOOD)
    gathered = gather([bad, good])
    assert [path for path, _ in gathered.refused] == [bad]
    assert len(gathered.runs) == 1
    assert "first damage" in gather([tmp_path]).notices[0]


def test_an_error_of_any_shape_is_a_failure_in_mocha(tmp_path: Path) -> None:
    text = '{"stats": {}, "tests": [{"fullTitle": "a", "duration": 1, "err": "boom"}]}'
    (result,) = read_report(written(tmp_path, "r.json", text)).run.results
    assert result.outcome is Outcome.FAILED


@pytest.mark.parametrize("encoding", ["idna", "punycode", "undefined", "unicode_escape", "hex"])
def test_codecs_that_are_no_encodings_of_text_are_not_used(tmp_path: Path, encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>{GOOD}'
    report = read_report(written(tmp_path, "r.xml", text))
    assert (len(report.run.results), report.run.complete) == (1, True)


@pytest.mark.parametrize("moment", MOMENTS)
def test_moments_beyond_all_time(tmp_path: Path, moment: str) -> None:
    suite = GOOD.replace("name=", f'timestamp="{moment}" name=', 1)
    assert len(read_report(written(tmp_path, "r.xml", suite)).run.results) == 1
    place = {"os": "linux", "python": "3.11", "flags": []}
    head = {"format": FORMAT, "version": VERSION, "run_id": "r", "repository": "h/o/n"}
    line = json.dumps({**head, "configuration": place, "started_at": moment})
    with pytest.raises(BadReport, match="first line"):
        read_report(written(tmp_path, "r.jsonl", line))


def test_no_format_takes_an_absurd_duration(tmp_path: Path) -> None:
    place = {"os": "linux", "python": "3.11", "flags": []}
    head = {"format": FORMAT, "version": VERSION, "run_id": "r", "repository": "h/o/n"}
    head |= {"configuration": place, "started_at": "2025-03-01T12:00:00+00:00"}
    for beyond, kept in ((LONGEST, None), (1e299, None), (LONGEST / 2, LONGEST / 2)):
        own = {"id": "a.py::t", "outcome": "passed", "seconds": beyond}
        jest = {"testResults": [{"name": "a.test.js", "assertionResults": []}]}
        told = {"title": "t", "status": "passed", "duration": beyond * 1e3}
        jest["testResults"][0]["assertionResults"] = [told]  # type: ignore[index]
        texts = {
            "r.jsonl": f"{json.dumps(head)}\n{json.dumps(own)}",
            "r.json": json.dumps({"numFailedTestSuites": 0, **jest}),
            "r.xml": GOOD.replace('"2"', f'"{beyond}"'),
        }
        for name, text in texts.items():
            (result,) = read_report(written(tmp_path, name, text)).run.results
            assert result.seconds == kept


def test_the_same_bytes_of_another_state_or_configuration_are_another_run(tmp_path: Path) -> None:
    path = written(tmp_path, "r.xml", GOOD)
    here = Origin("h/o/n", "c1", configuration=Configuration("linux", "3.12"))
    others = [replace(here, commit="c2"), replace(here, configuration=Configuration("x", "3.12"))]
    ids = [read_report(path, origin=o).run.run_id for o in (here, here, *others)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def suite(name: str, classname: str, test: str) -> str:
    case = f'<testcase classname="{classname}" name="{test}" time="1"/>'
    return f'<testsuites><testsuite name="{name}">{case}</testsuite></testsuites>'


@pytest.mark.parametrize(
    ("text", "runner", "unit", "parameters"),
    [
        (
            suite("com.acme.integration_test.OrderIT", "com.acme.integration_test.OrderIT", "pays"),
            "junit",
            "com.acme.integration_test.OrderIT::pays",
            None,
        ),
        (
            suite("All", "com.acme.test_db.OrderIT", "pays()"),
            "junit",
            "com.acme.test_db.OrderIT::pays",
            None,
        ),
        (
            suite("mine", "pkg.test_db.TestOrder", "test_x[(1)]"),
            "pytest",
            "pkg/test_db.py::TestOrder::test_x",
            "(1)",
        ),
        (suite("h/o/app", "h/o/app", "TestX/sub/case"), "go", "h/o/app::TestX", "sub/case"),
        (suite("h/o/app", "h/o/app", "TestX"), "go", "h/o/app::TestX", None),
        (suite("h/o/app", "h/o/app", "TestMain"), "go", "h/o/app", None),
    ],
)
def test_whose_report_it_is(
    tmp_path: Path, text: str, runner: str, unit: str, parameters: str | None
) -> None:
    (result,) = read_report(written(tmp_path, "r.xml", text)).run.results
    assert (result.test.runner, result.test.unit, result.test.parameters) == (
        runner,
        unit,
        parameters,
    )


@pytest.mark.parametrize("declared", ["", '<?xml version="1.0"?>'])
@pytest.mark.parametrize("blank", [" ", "\n"])
def test_many_blanks_before_the_root(tmp_path: Path, blank: str, declared: str) -> None:
    read = read_report(written(tmp_path, "r.xml", blank * 9_000 + declared + GOOD))
    assert (len(read.run.results), read.run.complete) == (1, True)
    empty = written(tmp_path, "e.xml", blank * 9_000)
    with pytest.raises(BadReport, match="is empty"):
        read_report(empty)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"numFailedTestSuites": 0, "testResults": [{"assertionResults": ["x"]}]}', "assertionR"),
        ('{"numFailedTestSuites": 0, "testResults": ["x"]}', "testResults"),
        ('{"config": {}, "suites": [{"specs": 5}]}', "specs"),
        ('{"tests": 1, "testsuites": [{"testsuite": ["x"]}]}', "testsuite"),
    ],
)
def test_what_is_no_object_among_results_is_said(tmp_path: Path, text: str, where: str) -> None:
    (refused,) = gather([written(tmp_path, "r.json", text)]).refused
    assert f"`{where}" in str(refused[1])
    assert "no list" in str(refused[1]) or "no object" in str(refused[1])


def test_results_before_what_is_no_object_stand(tmp_path: Path) -> None:
    tests = [{"title": "t", "status": "passed"}, "x"]
    told = {"numFailedTestSuites": 0, "testResults": [{"name": "a", "assertionResults": tests}]}
    gathered = gather([written(tmp_path, "r.json", json.dumps(told))])
    assert [(len(run.results), run.complete) for run in gathered.runs] == [(1, False)]
    assert "no object" in gathered.notices[0]


def test_a_report_of_no_test_is_said(tmp_path: Path) -> None:
    report = written(tmp_path, "r.xml", "<testsuites/>")
    assert gather([report]).notices == [f"{report} holds no test."]


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    for place in (tmp_path / "pipe.xml", Path("/dev/zero")):
        with pytest.raises(BadReport, match="no plain file"):
            read_report(place)
    gathered = gather([written(tmp_path, "good.xml", GOOD), tmp_path / "pipe.xml", tmp_path])
    assert [len(run.results) for run in gathered.runs] == [1]
    assert len(gathered.refused) == 1
