"""The templates: valid by their systems' schemas, and run for real, command by command."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ci_machine import CARRIES_FOLDER, CHECKS_OUT_A_MERGE, STEPS, Build, Machine, loaded

from foretest.ci.detection import SYSTEMS
from foretest.ci.templates import PLACES, template
from foretest.history.lake import Lake
from small_project import Project

SCHEMAS = {
    "github": ("vendor.github-workflows",),
    "gitlab": ("vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
    "circleci": ("vendor.circle-ci",),
    "azure": ("vendor.azure-pipelines", "--data-transform", "azure-pipelines"),
    "buildkite": ("vendor.buildkite",),
    "bitbucket": ("vendor.bitbucket-pipelines",),
}
DOCS = Path(__file__).parents[2] / "docs" / "ci"


def test_every_system_has_a_template_a_page_and_a_test() -> None:
    assert set(PLACES) == set(SYSTEMS) == {*STEPS, "buildbot"}
    for system, (name, _) in PLACES.items():
        assert (DOCS / name).read_text() == template(system)
        page = (DOCS / f"{system}.md").read_text()
        assert name in page
        assert f"foretest ci init {system}" in page


@pytest.mark.parametrize("system", SCHEMAS)
def test_a_template_is_valid_by_its_schema(system: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed: no template was held to its schema")
    file = tmp_path / "template.yml"

    def check(text: str) -> subprocess.CompletedProcess[str]:
        file.write_text(text)
        command = ["check_jsonschema", "--regex-variant", "nonunicode", "--builtin-schema"]
        command += [*SCHEMAS[system], str(file)]
        return subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, check=False
        )

    done = check(template(system))
    assert done.returncode == 0, done.stdout + done.stderr
    key = {"gitlab": "script:", "bitbucket": "name:", "buildkite": "steps:"}.get(system, "steps:")
    wrong = template(system).replace(f" {key}", f" {key} 3 #").replace(f"\n{key}", f"\n{key} 3 #")
    assert check(wrong).returncode


def test_python_reads_buildbots() -> None:
    compile(template("buildbot"), "master.cfg", "exec")


def test_brackets_of_the_others_are_balanced() -> None:
    """No reader of these two can be had from a registry: their form is checked by eye and here."""
    for system in ("jenkins", "teamcity"):
        text = template(system)
        for opening, closing in ("{}", "()", "[]"):
            assert text.count(opening) == text.count(closing), (system, opening)
        assert text.count("'''" if system == "jenkins" else '"""') % 2 == 0


def test_no_request_writes_the_cache_of_main() -> None:
    """Whatever its branch is called."""
    data = loaded("gitlab")
    cache, (request, main) = data["tests"]["cache"], data["workflow"]["rules"]
    assert "merge_request_event" in request["if"]
    key = cache["key"]
    of_request = key.replace("$FORETEST_CACHE", request["variables"]["FORETEST_CACHE"])
    of_main = key.replace("$FORETEST_CACHE", data["variables"]["FORETEST_CACHE"])
    assert "variables" not in main
    assert cache["fallback_keys"] == [of_main]
    assert of_request == "foretest-request-$CI_MERGE_REQUEST_IID"  # a number, and no name
    assert of_main == "foretest-main"


def test_no_branch_restores_what_another_one_saved() -> None:
    """CircleCI takes the newest key that begins so; git lets no branch's name hold two dots."""
    steps = loaded("circleci")["jobs"]["tests"]["steps"]
    parts = {name: s[name] for s in steps if isinstance(s, dict) for name in s}
    saved, (own, of_main) = parts["save_cache"]["key"], parts["restore_cache"]["keys"]
    for branch in ("main-x", "main.x", "main-", "main/x", "pull/7"):
        key = saved.replace("{{ .Branch }}", branch)
        assert key.startswith(own.replace("{{ .Branch }}", branch))
        assert not key.startswith(of_main)
    assert saved.replace("{{ .Branch }}", "main").startswith(of_main)


