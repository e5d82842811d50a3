"""A small project in git, learnt once by the real `learn`, and the means to treat it badly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from foretest.ci.detection import SYSTEMS
from foretest.cli.main import main
from foretest.durable import lock

FILES = {
    "pyproject.toml": """
        [tool.pytest.ini_options]
        pythonpath = ["src"]
        testpaths = ["tests"]
        """,
    ".gitignore": "__pycache__/\n",
    "data/rates.json": '{"standard": 20, "reduced": 5}\n',
    "src/shop/__init__.py": "",
    "src/shop/prices.py": """
        import json
        from pathlib import Path

        RATES = json.loads(Path(__file__).parents[2].joinpath("data/rates.json").read_text())


        def tax(amount, rate="standard"):
            return amount * RATES[rate] / 100


        def gross(amount, rate="standard"):
            return amount + tax(amount, rate)


        def rounded(amount):
            return round(amount, 2)
        """,
    "src/shop/stock.py": """
        def take(stock, name, count=1):
            if stock.get(name, 0) < count:
                raise LookupError(name)
            return {**stock, name: stock[name] - count}


        def total(stock):
            return sum(stock.values())


        def missing(stock, wanted):
            return sorted(set(wanted) - set(stock))
        """,
    "tests/conftest.py": """
        import time

        import pytest


        @pytest.fixture(autouse=True)
        def _as_slow_as_the_others():
            time.sleep(0.01)


        @pytest.fixture
        def stock():
            return {"pen": 3, "ink": 1}
        """,
    "tests/test_prices.py": """
        import pytest
        from shop.prices import gross, rounded, tax


        def test_tax():
            assert tax(100) == 20


        def test_reduced_tax():
            assert tax(100, "reduced") == 5


        def test_gross():
            assert gross(100) == 120


        def test_gross_of_nothing():
            assert gross(0) == 0


        def test_rounded():
            assert rounded(1.005 + 1) in (2.0, 2.01)


        @pytest.mark.parametrize("text", ["a b", "grün::teuer", "x[1]::y", "", "tab\\tnewline\\n"])
        def test_odd_names(text):
            assert rounded(len(text)) == len(text)
        """,
    "tests/test_stock.py": """
        import pytest
        from shop.stock import missing, take, total


        class TestTake:
            def test_one(self, stock):
                assert take(stock, "pen")["pen"] == 2

            def test_too_many(self, stock):
                with pytest.raises(LookupError):
                    take(stock, "ink", 2)


        def test_total(stock):
            assert total(stock) == 4


        def test_total_of_nothing():
            assert total({}) == 0


        def test_missing(stock):
            assert missing(stock, ["pen", "cap"]) == ["cap"]
        """,
}

UNITS = 11
"""Test functions of the project, parameters merged."""

PYTEST = ("-p", "no:randomly", "-p", "no:cacheprovider", "-q")


@dataclass(frozen=True)
class Done:
    """What a process left: `out` is what a script would read, `err` what a person sees."""

    status: int
    out: str
    err: str

    @property
    def units(self) -> list[str]:
        return self.out.splitlines()

    def check(self, *statuses: int) -> Done:
        """The same, if it ended as it should and spoke plainly; 0 where no status is named."""
        told = f"exit {self.status}\n--- out\n{self.out}\n--- err\n{self.err}"
        assert self.status in (statuses or (0,)), told
        for text in (self.out, self.err):
            assert "Traceback (most" not in text, told
            assert "unforeseen" not in text, told
            assert "\x1b" not in text, told
            assert "Exception ignored" not in text, told
        return self


@dataclass
class Project:
    """A checkout with a learnt bundle, and a home of its own."""

    root: Path
    home: Path
    capture: pytest.CaptureFixture[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.root / ".foretest"

    @property
    def bundle(self) -> Path:
        return self.state / "bundle.ftb"

    def foretest(self, *args: str, **environment: str) -> Done:
        """Run the command line in this process: cheap, and otherwise the same."""
        assert self.capture is not None
        self.capture.readouterr()
        status = main(args)
        return Done(status, *self.capture.readouterr())

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "foretest", *args]

    def process(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        **given: object,
    ) -> Done:
        """Run a process to its end."""
        done = subprocess.run(  # type: ignore[call-overload]
            command,
            cwd=cwd or self.root,
            env={**self.environment, **(environment or {})},
            **{"capture_output": True, "text": True, "timeout": 120, "check": False} | given,
        )
        return Done(done.returncode, done.stdout or "", done.stderr or "")

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a process in a group of its own, its output kept."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def pytest(self, *args: str) -> Done:
        return self.process(sys.executable, "-B", "-m", "pytest", *PYTEST, *args)

    def git(self, *args: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *args]
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, path: str, text: str, commit: str = "") -> None:
        """Write a file, and with a message commit it."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_dedented(text), encoding="utf-8")
        if commit:
            self.git("add", "-A")
            self.git("commit", "-q", "-m", commit)

    def edit(self, path: str, old: str, new: str, commit: str = "") -> None:
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text
        self.write(path, text.replace(old, new), commit)

    def break_tax(self) -> None:
        """A change in the work tree that two tests notice for certain."""
        self.edit("src/shop/prices.py", "/ 100", "/ 10")

    def snapshot(self) -> dict[str, tuple[int, bytes]]:
        """The whole checkout, `.git` included, less our own state: it must never change."""
        found = {}
        for folder, folders, names in os.walk(self.root):
            if Path(folder) == self.root and ".foretest" in folders:
                folders.remove(".foretest")
            for name in (*folders, *names):
                path = Path(folder, name)
                held = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path.relative_to(self.root))] = (path.lstat().st_mode, held)
        return found

    def crashes(self) -> list[str]:
        """Reports of what was unforeseen."""
        return [file.read_text() for file in (self.home / "tmp").glob("foretest-crash-*")]


