"""Reports in JSON that are cut, odd or malicious: nothing raises, what was read stands."""

from __future__ import annotations

import io
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.errors import BadReport
from foretest.results.dialects.contract import Document, Files
from foretest.results.read import DOCUMENTS, read_report
from foretest.results.xmlstream import DamagedError

GOLD = Path(__file__).parent / "gold"
WORDS = """testResults assertionResults name status title ancestorTitles failureMessages invocations
suites specs tests results projectName duration error message stats failures err fullTitle
testsuites testsuite classname time result Action Package Test Output Elapsed"""
KEYS = st.sampled_from(WORDS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["jest.json", "playwright.json", "mocha.json", "gtest.json"])
def test_a_cut_report_keeps_what_was_read(tmp_path: Path, name: str) -> None:
    text = (GOLD / name).read_text()
    path = tmp_path / name
    path.write_text(text[: len(text) * 3 // 4])
    report = read_report(path)
    assert not report.run.complete
    assert "first damage" in report.skipped[0]
    whole = {r.test for r in read_report(GOLD / name).run.results}
    assert {r.test for r in report.run.results} <= whole


def test_a_cut_run_of_go_keeps_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "go.jsonl"
    path.write_bytes((GOLD / "go.jsonl").read_bytes()[:9000] + b'\xff\x00{"Action":\n[1]\n"x"\n')
    assert len(read_report(path).run.results) > 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: f"{d.runner}")
@given(data=JSON, raw=st.binary(max_size=40))
def test_no_shape_and_no_bytes_raise(document: Document, data: object, raw: bytes) -> None:
    for content in (json.dumps(data).encode(), json.dumps(data).encode() + b"\n" + raw, raw):
        with suppress(DamagedError):
            list(document.cases(io.BytesIO(content), Files(None)))


@pytest.mark.parametrize("begin", ['{"config": {}, "suites": [', '{"stats": {}, "tests": ['])
def test_deep_nesting_is_damage(tmp_path: Path, begin: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(begin + '{"suites":[' * 50_000)
    report = read_report(path)
    assert report.run.results == ()
    assert report.skipped


def test_deep_suites_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text('{"config": {}, "suites": [' + '{"suites":[' * 5_000 + "]}" * 5_000 + "]}")
    assert read_report(path).run.results == ()


def test_memory_is_that_of_one_file_of_tests(tmp_path: Path) -> None:
    test = {"title": "t", "fullName": "t", "status": "passed", "failureMessages": ["x" * 2000]}
    suite = json.dumps({"name": "a.test.js", "assertionResults": [test] * 10})
    path = tmp_path / "r.json"
    path.write_text('{"numFailedTestSuites":0,"testResults":[' + ",".join([suite] * 500) + "]}")
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            assert sum(1 for _ in DOCUMENTS[0].cases(file, Files(None))) == 5000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 10_000_000
    assert peak < 2_000_000


@pytest.mark.parametrize("text", ["{}", "[]", '{"a": 1}', "null", '{"tests": 3}'])
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(BadReport, match="no format"):
        read_report(path)


def test_windows_writes_utf16(tmp_path: Path) -> None:
    """PowerShell's `>` does, for `go test -json > go.jsonl`."""
    path = tmp_path / "go.jsonl"
    path.write_bytes((GOLD / "go.jsonl").read_text().replace("\n", "\r\n").encode("utf-16"))
    whole = read_report(GOLD / "go.jsonl").run.results
    assert read_report(path).run.results == whole


def test_what_the_go_command_says_before_its_events_hides_none(tmp_path: Path) -> None:
    """`go test -json 2>&1 | tee go.jsonl`, where modules are fetched first."""
    path = tmp_path / "go.jsonl"
    said = b"go: downloading example.org/x v1.2.3\n\nwarning: <odd> {thing}\n"
    path.write_bytes(said + (GOLD / "go.jsonl").read_bytes())
    assert read_report(path).run.results == read_report(GOLD / "go.jsonl").run.results
    path.write_bytes(b"<log>\n" + (GOLD / "go.jsonl").read_bytes())
    with pytest.raises(BadReport, match="no JUnit report"):
        read_report(path)


def test_what_a_test_printed_is_no_sign_of_a_format(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    printed = '{"Action":"pass","Package":"p","Test":"T"}\n<Site name="x"><failsafe-summary>'
    said = f"<![CDATA[\n{printed}\n]]>"
    case = f'<testcase classname="a.b" name="c"><system-out>{said}</system-out></testcase>'
    path.write_text(f'<testsuite name="s">{case}</testsuite>')
    (result,) = read_report(path).run.results
    assert (result.test.runner, result.test.unit) == ("junit", "a.b::c")
    whole = (GOLD / "ctest-test.xml").read_text()
    path.write_text(whole.replace("?>", "?>\n<!-- a > b - <testsuite> -->", 1))
    assert read_report(path).run.results == read_report(GOLD / "ctest-test.xml").run.results
