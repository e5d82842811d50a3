"""Real pytest and real past changes of a small project; nothing comes from a network."""

import base64
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from foretest.config import load_config
from foretest.errors import NothingToReplay, PeerUnavailable
from foretest.learning import learn
from foretest.peers.answers import read_answers
from foretest.peers.environment import prepare
from foretest.peers.run import against_peers
from foretest.peers.tools import TOOLS, Question, Tool
from foretest.report.page import render
from small_project import FILES, make

FAULTS = {
    "src/shop/prices.py": [
        ("amount * RATES[rate] / 100", "amount * RATES[rate] / 10", "Tax in per cent"),
        ("amount + tax(amount, rate)", "amount - tax(amount, rate)", "Gross adds the tax"),
    ],
    "src/shop/stock.py": [("sorted(set(wanted) - set(stock))", "list(stock)", "Missing things")],
}
"""Right text, what stood there before, and the commit that mended it."""

LAST_FAILED = next(tool for tool in TOOLS if tool.name == "pytest")
BY_NAME = Tool("pytest", "", (Question("by name", ("-k", "tax or gross")),))
BROKEN = Tool("pytest", "", (Question("broken", ("--no-such-option",)),))
FAKE = "fakepeer"


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A project whose last commits mended faults that its tests notice, tried by the lab."""
    base = tmp_path_factory.mktemp("peers")
    files = dict(FILES)
    for path, faults in FAULTS.items():
        for right, wrong, _ in faults:
            files[path] = files[path].replace(right, wrong)
    project = make(base / "shop", base / "home", files)
    for path, faults in FAULTS.items():
        for right, wrong, said in faults:
            project.edit(path, wrong, right, said)
    config = replace(load_config(project.root, {}), cache=str(base / "cache"))
    learned = learn(config, undo=20)
    assert learned.faulty >= 3
    return project, config


@pytest.fixture
def config(learnt, tmp_path, monkeypatch):
    """The settings, with an empty folder of answers."""
    project, config = learnt
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # this project's own are many
    answers = project.state / "peers"
    if answers.exists():
        answers.rename(tmp_path / "answers")
    return config


def answers_of(config, tool):
    return list(read_answers(config.state / "peers" / f"{tool.name}.jsonl"))


def test_real_pytest_is_judged_on_the_same_changes(learnt, config):
    project, _ = learnt
    before = project.snapshot()
    compared = against_peers(config, cases=3, tools=(LAST_FAILED,))
    assert project.snapshot() == before
    n = 3
    lines = {line.strategy: line for line in compared.lines}
    assert list(lines)[:2] == ["oracle", "foretest"]
    assert {"random", "pytest --lf", "pytest --ff"} <= lines.keys()
    assert {line.n for line in lines.values()} == {n}
    answers = answers_of(config, LAST_FAILED)
    assert len(answers) == 2 * n
    assert all(answer.chosen is not None for answer in answers)
    first = next(a for a in answers if a.question == "pytest --lf" and not a.before)
    assert len(first.chosen) == 11  # nothing had failed: everything runs
    failed = {case.trial.case_id: case.trial.failed for case in compared.replayed.judgement.cases}
    for answer in answers:
        if answer.before and answer.question == "pytest --lf":
            assert set(answer.chosen) == failed[answer.before]
        if answer.before and answer.question == "pytest --ff":
            assert set(answer.chosen[: len(failed[answer.before])]) == failed[answer.before]
            assert len(answer.chosen) == 11
    text = compared.text(intervals=True)
    assert "pytest --lf" in text
    assert "foretest in 10%" in text
    page = render(compared.report)
    assert "Against the real peers" in page
    assert "foretest misses in that time" in page


def test_answers_are_kept_and_a_stop_loses_none(config):
    asked = []

    def stopped(stage, done, total, note=""):
        if stage.startswith("Asking"):
            asked.append(done)
            if done == 1:
                raise KeyboardInterrupt

    compared = against_peers(config, tools=(BY_NAME,), progress=stopped)
    assert asked == [0, 1]
    assert any("Ctrl-C" in notice for notice in compared.report.notices)
    assert {line.n for line in compared.lines} == {1}
    (kept,) = answers_of(config, BY_NAME)
    whole = against_peers(config, tools=(BY_NAME,))
    n = whole.replayed.judgement.judged
    assert {line.n for line in whole.lines} == {n}
    answers = answers_of(config, BY_NAME)
    assert answers[0] == kept
    assert len({answer.case_id for answer in answers}) == len(answers) == n
    tests = {"tax", "reduced_tax", "gross", "gross_of_nothing"}
    assert {unit.rpartition("::test_")[2] for unit in kept.chosen} == tests
    missed = sum(not tests & _names(c.trial.failed) for c in whole.replayed.judgement.cases)
    assert whole.rows[0].missed[0] == pytest.approx(missed / n)
    assert 0 < missed < n


def _names(units):
    return {unit.rpartition("::test_")[2] for unit in units}


def test_a_stop_before_the_first_answer_stops(config):
    def stopped(stage, *_):
        if stage.startswith("Asking"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        against_peers(config, tools=(BY_NAME,), progress=stopped)


def test_a_tool_without_an_answer_says_so_and_everything_runs(config):
    compared = against_peers(config, cases=2, tools=(BROKEN,))
    (row,) = [row for row in compared.rows if row.strategy == "broken"]
    assert (row.unanswered, row.n, row.missed[0], row.time[0]) == (2, 2, 0.0, 1.0)
    told = [notice for notice in compared.report.notices if notice.startswith("broken gave no")]
    assert "2 of 2" in told[0]
    assert "--no-such-option" in told[0]


def test_without_any_tool_there_is_nothing_to_compare(config, tmp_path):
    nobody = replace(config, python=str(tmp_path / "no-python"))
    with pytest.raises(PeerUnavailable, match="None of the peers"):
        against_peers(nobody, cases=1, tools=(BY_NAME,))


def test_nothing_to_ask_about(learnt, config, tmp_path):
    cases = config.state / "lab" / "cases.jsonl"
    kept = cases.read_bytes()
    try:
        cases.write_bytes(b"")
        with pytest.raises(NothingToReplay):
            against_peers(config, tools=(BY_NAME,))
    finally:
        cases.write_bytes(kept)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with a pytest plugin that pip can install: it keeps tests whose name says 'tax'."""
    folder = tmp_path_factory.mktemp("wheels")
    code = (
        "def pytest_addoption(parser):\n    parser.addoption('--fake', action='store_true')\n\n\n"
        "def pytest_collection_modifyitems(config, items):\n"
        "    if config.getoption('--fake'):\n"
        "        items[:] = [item for item in items if 'tax' in item.name]\n"
    )
    info = f"{FAKE}-1.0.dist-info"
    files = {
        f"{FAKE}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {FAKE}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[pytest11]\n{FAKE} = {FAKE}\n",
    }
    record = ""
    with zipfile.ZipFile(folder / f"{FAKE}-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
            digest = hashlib.sha256(text.encode()).digest()
            told = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            record += f"{name},sha256={told},{len(text)}\n"
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return folder


def test_a_tool_that_cannot_be_had_is_left_out_aloud_and_asked_once_it_can(
    config, wheels, monkeypatch
):
    fake = Tool(FAKE, f"{FAKE}==1.0", (Question("fake", ("-p", FAKE, "--fake")),))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    compared = against_peers(config, cases=1, tools=(fake, BY_NAME))
    assert "fake" not in {row.strategy for row in compared.rows}
    told = [notice for notice in compared.report.notices if "LEFT OUT" in notice]
    assert f"{FAKE}==1.0" in told[0]

    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    compared = against_peers(config, cases=1, tools=(fake,))
    (answer,) = answers_of(config, fake)
    assert {unit.rpartition("::")[2] for unit in answer.chosen} == {"test_tax", "test_reduced_tax"}
    assert answer.version == "1.0"
    assert f"Asked: {FAKE} 1.0." in compared.report.notices

    environment = prepare(fake, config)
    assert Path(environment.python).is_relative_to(config.cache_path)
    marker = Path(environment.python).parents[1] / "made"
    made = marker.stat().st_mtime_ns
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert prepare(fake, config) == environment  # made once: pip is not asked again
    assert marker.stat().st_mtime_ns == made


def test_an_interpreter_that_is_none_is_said(config, tmp_path):
    for python in (tmp_path / "no-python", tmp_path):
        with pytest.raises(PeerUnavailable, match="could not be set up"):
            prepare(LAST_FAILED, replace(config, python=str(python)))


def test_the_command_prints_both_tables(learnt, config, monkeypatch, capsys):
    import foretest.peers.run as run
    from foretest.cli.main import main

    project, _ = learnt
    monkeypatch.setattr(run, "TOOLS", (BY_NAME,))
    monkeypatch.setattr(run.against_peers, "__kwdefaults__", {
        **run.against_peers.__kwdefaults__, "tools": (BY_NAME,),
    })  # fmt: skip
    monkeypatch.setenv("FORETEST_CACHE", config.cache)
    page = project.home / "page.html"
    status = main(
        ["replay", "--peers", "--peer-cases", "1", "-C", str(project.root), "--html", str(page)]
    )
    out, err = capsys.readouterr()
    assert status == 0, err
    assert "Against the real peers" in out
    assert "by name" in out
    assert "Asking the peers" in err
    assert "Against the real peers" in page.read_text(encoding="utf-8")
    kept = (project.state / "peers" / "pytest.jsonl").read_text().splitlines()
    assert [json.loads(line)["question"] for line in kept] == ["by name"]


def test_a_number_of_cases_without_peers_is_refused(capsys):
    from foretest.cli.main import main

    assert main(["replay", "--peer-cases", "3"]) == 2
    assert "add --peers" in capsys.readouterr().err