def _dedented(text: str) -> str:
    lines = text.splitlines()
    if len(lines) < 2 or lines[0]:
        return text
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[margin:] for line in lines[1:]) + "\n"


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    ours = ("FORETEST_", "PYTEST_", "COV", "GIT_", "XDG_", "NO_COLOR", "FORCE_COLOR", "PY_COLORS")
    signs = {system.TABLE.sign for system in SYSTEMS.values()}  # of a CI that runs these tests
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ours) and name not in signs
    }
    return kept | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TMPDIR": str(home / "tmp"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def make(root: Path, home: Path, files: Mapping[str, str] = FILES) -> Project:
    """The project as a repository of three commits, nothing learnt."""
    root.mkdir(parents=True)
    project = Project(root, home, environment=clean_environment(home))
    project.git("init", "-q", "-b", "main")
    for path, text in files.items():
        project.write(path, text)
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "All of it")
    if "src/shop/stock.py" in files:
        project.edit("src/shop/prices.py", "round(amount, 2)", "round(amount, 2) + 0", "Round")
        project.edit("src/shop/stock.py", "sum(stock.values())", "sum(stock.values(), 0)", "Sum")
    return project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The learnt project, one for all of xdist's workers; tests take copies."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root, home = shared / "template" / "shop", shared / "template" / "home"
    with lock(shared / "template.lock", timeout=300.0):
        if (root / ".foretest" / "bundle.ftb").exists():
            return Project(root, home, environment=clean_environment(home))
        project = make(root, home)
        project.process(*project.command("learn")).check()
    return project


@pytest.fixture
def project(
    template: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Project]:
    """A fresh copy of the learnt project, the working directory; left without a crash report."""
    yield from _lent(template.root, tmp_path, monkeypatch, capsys)


@pytest.fixture
def unlearnt(
    template: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Project]:
    """The same without a bundle."""
    for project in _lent(template.root, tmp_path, monkeypatch, capsys):
        shutil.rmtree(project.state)
        yield project


def _lent(
    source: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Project]:
    root, home = folder / "shop", folder / "home"
    shutil.copytree(source, root, symlinks=True)
    environment = clean_environment(home)
    project = Project(root, home, capsys, environment)
    for name in set(os.environ) - set(environment):
        if not name.startswith("PYTEST_"):  # pytest itself wants its own back
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(root)
    yield project
    assert project.crashes() == []


def lines_with(text: str, words: Sequence[str]) -> list[str]:
    """The lines that hold all of these words."""
    return [line for line in text.splitlines() if all(word in line for word in words)]