def test_what_is_saved_is_what_is_restored() -> None:
    steps = loaded("github")["jobs"]["tests"]["steps"]
    restore, save = (s["with"] for s in steps if "cache/" in s.get("uses", ""))
    assert restore["path"] == save["path"] == ".foretest"
    assert restore["key"] == save["key"]
    assert save["key"].startswith(restore["restore-keys"])
    cache = loaded("gitlab")["tests"]["cache"]
    assert (cache["paths"], cache["when"]) == ([".foretest/"], "always")
    steps = loaded("circleci")["jobs"]["tests"]["steps"]
    parts = {name: s[name] for s in steps if isinstance(s, dict) for name in s}
    assert parts["save_cache"]["paths"] == [".foretest"]
    assert parts["save_cache"]["key"].startswith(parts["restore_cache"]["keys"][0])
    assert parts["restore_cache"]["keys"][1] == "foretest-v1-main.."
    steps = loaded("azure")["jobs"][0]["steps"]
    down = next(s["inputs"] for s in steps if "Download" in s.get("task", ""))
    up = next(s for s in steps if "publish" in s)
    assert down["artifactName"] == up["artifact"]
    assert down["targetPath"].endswith(up["publish"])


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """What runs the templates' commands; its socket lies where the path is short enough."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "socket")
        command = [sys.executable, "-B", str(Path(__file__).with_name("ci_server.py")), str(place)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield place
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(300) == 0


@pytest.mark.parametrize("system", STEPS)
def test_a_template_runs_over_several_commits(
    system: str, project: Project, server: Path, tmp_path: Path
) -> None:
    machine = Machine(system, project, tmp_path / "ci", server)
    night, request, fixed = _history(project)

    ran = machine.run(night)
    assert ran.status == 0, ran.text
    assert "No state yet, so everything runs." in ran.text
    assert "15 passed" in ran.text
    assert "Pushed the state of" in ran.text

    ran = machine.run(request)
    assert ran.status != 0, ran.text
    assert not ran.failed_late
    assert "Pulled the state of" in ran.text
    assert "test_prices.py::test_tax" in ran.text
    assert " deselected" in ran.text
    assert "Recorded 1 run" in ran.text
    assert "Pushed" not in ran.text
    assert "of 11 tests run" in ran.summary, ran.text
    if system != "circleci":  # which does not say what a request is to be compared with
        assert f"Compared with {request.tip[:10]}, the base that " in ran.text
    _check_lake(machine, ran.workspace, request)
    # Folders bring what was recorded before; agents and tags bring the state alone.
    wanted = ["1", "2"] if system in CARRIES_FOLDER else ["2"]
    assert sorted(_runs(ran.workspace)) == wanted

    if system != "github":  # one after it says enough: the steps are the same as at night
        return
    ran = machine.run(fixed)
    assert ran.status == 0, ran.text
    assert "15 passed" in ran.text
    assert "Pushed the state of" in ran.text
    assert sorted(_runs(ran.workspace)) == ["1", "2", "3"]


FAKES = {
    "foretest": 'mkdir -p .foretest; echo "$*" >> "$COMMANDS"; test "$1" != "$FAILS"',
    "pytest": 'echo "pytest $*" >> "$COMMANDS"; test "$FAILS" != pytest',
}


def _commands(machine: Machine, build: Build, fails: str = "", **variables: str) -> tuple[int, str]:
    """Status of a build whose commands only say that they were called, and what they said."""
    log = machine.folder / "commands"
    log.write_text("")
    machine.more = {"COMMANDS": str(log), "FAILS": fails, **variables}
    return machine.run(build).status, log.read_text()


@pytest.mark.parametrize("system", STEPS)
def test_a_build_fails_where_its_tests_or_its_recording_do(
    system: str, unlearnt: Project, tmp_path: Path
) -> None:
    machine = Machine(system, unlearnt, tmp_path / "ci", None, FAKES)
    tip = unlearnt.git("rev-parse", "HEAD")
    builds = {"": Build("night", tip, number=1), "pytest": Build("main", tip, number=2)}
    for fails, build in {**builds, "record": Build("main", tip, number=3)}.items():
        status, told = _commands(machine, build, fails)
        assert bool(status) == bool(fails)
        assert [line.split()[0] for line in told.splitlines()][-1] == "state", told
        assert ("learn --within 10m" in told) == (build.kind == "night")
        for command in ("pytest --foretest=observe", "record", "summary", "state push "):
            assert told.count(command) == 1, command


STRANGERS = {
    "a fork's request": ("buildkite", "request", {"BUILDKITE_BRANCH": "main"}),
    "a tag in Buildkite": ("buildkite", "main", {"BUILDKITE_TAG": "main"}),
    "a tag in GitLab": ("gitlab", "main", {"CI_COMMIT_TAG": "main", "CI_COMMIT_BRANCH": ""}),
    "learning on a branch": ("bitbucket", "night", {"BITBUCKET_BRANCH": "topic"}),
    "a request to main": ("bitbucket", "request", {"BITBUCKET_BRANCH": "main"}),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_state_is_pushed_from_the_default_branch_alone(
    name: str, unlearnt: Project, tmp_path: Path
) -> None:
    system, kind, variables = STRANGERS[name]
    machine = Machine(system, unlearnt, tmp_path / "ci", None, FAKES)
    unlearnt.git("branch", "topic")
    tip = unlearnt.git("rev-parse", "HEAD")
    status, told = _commands(machine, Build(kind, tip, tip), **variables)
    assert status == 0
    assert "record" in told
    assert "state push" not in told


def _history(project: Project) -> tuple[Build, Build, Build]:
    """A night on main, a request that breaks two tests, and what was merged of it."""
    tip = project.git("rev-parse", "HEAD")
    project.git("switch", "-q", "-c", "topic")
    project.edit("src/shop/prices.py", "/ 100", "/ 10", "Faulty")
    topic = project.git("rev-parse", "HEAD")
    project.git("switch", "-q", "--detach", "main")
    project.git("merge", "-q", "--no-ff", "-m", "Merge", "topic")
    merge = project.git("rev-parse", "HEAD")
    project.git("update-ref", "refs/pull/1/merge", merge)
    project.git("switch", "-q", "main")
    project.edit("src/shop/prices.py", "+ 0", "+ 0.0", "Mended and merged")
    return (
        Build("night", tip, number=1),
        Build("request", topic, tip, merge, number=2),
        Build("main", project.git("rev-parse", "HEAD"), number=3),
    )


def _runs(workspace: Path) -> dict[str, dict[str, object]]:
    """What the lake holds, by the number of the build that each run's name carries."""
    rows = Lake(workspace / ".foretest" / "lake").scan().collect().to_dicts()
    return {row["run_id"].split("-")[1]: row for row in rows}


def _check_lake(machine: Machine, workspace: Path, build: Build) -> None:
    row = _runs(workspace)[str(build.number)]
    assert str(row["run_id"]).startswith(f"{machine.system}-{build.number}-")
    tested = build.merge if machine.system in CHECKS_OUT_A_MERGE else build.commit
    assert row["commit"] == tested
