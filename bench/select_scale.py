"""How selection grows: synthetic stores of realistic sparsity, from 1,000 to 300,000 tests.

    python bench/select_scale.py [--sizes 1000 10000 100000 300000] [--json FILE]

Each size runs in a process of its own, so that peak memory is its own too.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from foretest import bundle as bundles
from foretest.evidence.graph import SymbolGraph
from foretest.evidence.rows import SparseRows
from foretest.evidence.store import EvidenceStore
from foretest.evidence.text import TextIndex
from foretest.features.query import query_of
from foretest.models.formula import Formula
from foretest.records import Budget, Change, FileChange, FileStatus, Hunk, Symbol
from foretest.selection.compose import select
from foretest.selection.policy import Rules

SYMBOLS, FILES, WORDS = 20_000, 1_000, 30_000
SYMBOLS_A_TEST, WORDS_A_TEST, FILES_A_TEST = 150, 60, 20
NOW = 1_700_000_000.0
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Figures:
    tests: int
    select_seconds: float
    """Median of REPEATS from a Change to a Selection, with the store's lookups made."""
    cpu_seconds: float
    """The same in processor time: what a busy machine does not stretch."""
    first_seconds: float
    """The first selection after reading the bundle, which makes those lookups."""
    write_seconds: float
    read_seconds: float
    bundle_megabytes: float
    peak_megabytes: float
    cold_seconds: float
    """Median of REPEATS of `foretest select` as a process of its own, in a real git repository."""


def power_rows(
    rng: np.random.Generator, n: int, each: int, columns: int, weighted: bool
) -> SparseRows:
    """About `each` columns a row, a few columns in nearly every row and most in hardly any."""
    sizes = np.maximum(1, rng.poisson(each, n))
    rows = np.repeat(np.arange(n), sizes)
    # Inverse of a bounded power law with exponent 1.
    drawn = np.floor(columns ** rng.random(len(rows), np.float32)).astype(np.int64) - 1
    shuffled = rng.permutation(columns)
    weights = rng.random(len(rows), np.float32) if weighted else None
    return SparseRows.from_pairs(
        rows, shuffled[np.clip(drawn, 0, columns - 1)], weights, (n, columns)
    )


def synthetic_store(n: int) -> EvidenceStore:
    rng = np.random.default_rng(7)
    tests = tuple(f"tests/part{i // 2000}/test_{i // 40}.py::test_case_{i}" for i in range(n))
    symbols = tuple(f"src/pkg{i // 400}/mod{i // 20}.py::name{i}" for i in range(SYMBOLS))
    words = tuple(f"w{i:05}" for i in range(WORDS))
    impacts = power_rows(rng, n, WORDS_A_TEST, WORDS, weighted=True).transpose()
    names = tuple(f"table{i}" for i in range(2_000))
    return EvidenceStore(
        repository="example.org/synthetic/store",
        commit="0" * 40,
        created_at=NOW,
        tests=tests,
        symbols=symbols,
        coverage=power_rows(rng, n, SYMBOLS_A_TEST, SYMBOLS, weighted=False),
        import_time=rng.random(SYMBOLS) < 0.05,
        coverage_commit=np.zeros(n, np.int32),
        coverage_commits=("0" * 40,),
        text=TextIndex(words, np.ones(WORDS, np.float32), float(WORDS_A_TEST), impacts),
        imports=power_rows(rng, n, FILES_A_TEST, FILES, weighted=True),
        files=tuple(f"src/pkg{i // 20}/mod{i}.py" for i in range(FILES)),
        cochange=power_rows(rng, n, 3, FILES, weighted=True),
        graph=SymbolGraph(
            names,
            power_rows(rng, SYMBOLS, 1, len(names), weighted=False),
            power_rows(rng, len(names), 8, SYMBOLS, weighted=False),
        ),
        test_symbols_digest=("0123456789abcdef",) * n,
        runs=np.full(n, 20.0),
        failures=(rng.random(n) < 0.02).astype(np.float64),
        last_failed_at=np.where(rng.random(n) < 0.02, NOW - 86_400.0 * 60, np.nan),
        seconds=rng.lognormal(-4, 1.5, n),
    )


