"""Features of every test for every kept change of many repositories, built as tasks of Ray Data.

The path is that of training: `examples_of` walks a repository's changes in time order and asks
`features.build`; here its examples become rows of a table, a row a (change, test).
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from foretest.features.catalogue import CATALOGUE_VERSION, FEATURES
from foretest.features.frame import FeatureFrame
from foretest.history.shelf import Shelf
from foretest.platform.cluster import connect, ray
from foretest.platform.corpus.facts import FRESH, LAGGED, lessons_of, names_in
from foretest.platform.tracking.lineage import code_version, digest_of
from foretest.replay.judge import Setting
from foretest.training.examples import Example, examples_of

TABLE = "features"
KINDS = (FRESH, LAGGED)
SCHEMA: dict[str, pl.DataType] = {
    "repository": pl.String(),
    "coverage": pl.String(),
    "commit": pl.String(),
    "case_id": pl.String(),
    "change": pl.Int32(),
    "row": pl.Int32(),
    "test": pl.String(),
    "failed": pl.Boolean(),
    "inclusion": pl.Float64(),
    **{name: pl.Float32() for name in FEATURES},
}
"""A row a test of a change; `change` counts a repository's changes in time, `row` its tests;
`inclusion` is the probability with which the test ran, 1 where the whole suite did."""


@dataclass(frozen=True, slots=True)
class Part:
    """One repository with one kind of coverage: what a task works on."""

    number: int
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Built:
    """What was built: name it by `version`."""

    edition: str
    """Digest of facts, feature catalogue and code: equal editions hold equal rows."""
    version: int
    """Version of the Delta table."""
    rows: int
    """New rows; a part that the table held already was not built again."""
    changes: int
    seconds: float
    """From the first task handed out to the last row stored; a cluster's start is not in it."""


def build_features(
    facts: Path,
    out: Path,
    *,
    names: Sequence[str] = (),
    cluster: bool = True,
    address: str | None = None,
    told: Callable[[Part, int], None] = lambda _part, _rows: None,
) -> Built:
    """Build the features of the kept facts into the Delta table `features` below `out`.

    With `cluster` on Ray at `address` (None: a local one), else in this process; the rows are the
    same. Goes on where it was cut off. `told` hears of each part stored and its rows. Raises
    BadStore, ClusterFailed, ExtraMissing.
    """
    edition, shelf = edition_of(facts), Shelf(out)
    parts = [part for part in _parts(facts) if not names or part.name in names]
    held = _held(shelf, edition)
    todo = [part for part in parts if part.number not in held]
    rows = changes = 0
    started = time.monotonic()

    def store(done: Iterable[tuple[Part, pl.DataFrame]]) -> None:
        nonlocal rows, changes
        for part, frame in done:
            shelf.add(TABLE, frame, edition, part.number)
            rows, changes = rows + frame.height, changes + frame["case_id"].n_unique()
            told(part, frame.height)

    if cluster and todo:
        with connect(address):
            started = time.monotonic()
            store(_on_ray(facts, todo))
    else:
        store((part, part_frame(facts, part)) for part in todo)
    seconds = time.monotonic() - started
    return Built(edition, shelf.version(TABLE), rows, changes, seconds)


def edition_of(facts: Path) -> str:
    """What the rows depend on: the facts, the catalogue of features, the code."""
    whole = f"{digest_of(facts)} {CATALOGUE_VERSION} {code_version()}"
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def part_frame(facts: Path, part: Part) -> pl.DataFrame:
    """All rows of one part, in the order of time and tests; none where it has no faulty change."""
    frames = [
        _frame(example, part, number, lesson.store.tests)
        for lesson, age in lessons_of(facts, [part.name], part.kind)
        for number, example in enumerate(
            examples_of(lesson.trials, lesson.store, Setting(freshness=age), part.name)
        )
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)


