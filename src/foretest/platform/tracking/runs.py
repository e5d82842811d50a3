"""The runs of trainings on a tracking server; without an address nothing is kept."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from foretest.config import load_config
from foretest.platform.tracking.delivery import Courier, Say, client_of, now, send
from foretest.platform.tracking.journal import Journal, left_over
from foretest.platform.tracking.lineage import Lineage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foretest.features.frame import FeatureFrame
    from foretest.models.contract import Model

_NAME = re.compile(r"[^\w\-. /]", re.ASCII)
"""What MLflow takes in no name."""
_LONGEST = 6000
"""Characters of a parameter."""


class Run:
    """One training, trial or evaluation as it is being told to the server.

    Metrics are named `slice/metric` ("new tests/caught at 10 percent"); steps make a curve of them.
    A server that is away costs the training nothing: see `docs/tracking.md`.
    """

    def __init__(self, courier: Courier | None) -> None:
        self._courier = courier

    @property
    def kept(self) -> bool:
        """Whether anybody is told of it."""
        return self._courier is not None

    @property
    def id(self) -> str:
        """The run's id at the server; empty where nothing is kept or the server was away so far."""
        return self._courier.journal.run_id if self._courier else ""

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        self.metrics({name: value}, step)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Several numbers of one step; NaN is kept as such."""
        plain = {_NAME.sub("_", name): float(value) for name, value in values.items()}
        self._post({"do": "metrics", "values": plain, "step": step, "time": now()})

    def tags(self, values: Mapping[str, str]) -> None:
        self._post({"do": "tags", "values": {_NAME.sub("_", k): str(v) for k, v in values.items()}})

    def artifact(self, source: Path | str | bytes, name: str) -> None:
        """A file or folder (copied now, sent later) or bytes as `name`, such as `notes/a.txt`."""
        if self._courier is None:
            return
        place, room = PurePosixPath(name), self._courier.journal.room()
        if isinstance(source, bytes):
            (room / place.name).write_bytes(source)
        elif Path(source).is_dir():
            shutil.copytree(source, room / place.name)
        else:
            shutil.copyfile(source, room / place.name)
        below = place.parent.as_posix().removeprefix(".")
        self._post({"do": "artifact", "room": room.name, "file": place.name, "below": below})

    def figure(self, chart: Any, name: str) -> None:
        """An Altair chart: `plots/NAME.html`, which needs no network, and `plots/NAME.png`."""
        if self._courier is None:
            return
        from foretest.report import charts

        page = io.StringIO()
        chart.save(page, format="html", inline=True)
        self.artifact(page.getvalue().encode(), f"plots/{name}.html")
        self.artifact(charts.png(chart), f"plots/{name}.png")

    def table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Columns of one length as `tables/NAME.csv`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        self.artifact(text.getvalue().encode(), f"tables/{name}.csv")

    def model(self, model: Model, example: FeatureFrame, name: str = "model") -> None:
        """The model with its signature and an input example, as `platform.served` loads it."""
        if self._courier is None:
            return
        from foretest.platform.tracking.served import save

        room = self._courier.journal.room()
        save(model, example, room / "model")
        self._post({"do": "model", "room": room.name, "name": name})

    def network(
        self, path: Path, example: Mapping[str, NDArray[Any]], name: str = "network"
    ) -> None:
        """An ONNX file with its signature and an input example: an array for each input."""
        if self._courier is None:
            return
        from foretest.platform.tracking.served import save_network

        room = self._courier.journal.room()
        save_network(path, example, room / "model")
        self._post({"do": "model", "room": room.name, "name": name})

    def _post(self, record: Mapping[str, Any]) -> None:
        if self._courier is not None:
            self._courier.post(record)


class Tracker:
    """Where runs are told to; `address` None keeps nothing and needs no MLflow."""

    def __init__(self, address: str | None, spool: Path, say: Say) -> None:
        self.address, self.spool, self.say = address, spool, say

    @contextmanager
    def run(
        self,
        experiment: str,
        name: str,
        *,
        parameters: Mapping[str, Any],
        lineage: Lineage,
        parent: Run | None = None,
    ) -> Iterator[Run]:
        """One run: FINISHED where the block ends well, else FAILED with its error (Ctrl-C: KILLED).

        Nested parameters become `outer.inner`; `parent` makes it a child, such as a trial.
        """
        if self.address is None:
            yield Run(None)
            return
        courier = Courier(self.address, Journal.begin(self.spool), self.say)
        courier.post(
            {
                "do": "start",
                "experiment": experiment,
                "name": name,
                "time": now(),
                "parameters": dict(_flat({**parameters, **_stated(lineage)})),
                "tags": _tags(lineage, parent),
                "data": lineage.data_version,
            }
        )
        courier.start()
        run, status = Run(courier), "FAILED"
        try:
            yield run
            status = "FINISHED"
        except BaseException as error:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            run.tags({"error": f"{type(error).__name__}: {error}"[:4000]})
            run.artifact(traceback.format_exc().encode(), "error.txt")
            raise
        finally:
            courier.post({"do": "end", "status": status, "time": now()})
            courier.finish()

    def send(self) -> tuple[int, int]:
        """Deliver what earlier runs left behind: how many are there now, and how many are not."""
        if self.address is None:
            return 0, 0
        done = [send(folder, self.address, self.say) for folder in left_over(self.spool)]
        return sum(done), len(done) - sum(done)


def open_tracker(
    address: str | None = None, *, spool: Path | None = None, say: Say | None = None
) -> Tracker:
    """The tracker at an address: `http://HOST:PORT`, `sqlite:///FILE`, or "" to keep nothing.

    None means the one that the settings name (`tracking`), or none. `spool` holds what the server
    has not taken yet (`.foretest/tracking` of the working directory). Raises ExtraMissing,
    BadConfiguration. A server that does not answer is no error.
    """
    config = load_config(Path.cwd())
    address = config.tracking if address is None else address
    if address:
        client_of(address)
    folder = config.state / "tracking" if spool is None else spool
    return Tracker(address or None, folder, say or _to_stderr)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"tracking: {line}\n")


def _stated(lineage: Lineage) -> dict[str, Any]:
    return {
        "data_version": lineage.data_version,
        "code_version": lineage.code_version,
        **{f"seed.{name}": seed for name, seed in lineage.seeds.items()},
    }


def _tags(lineage: Lineage, parent: Run | None) -> dict[str, str]:
    tags = {"mlflow.source.name": "foretest", "mlflow.source.type": "LOCAL"}
    if lineage.commit:
        tags["mlflow.source.git.commit"] = lineage.commit
        tags["dirty"] = str("+" in lineage.code_version).lower()
    if parent is not None and parent.id:
        tags["mlflow.parentRunId"] = parent.id
    return tags


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{above}{_NAME.sub('_', str(key))}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            yield name, text[:_LONGEST]
