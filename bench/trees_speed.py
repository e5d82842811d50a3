"""Trees read with numpy against LightGBM's own prediction: time, and the import that each needs.

    python bench/trees_speed.py [--rows 10000 100000] [--trees 200] [--leaves 16]

Both answer the same rows in the same run, on one thread, and must agree to the last bit.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest.models.trees import Trees

FEATURES = 16
REPEATS = 5
IMPORTS = {
    "lightgbm": "import lightgbm",
    "foretest.models.trees": "import foretest.models.trees",
    "numpy": "import numpy",
    "nothing": "pass",
}


def rows(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Features in 0..1; three in ten are unknown, three in ten are 0, as in a real frame."""
    matrix = rng.random((n, FEATURES), np.float32)
    matrix[rng.random(matrix.shape) < 0.3] = 0
    matrix[rng.random(matrix.shape) < 0.3] = np.nan
    return np.asfortranarray(matrix)


def trained(rng: np.random.Generator, trees: int, leaves: int) -> str:
    import lightgbm

    matrix = rows(rng, 20_000)
    seen = np.nan_to_num(matrix)
    failed = seen[:, 0] + 0.2 * seen[:, 1:].sum(axis=1) + rng.random(len(seen)) > 2.4
    settings = {"objective": "binary", "num_leaves": leaves, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix, failed.astype(int)), trees)
    return str(booster.model_to_string())


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of the wall clock and of the processor, that of child processes included."""
    wall, processor = [], []
    for _ in range(REPEATS):
        began, worked = time.perf_counter(), spent()
        work()
        wall.append(time.perf_counter() - began)
        processor.append(spent() - worked)
    return statistics.median(wall), statistics.median(processor)


def spent() -> float:
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def told(what: str, work: Callable[[], object]) -> None:
    wall, processor = timed(work)
    print(f"{what:40} {wall:>7.3f} s {processor:>7.3f} s", flush=True)


def compared(ours: Trees, booster: Any, matrix: NDArray[np.float32]) -> None:
    n, some = len(matrix), matrix[: len(matrix) // 10]

    def theirs() -> NDArray[np.float64]:
        return np.asarray(booster.predict(matrix, raw_score=True, num_threads=1))

    np.testing.assert_array_equal(ours.raw(matrix), theirs())
    told(f"{n:,} rows: numpy", lambda: ours.raw(matrix))
    told(f"{n:,} rows: lightgbm", theirs)
    told(f"contributions of {len(some):,} rows: numpy", lambda: ours.contributions(some))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--leaves", type=int, default=16)
    options = parser.parse_args()
    import lightgbm

    rng = np.random.default_rng(7)
    text = trained(rng, options.trees, options.leaves)
    booster, ours = lightgbm.Booster(model_str=text), Trees.from_text(text)
    print(f"{options.trees} trees of {options.leaves} leaves, {len(text) / 1e3:,.0f} kB of text")
    print(f"{'':40} {'wall':>9} {'cpu':>9}")
    one = rows(rng, 1)
    told("read the text: numpy", lambda: Trees.from_text(text).raw(one))
    told("read the text: lightgbm", lambda: lightgbm.Booster(model_str=text))
    for n in options.rows:
        compared(ours, booster, rows(rng, n))
    for name, statement in IMPORTS.items():
        command = [sys.executable, "-c", statement]
        told(f"a process that imports {name}", partial(subprocess.run, command, check=True))


if __name__ == "__main__":
    main()