def synthetic_change(store: EvidenceStore) -> Change:
    """Four files, ten functions, 120 lines: a middling pull request."""
    rng = np.random.default_rng(11)
    files = []
    for place in rng.choice(FILES, 4, replace=False).tolist():
        path = store.files[place]
        symbols = [Symbol.parse(store.symbols[i]) for i in store.symbols_of_file(path)[:3]]
        lines = tuple(
            " ".join(store.text.words[i] for i in rng.integers(0, WORDS, 5)) for _ in range(30)
        )
        hunk = Hunk(1, 15, 1, 15, lines[:15], lines[15:])
        files.append(
            FileChange(path, FileStatus.MODIFIED, hunks=(hunk,), touched=tuple(symbols),
                       names_set=("table7",))
        )  # fmt: skip
    return Change(store.repository, "base", "head", tuple(files))


def cold_select(made: EvidenceStore, folder: Path) -> float:
    """Wall seconds of the command, git's own included, on four changed files of the work tree."""
    root = folder / "repository"
    for file in made.files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("def name0():\n    return 1\n")
    git = ["git", "-C", str(root), "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    subprocess.run([*git, "init", "--quiet", "-b", "main"], check=True)
    for message in ("first", "second"):
        (root / "note.md").write_text(message)
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", message], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    commit = head.stdout.strip()
    at_head = replace(made, commit=commit, coverage_commits=(commit,))
    bundles.write(root / ".foretest" / "bundle.ftb", bundles.Bundle(at_head))
    for change in synthetic_change(made).files:
        lines = change.hunks[0].added
        (root / change.path).write_text("def name0():\n    return '" + " ".join(lines) + "'\n")
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "foretest", "select"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - begin)
        assert done.stdout.count("\n") > 1, done.stderr
    return statistics.median(times)


def measure(n: int) -> Figures:
    made = synthetic_store(n)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.ftb"
        begin = time.perf_counter()
        bundles.write(path, bundles.Bundle(made))
        write_seconds = time.perf_counter() - begin
        size = path.stat().st_size
        change = synthetic_change(made)
        cold = cold_select(made, Path(folder))
        del made
        begin = time.perf_counter()
        store = bundles.read(path).store
        read_seconds = time.perf_counter() - begin
    times, processor = [], []
    for turn in range(REPEATS + 1):
        begin, worked = time.perf_counter(), time.process_time()
        budget = Budget(share=0.1)
        selection = select(query_of(change), store, Formula(), Rules(), budget, NOW, f"d{turn}")
        times.append(time.perf_counter() - begin)
        processor.append(time.process_time() - worked)
        assert len(selection.chosen) + len(selection.rest) == n
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts kilobytes
    wall, cpu = statistics.median(times[1:]), statistics.median(processor[1:])
    return Figures(n, wall, cpu, times[0], write_seconds, read_seconds, size / 1e6, peak, cold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 300_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(measure(options.one))))
        return
    heads = ("select", "cpu", "first", "read", "write", "bundle", "peak", "cold")
    print(f"{'tests':>8}", *(f"{head:>9}" for head in heads))
    table = []
    for n in options.sizes:
        command = [sys.executable, __file__, "--one", str(n)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        f = Figures(**json.loads(done.stdout))
        table.append(asdict(f))
        print(
            f"{f.tests:>8,} {f.select_seconds:>7.3f} s {f.cpu_seconds:>7.3f} s "
            f"{f.first_seconds:>7.3f} s {f.read_seconds:>7.3f} s {f.write_seconds:>7.2f} s "
            f"{f.bundle_megabytes:>7.1f} MB {f.peak_megabytes:>6,.0f} MB {f.cold_seconds:>7.2f} s",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
