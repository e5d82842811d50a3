"""Imports of public sets: every trap of the real files, in small files of the same format."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import polars as pl
import pytest

from foretest.config import Config
from foretest.datasets import coleman, flakeflagger, gitbug_java
from foretest.datasets.contract import READERS
from foretest.datasets.load import import_set
from foretest.datasets.privacy import KEY_FILE, Pseudonyms, read_key
from foretest.datasets.quality import Flaw, Ledger, Quality
from foretest.errors import BadReport
from foretest.history.lake import Lake
from foretest.history.shelf import FOLDER, Shelf

HEADER = (
    "Project,Test,IsFlaky,NumFailingRuns,NumPassingRuns,FirstFailingRunID,FirstPassingRunID,"
    "UniqueFailingExceptionTypes\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(root=tmp_path / "repo")


def flaw(quality: Quality, kind: Flaw) -> int:
    found = quality.flaws.get(kind.value)
    return found.count if found else 0


def facts(config: Config, module: object, quality: Quality) -> pl.DataFrame:
    shelf, table = Shelf(config.state / FOLDER), module.TABLE  # type: ignore[attr-defined]
    return shelf.read(table, module.SCHEMA, quality.edition).collect()  # type: ignore[attr-defined]


def test_flakeflaggers_glued_line_keeps_its_numbers(tmp_path: Path, config: Config) -> None:
    file = tmp_path / "test_results.csv"
    file.write_text(
        HEADER
        + "a-a,p.T#flaky,1,164,9912,2087,0,2\n"
        + "a-a,p.T#glued,0,0,10000,-1,0,0ninjaframework-ninja\n"
        + "b-b,p.T#never,0,10000,0,0,-1,1\n"
        + "b-b,p.T#never,0,10000,0,0,-1,1\n"
        + "b-b,p.T#Never,0,3,9997,5,0,1\n"
        + "b-b,p.T#short,0\n"
        + "b-b,p.T#words,0,many,9997,5,0,1\n"
        + "b-b,p.T#none,0,0,0,-1,-1,0\n"
    )
    quality = import_set(config, "flakeflagger", file)
    rows = facts(config, flakeflagger, quality).sort("repository", "test")
    assert rows.select("test", "failing", "passing", "first_failing_run").rows() == [
        ("p.T#flaky", 164, 9912, 2087),
        ("p.T#glued", 0, 10000, None),
        ("p.T#Never", 3, 9997, 5),
        ("p.T#never", 10000, 0, 0),
    ]
    assert flaw(quality, Flaw.GLUED) == 1
    assert "line 3 ends with 'ninjaframework-ninja'" in quality.flaws["glued lines"].examples
    assert flaw(quality, Flaw.UNREADABLE) == 2
    assert flaw(quality, Flaw.DUPLICATES) == 1
    assert flaw(quality, Flaw.ALWAYS_FAILING) == 1
    assert flaw(quality, Flaw.RENAMES) == 1
    assert flaw(quality, Flaw.IMPOSSIBLE) == 2  # 10,076 results in 10,000 runs, and none at all


def coleman_set(folder: Path) -> Path:
    project = folder / "dune-total"
    project.mkdir(parents=True)
    early, late = "2020-01-01 10:00:00.000000", "2020-01-01 12:00:00.000000"
    rows = [
        (1, 7, 1, 0.5, late, 0),
        (2, 7, 1, 0.5, early, 1),  # the same test twice in one build, and contradicting itself
        (3, 8, 1, 0.0, early, 0),
        (4, 7, 2, -1.0, "2019-01-01 00:00:00.000000", 1),  # older than build 1
        (5, 9, 2, 0.1, "2019-01-01 00:00:00.000000", 5),
        (6, 8, 3, None, "2999-01-01 00:00:00.000000", 0),
    ]
    names = ["Id", "Name", "BuildId", "Duration", "LastRun", "Verdict"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    frame.write_parquet(project / "features-engineered.parquet")
    return folder


def test_coleman_groups_attempts_and_reports_its_traps(tmp_path: Path, config: Config) -> None:
    quality = import_set(config, "coleman", coleman_set(tmp_path / "set"))
    runs = list(Lake(config.state / "lake").events("dataset:coleman/dune-total"))
    assert [run.run_id for run in runs] == ["build-1", "build-2", "build-3"]
    seven = [(r.outcome.value, r.attempt) for r in runs[0].results if r.test.unit == "7"]
    assert seven == [("failed", 1), ("passed", 2)]  # attempts in the order of their times
    assert runs[1].results[0].seconds is None
    assert flaw(quality, Flaw.DUPLICATES) == flaw(quality, Flaw.CONTRADICTIONS) == 1
    assert flaw(quality, Flaw.MISSING_DURATIONS) == flaw(quality, Flaw.ZERO_DURATIONS) == 1
    assert flaw(quality, Flaw.IMPOSSIBLE) == 2  # -1 s, and verdict 5
    assert flaw(quality, Flaw.CLOCK_SKEW) == 3  # two times, time goes back, the year 2999
    assert (quality.runs, quality.results, quality.rows) == (3, 5, 6)


def test_an_import_is_idempotent_and_a_killed_one_is_finished(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = coleman_set(tmp_path / "set")
    monkeypatch.setattr("foretest.datasets.load.BATCH", 1)
    whole = coleman.read

    def killed(path: Path, ledger: Ledger, people: Pseudonyms) -> object:
        yield next(iter(whole(path, ledger, people)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(coleman, "read", killed)
        with pytest.raises(KeyboardInterrupt):
            import_set(config, "coleman", folder)
    finished = import_set(config, "coleman", folder)
    assert (finished.runs, finished.new_runs) == (3, 2)
    lake = Lake(config.state / "lake")
    version = lake.version
    again = import_set(config, "coleman", folder)
    assert (again.new_runs, lake.version) == (0, version)
    report = json.loads(next((config.state / "quality").glob("coleman-*.json")).read_text())
    assert report["new_runs"] == 2  # the report of the import that stored something stands
    assert report["versions"] == {"lake": version}


def gitbug_line(**more: object) -> str:
    mail = "Signed-off-by: Ada Lovelace <ada@example.org>"

    def job(outcome: str, name: str = "works") -> object:
        told = {"classname": "p.T", "name": name, "time": 0.1, "results": [{"result": outcome}]}
        return [{"tests": [told], "build_tool": "maven"}, None]

    bug = {
        "repository": "ada/engine",
        "collection_timestamp": "2023-11-23T06:56:26.565511Z",
        "commit_hash": "f" * 40,
        "previous_commit_hash": "b" * 40,
        "commit_message": f"Mend it\n\n{mail}",
        "previous_commit_message": "more, asks ADA@example.org",
        "commit_timestamp": "2023-05-17T15:37:06Z",
        "previous_commit_timestamp": "2023-06-17T15:37:06Z",
        "bug_patch": f"--- a/src/A.java\n+++ b/src/A.java\n@@ -1 +1 @@\n-x // {mail}\n+y\n",
        "test_patch": "--- /dev/null\n+++ b/test/T.java\n",
        "change_type": "SOURCE_ONLY",
        "strategy": "PASS_PASS",
        "actions_runs": [job("Passed"), None, job("Failure", "bob@example.org")],
    }
    return json.dumps({**bug, **more}) + "\n"


def test_gitbug_keeps_no_name_and_no_address(tmp_path: Path, config: Config) -> None:
    file = tmp_path / "ada-engine.json"
    file.write_text(gitbug_line() + '{"repository": "x"}\n' + "{damaged\n")
    quality = import_set(config, "gitbug-java", tmp_path)
    runs = list(Lake(config.state / "lake").events("dataset:gitbug-java/ada/engine"))
    assert [(r.run_id[-6:], r.commit) for r in runs] == [("before", "b" * 40), ("-fixed", "f" * 40)]
    row = facts(config, gitbug_java, quality).row(0, named=True)
    assert (json.loads(row["source_paths"]), row["lines_changed"]) == (["src/A.java"], 2)
    assert len(json.loads(row["people"])) == 1  # ada twice, in two spellings
    assert flaw(quality, Flaw.ADDRESSES) == 2
    assert flaw(quality, Flaw.UNREADABLE) == 2
    assert flaw(quality, Flaw.CLOCK_SKEW) == 1
    frames = [facts(config, gitbug_java, quality), Lake(config.state / "lake").scan().collect()]
    stored = "".join(frame.write_csv() for frame in frames).lower()
    stored += (config.state / "quality" / f"gitbug-java-{quality.edition}.json").read_text().lower()
    assert "lovelace" not in stored
    assert "@example" not in stored


def test_a_project_that_is_an_address_is_hashed_and_one_that_is_none_is_kept(
    tmp_path: Path, config: Config
) -> None:
    counts = tmp_path / "test_results.csv"
    counts.write_text(
        f"{HEADER}alice@corp.com,p.T#a(bob@corp.com),0,0,9,-1,0,0\n"
        "alice@corp.com,P.T#a(bob@corp.com),0,9,0,-1,0,0\n"
    )
    quality = import_set(config, "flakeflagger", counts)
    rows = facts(config, flakeflagger, quality)
    assert rows["repository"].str.starts_with("dataset:flakeflagger/person:").all()
    assert "@corp.com" not in rows.write_csv()
    assert flaw(quality, Flaw.ADDRESSES) == 4
    assert flaw(quality, Flaw.RENAMES) == 1
    assert "@corp.com" not in next((config.state / "quality").iterdir()).read_text()

    project = tmp_path / "eclipse@jetty.project"
    project.mkdir()
    header = "travisJobId,testName,index,duration,count,failures,errors,skipped\n"
    line = "3,p.A[to eve@corp.com],0,0.1,1,0,0,0\n"
    (project / "eclipse@jetty.project.csv").write_text(header + line + line)
    quality = import_set(config, "rtptorrent", tmp_path)
    (run,) = Lake(config.state / "lake").events("dataset:rtptorrent/eclipse/jetty.project")
    assert {str(r.test).partition("person:")[0] for r in run.results} == {"p.A[to "}
    told = quality.flaws[Flaw.DUPLICATES.value].examples[0]
    assert told.startswith("eclipse/jetty.project job 3: p.A[to person:")


def test_a_set_is_one_edition_by_whichever_path(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "set" / "test_results.csv"
    file.parent.mkdir()
    file.write_text(HEADER + "a,p.T#a,0,0,9,-1,0,0\n")
    monkeypatch.chdir(tmp_path)
    places = (file, file.parent, Path("set"), Path("set/../set/test_results.csv"))
    told = [import_set(config, "flakeflagger", place) for place in places]
    assert [quality.new_facts for quality in told] == [1, 0, 0, 0]
    assert len({quality.edition for quality in told}) == 1


def test_pseudonyms_are_keyed_and_the_key_is_private(tmp_path: Path) -> None:
    key = read_key(tmp_path)
    assert read_key(tmp_path) == key
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o077 == 0
    ours, theirs = Pseudonyms(key), Pseudonyms(b"another")
    assert ours.of("A@b.org") == ours.of("a@B.org ") != theirs.of("a@b.org")
    assert ours.scrub("by a@b.org.") == f"by {ours.of('a@b.org')}."
    assert ours.scrub("@pytest.fixture a @ b") == "@pytest.fixture a @ b"


def test_pytorchs_times_and_events(tmp_path: Path, config: Config) -> None:
    times = {
        "date": ["2023-01-02"] * 4,
        "job_config": ["linux|default"] * 4,
        "test_file": ["a.test_x", "a/test_x", "a.test_x", "b"],
        "seconds": [1.0, 0.0, 1.0, float("nan")],
    }
    pl.DataFrame(times).write_parquet(tmp_path / "test_times_weekly.parquet")
    events = {
        "time": ["2023-01-02T00:00:00+00:00"] * 2,
        "event": ["enabled", "disabled"],
        "test": ["test_a (__main__.T)", "test_b (__main__.T)"],
        "issue": [1, 2],
        "platforms": ["linux", ""],
    }
    pl.DataFrame(events).write_parquet(tmp_path / "disabled_tests_events.parquet")
    quality = import_set(config, "pytorch", tmp_path)
    assert quality.facts == {"test_times": 2, "disabled_tests": 2}
    assert flaw(quality, Flaw.RENAMES) == flaw(quality, Flaw.DUPLICATES) == 1
    assert flaw(quality, Flaw.IMPOSSIBLE) == 2  # not a number, and enabled though never disabled


def test_sets_read_from_documentation_say_so(tmp_path: Path, config: Config) -> None:
    project = tmp_path / "rtp" / "apache@sling"
    project.mkdir(parents=True)
    (project / "apache@sling.csv").write_text(
        "travisJobId,testName,index,duration,count,failures,errors,skipped\n"
        "3,p.A,0,0.1,1,0,0,0\n3,p.B,1,0.2,2,1,0,0\n1,p.A,0,,1,0,0,1\n3,p.A,0,x,1,0,0,0\n"
    )
    (project / "apache@sling-patches.csv").write_text("sha,name\n")
    (tmp_path / "rtp" / "tr_all_built_commits.csv").write_text("tr_job_id,git_commit_id\n3,abc\n")
    quality = import_set(config, "rtptorrent", tmp_path / "rtp")
    runs = list(Lake(config.state / "lake").events("dataset:rtptorrent/apache/sling"))
    assert [(r.run_id, r.commit) for r in runs] == [("job-3", "abc"), ("job-1", None)]
    assert [r.outcome.value for r in runs[0].results] == ["passed", "failed"]
    assert flaw(quality, Flaw.MISSING_TIMES) == 3
    assert flaw(quality, Flaw.UNREADABLE) == 1
    assert quality.documented
    assert any("documentation alone" in line for line in quality.lines())
    idoft = tmp_path / "pr-data.csv"
    idoft.write_text(
        "Project URL,SHA Detected,Module Path,Fully-Qualified Test Name"
        " (packageName.ClassName.methodName),Category,Status,PR Link,Notes\n"
        "https://github.com/a/b,abcdef1,m,p.T.t,ID;OD,Accepted,https://x,mail me@x.org\n"
        "https://github.com/a/b,abcdef1,m,p.T.t,ID;OD,Accepted,https://x,\n"
    )
    assert import_set(config, "idoft", idoft).facts == {"known_flaky_tests": 1}
    bug = tmp_path / "bugs" / "projects" / "black" / "bugs" / "1"
    bug.mkdir(parents=True)
    (bug / "bug.info").write_text(
        'python_version="3.8.3"\nbuggy_commit_id="a1"\nfixed_commit_id="b2"\ntest_file="t.py"\n'
    )
    assert import_set(config, "bugsinpy", tmp_path / "bugs").facts == {"python_bugs": 1}


@pytest.mark.parametrize("name", sorted(READERS))
def test_what_is_no_set_is_refused_in_words(name: str, tmp_path: Path, config: Config) -> None:
    with pytest.raises(BadReport, match="holds nothing of the set"):
        import_set(config, name, tmp_path / "nowhere")
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadReport):
        import_set(config, name, tmp_path / "odd.csv")


def test_memory_is_bounded_by_a_batch(tmp_path: Path) -> None:
    """Twenty times the rows of the same tests take about the same memory to read."""

    def peak(builds: int) -> int:
        folder = tmp_path / str(builds) / "p"
        folder.mkdir(parents=True)
        rows = pl.DataFrame({"BuildId": range(builds)}).join(
            pl.DataFrame({"Name": range(50)}), how="cross"
        )
        rows.with_columns(
            Id=pl.int_range(pl.len()),
            Duration=pl.lit(0.1),
            LastRun=pl.lit("2020-01-01 00:00:00"),
            Verdict=pl.lit(0),
        ).write_parquet(folder / "features-engineered.parquet")
        ledger, people = Ledger(), Pseudonyms(b"k")
        tracemalloc.start()
        for _ in coleman.read(folder.parent, ledger, people):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert ledger.rows == builds * 50
        return most

    small, large = peak(20), peak(400)
    other = 500_000  # what threads of other tests may take meanwhile; 20,000 rows held take more
    assert large < 3 * small + other


def test_a_bad_cell_is_counted_and_the_rest_is_read(tmp_path: Path, config: Config) -> None:
    counts = tmp_path / "test_results.csv"
    giant = "9" * 20
    counts.write_text(
        f"{HEADER}a,p.T#x,1,{giant},5,1,2,1\na,p.T#y,1,1,1,1,1,{giant}\n"
        f"a,p.T#{'z' * 200_000},1,1,1,1,1,1\na,p.T#ok,0,0,9,-1,0,0\n"
    )
    quality = import_set(config, "flakeflagger", counts)
    assert (quality.rows, quality.new_facts) == (4, 1)
    assert (flaw(quality, Flaw.IMPOSSIBLE), flaw(quality, Flaw.UNREADABLE)) == (2, 1)

    builds = tmp_path / "coleman" / "p" / "features-engineered.parquet"
    builds.parent.mkdir(parents=True)
    rows = {
        "Id": [1, 2, 3, 4],
        "Name": ["1", "2", None, "4"],
        "BuildId": [1, 1, 1, 2],
        "Duration": ["0.5", "soon", "1", "1"],
        "LastRun": ["2020-01-01 00:00:00", "later", "2020-01-01 00:00:00", "never"],
        "Verdict": [0, 1, 0, 0],
    }
    pl.DataFrame(rows).write_parquet(builds)
    quality = import_set(config, "coleman", builds.parent.parent)
    assert (quality.runs, quality.results) == (1, 2)
    assert flaw(quality, Flaw.MISSING_DURATIONS) == 1
    assert flaw(quality, Flaw.UNREADABLE) == 2  # no name, and a build at no time

    weeks = {"date": ["2023-01-02", "x", None], "job_config": "c", "test_file": "t", "seconds": 1}
    pl.DataFrame(weeks).write_parquet(tmp_path / "test_times_weekly.parquet")
    quality = import_set(config, "pytorch", tmp_path)
    assert (flaw(quality, Flaw.IMPOSSIBLE), flaw(quality, Flaw.UNREADABLE)) == (1, 1)

    lines = [gitbug_line(commit_hash=5), "[" * 100_000, gitbug_line(commit_timestamp=1), "5"]
    bugs = tmp_path / "bugs.json"
    bugs.write_text("\n".join([*lines, gitbug_line()]))
    quality = import_set(config, "gitbug-java", bugs)
    assert (quality.new_facts, flaw(quality, Flaw.UNREADABLE)) == (1, 4)

    jobs = tmp_path / "a@b.csv"
    header = "travisJobId,testName,index,duration,count,failures,errors,skipped\n"
    jobs.write_text(f"{header}{giant},t,0,1,1,0,0,0\n\u00b2,t,0,1,1,0,0,0\n7,t,0,1,1,0,0,0\n")
    quality = import_set(config, "rtptorrent", jobs)
    assert (quality.runs, flaw(quality, Flaw.UNREADABLE)) == (1, 2)


@pytest.mark.parametrize("cut", [0, 100, -8])
def test_a_damaged_file_is_named_and_does_not_end_an_import(
    tmp_path: Path, config: Config, cut: int
) -> None:
    folder = coleman_set(tmp_path / "set")
    (whole,) = folder.rglob("features-engineered.parquet")
    damaged = folder / "q" / whole.name
    damaged.parent.mkdir()
    damaged.write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(BadReport, match=f"{damaged} is damaged"):
        import_set(config, "coleman", damaged)
    quality = import_set(config, "coleman", folder)
    assert (quality.runs, flaw(quality, Flaw.DAMAGED)) == (3, 1)

    bugs = tmp_path / "gitbug"
    bugs.mkdir()
    (bugs / "a.json").write_text("{")
    with pytest.raises(BadReport, match=r"a\.json line 1 is no bug"):
        import_set(config, "gitbug-java", bugs)
    (bugs / "b.json").write_text(gitbug_line())
    quality = import_set(config, "gitbug-java", bugs)
    assert (quality.new_facts, flaw(quality, Flaw.DAMAGED)) == (1, 1)