def read_features(out: Path, edition: str, name: str, kind: str) -> Iterator[Example]:
    """The stored examples of a repository, as `examples_of` gave them. Raises BadStore."""
    rows = Shelf(out).read(TABLE, SCHEMA, edition)
    wanted = (pl.col("repository") == name) & (pl.col("coverage") == kind)
    whole = rows.filter(wanted).sort("change", "row").collect()
    for frame in whole.partition_by("change", maintain_order=True):
        columns = {n: frame[n].to_numpy().astype(np.float32) for n in FEATURES}
        commit, case_id = frame["commit"][0], frame["case_id"][0]
        failed = frame["failed"].to_numpy().astype(bool)
        example = Example(name, commit, case_id, FeatureFrame(frame.height, columns), failed)
        inclusion = frame["inclusion"].to_numpy()
        if (inclusion < 1.0).any():
            places = frame["row"].to_numpy().astype(np.int64)
            example = replace(example, inclusion=inclusion, rows=places)
        yield example


def _parts(facts: Path) -> list[Part]:
    """All parts, numbered alike whatever is asked for."""
    pairs = [(name, kind) for name in names_in(facts) for kind in KINDS]
    return [Part(number, name, kind) for number, (name, kind) in enumerate(pairs)]


def _held(shelf: Shelf, edition: str) -> set[int]:
    schema = {**SCHEMA, "part": pl.Int32()}
    found = shelf.read(TABLE, schema, edition).select("part").unique().collect()
    return set(found["part"].to_list())


def _frame(example: Example, part: Part, number: int, tests: Sequence[str]) -> pl.DataFrame:
    size = example.frame.size
    rows = np.arange(size) if example.rows is None else example.rows
    facts = {
        "repository": [part.name] * size,
        "coverage": [part.kind] * size,
        "commit": [example.commit] * size,
        "case_id": [example.case_id] * size,
        "change": np.full(size, number, np.int32),
        "row": rows.astype(np.int32),
        "test": [tests[row] for row in rows],
        "failed": example.failed,
        "inclusion": 1.0 / example.stands_for,
    }
    return pl.DataFrame({**facts, **example.frame.columns}, schema=SCHEMA)


# --- on a cluster ---


def _on_ray(facts: Path, parts: Sequence[Part]) -> Iterator[tuple[Part, pl.DataFrame]]:
    """Parts as their tasks end. The facts travel with a task: nodes need no common disk."""
    ray()
    from ray import data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    by_number = {part.number: part for part in parts}
    # The longest first, so that none is waited for at the end.
    items = sorted((_item(facts, part) for part in parts), key=_weight, reverse=True)
    tasks = data.from_items(items, override_num_blocks=len(items))
    built = tasks.map_batches(_task, batch_size=1, batch_format="pyarrow")
    waiting: dict[int, list[pl.DataFrame]] = {}
    for block in built.iter_batches(batch_size=None, batch_format="pyarrow"):
        for piece in pl.DataFrame(block).partition_by("part"):
            number, whole = piece["part"][0], piece["of"][0]
            pieces = waiting.setdefault(number, [])
            pieces.append(piece)
            if sum(piece.height for piece in pieces) == whole:  # Ray cuts blocks by size
                frame = pl.concat(waiting.pop(number)).select(*SCHEMA)
                yield by_number[number], frame.sort("change", "row")


def _item(facts: Path, part: Part) -> dict[str, Any]:
    files = [*facts.glob(f"{part.name}.jsonl.gz"), *facts.glob(f"{part.name}.*.ftb")]
    return {
        "number": part.number,
        "name": part.name,
        "kind": part.kind,
        "files": [path.name for path in files],
        "contents": [path.read_bytes() for path in files],
    }


def _weight(item: dict[str, Any]) -> int:
    return sum(map(len, item["contents"]))


def _task(batch: Any) -> Any:
    """One part's rows; runs on a worker."""
    item = batch.to_pylist()[0]
    part = Part(item["number"], item["name"], item["kind"])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in zip(item["files"], item["contents"], strict=True):
            Path(folder, name).write_bytes(content)
        frame = part_frame(Path(folder), part)
    return frame.with_columns(
        pl.lit(part.number, pl.Int32).alias("part"), pl.lit(frame.height, pl.Int64).alias("of")
    ).to_arrow()
