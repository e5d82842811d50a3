"""Records on their way to MLflow: kept on disk first, sent when the server answers."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from foretest.errors import BadConfiguration, ExtraMissing
from foretest.platform.tracking.journal import Journal, Record

Say = Callable[[str], None]

EVERY = 2.0
"""Seconds between two deliveries while a training runs."""
SAMPLED = 10.0
"""Seconds between two looks at the machine."""
_REST = 5.0
"""Seconds of rest after a server did not answer."""
_BATCH = 900
"""Metrics in one call; MLflow takes 1,000."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Nothing is reported to MLflow's makers, no bars are drawn into logs, and what a verb prints for a
machine stays what it is."""
_REFUSED = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"})
"""What MLflow answers to a record that it will never take."""


def mlflow() -> Any:
    """The library, told to keep to itself. Raises ExtraMissing where it is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)  # read when it is imported; the user's own word wins
    try:
        import mlflow as library
    except ImportError as error:
        raise ExtraMissing(
            "Tracking needs MLflow, which is not installed.",
            "Run: pip install 'foretest[platform]'",
        ) from error
    return library


def client_of(address: str) -> Any:
    """MLflow's client, made to give up after seconds where MLflow itself takes minutes.

    Raises ExtraMissing, BadConfiguration.
    """
    library = mlflow()
    from mlflow import environment_variables as settings

    for setting, value in (
        (settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES, 1),
        (settings.MLFLOW_HTTP_REQUEST_TIMEOUT, 20),
    ):
        if not setting.is_set():
            setting.set(value)
    try:
        return library.MlflowClient(tracking_uri=address, registry_uri=address)
    except library.MlflowException as error:
        raise BadConfiguration(
            f"{shown(address)} is no address of a tracking server.",
            "Name http://HOST:PORT or sqlite:///FILE.",
        ) from error


class Courier:
    """Takes one run's records to the server from a thread of its own; training never waits for it.

    What the server does not take at once stays in the journal and is tried again.
    """

    def __init__(self, address: str, journal: Journal, say: Say) -> None:
        self.address, self.journal, self._say = address, journal, say
        self._client = client_of(address)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._away_until = 0.0
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self) -> None:
        self.deliver()
        self._thread.start()

    def post(self, record: Record) -> None:
        with self._lock:
            self.journal.append(record)

    def finish(self) -> bool:
        """Deliver the rest; whether the server has all."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._away_until = 0.0
        whole = self.deliver()
        if not whole:
            self._say(
                f"{shown(self.address)} has not all of this run; what is missing lies in "
                f"{self.journal.folder}. Send it by: foretest platform tracking send"
            )
        self.journal.close()
        return whole

    def deliver(self) -> bool:
        """Send what is waiting; False where the server is away."""
        journal, singly = self.journal, 0
        while True:
            with self._lock:
                waiting = journal.records[journal.sent :]
            if not waiting:
                return True
            if time.monotonic() < self._away_until:
                return False
            batch = waiting[:1] if singly else _together(waiting)
            singly = max(0, singly - 1)
            try:
                run_id = self._send(batch)
            except Exception as error:  # whatever a client, a proxy or a store may raise
                if getattr(error, "error_code", "") not in _REFUSED or batch[0]["do"] == "start":
                    self._away(error)
                    return False
                if len(batch) > 1:  # one of them is to blame
                    singly = len(batch)
                    continue
                self._say(f"{shown(self.address)} refused {batch[0]['do']}: {why(error)}")
                run_id = journal.run_id
            with self._lock:
                journal.delivered(journal.sent + len(batch), run_id)

    def _away(self, error: Exception) -> None:
        if not self._away_until:
            told = f"{shown(self.address)} takes nothing ({why(error)})"
            self._say(f"{told}; the run is kept here.")
        self._away_until = time.monotonic() + _REST

    def _work(self) -> None:
        look, next_look = _machine(), 0.0
        while True:
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + SAMPLED
                self.post({"do": "metrics", "values": look(), "step": None, "time": now()})
            self.deliver()
            if self._over.wait(EVERY):
                return

    def _send(self, batch: list[Record]) -> str:
        """Send records of one kind; gives the run's id. Raises whatever the client raises."""
        record, client, run_id = batch[0], self._client, self.journal.run_id
        match record["do"]:
            case "start":
                return _create(client, self.address, record)
            case "metrics":
                _log_metrics(client, run_id, batch)
            case "tags":
                for name, value in record["values"].items():
                    client.set_tag(run_id, name, value)
            case "artifact":
                folder = self.journal.files(record)
                client.log_artifact(run_id, str(folder / record["file"]), record["below"] or None)
            case "model":
                log_model(client, run_id, record["name"], self.journal.files(record) / "model")
            case "end":
                client.set_terminated(run_id, record["status"], record["time"])
                if self.address.startswith("http"):
                    experiment = client.get_run(run_id).info.experiment_id
                    place = f"#/experiments/{experiment}/runs/{run_id}"
                    self._say(f"{shown(self.address).rstrip('/')}/{place}")
        return run_id


def send(folder: Path, address: str, say: Say) -> bool:
    """Deliver a journal that its process left behind; whether the server has all of it now."""
    courier = Courier(address, Journal(folder), say)
    if not any(record["do"] == "end" for record in courier.journal.records):
        courier.post({"do": "tags", "values": {"error": "The process ended without a word."}})
        courier.post({"do": "end", "status": "FAILED", "time": now()})
    return courier.finish()


def shown(address: str) -> str:
    """An address without the user and password that may stand in it."""
    return re.sub(r"//[^/@]*@", "//", address)


def why(error: Exception) -> str:
    """What an error of MLflow's client says, in one line."""
    from requests import RequestException

    if isinstance(error.__cause__ or error.__context__, RequestException):
        return "nobody answers"
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def now() -> int:
    """Milliseconds, as MLflow counts time."""
    return round(time.time() * 1000)


def _together(waiting: list[Record]) -> list[Record]:
    """The first record, and those after it that can go in the same call."""
    if waiting[0]["do"] != "metrics":
        return waiting[:1]
    batch: list[Record] = []
    size = 0
    for record in takewhile(lambda record: record["do"] == "metrics", waiting):
        size += len(record["values"])
        if batch and size > _BATCH:
            break
        batch.append(record)
    return batch


def _create(client: Any, address: str, record: Record) -> str:
    entities = mlflow().entities
    experiment = _experiment(client, address, record["experiment"])
    run = client.create_run(experiment, record["time"], record["tags"], record["name"])
    run_id = str(run.info.run_id)
    parameters = [entities.Param(name, value) for name, value in record["parameters"].items()]
    for first in range(0, len(parameters), 100):  # MLflow's limit
        client.log_batch(run_id, params=parameters[first : first + 100])
    data = entities.Dataset("data", record["data"][-36:], "local", record["data"])
    client.log_inputs(run_id, [entities.DatasetInput(data)])
    return run_id


def _experiment(client: Any, address: str, name: str) -> str:
    """The experiment's id; a database without a server keeps its artifacts beside itself."""
    if (known := client.get_experiment_by_name(name)) is not None:
        return str(known.experiment_id)
    beside = None
    if address.startswith("sqlite:///"):
        database = Path(address.removeprefix("sqlite:///")).resolve()
        beside = (database.parent / f"{database.stem}-artifacts").as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=beside))
    except mlflow().MlflowException:  # somebody was faster
        known = client.get_experiment_by_name(name)
        if known is None:
            raise
        return str(known.experiment_id)


def _log_metrics(client: Any, run_id: str, batch: Iterable[Record]) -> None:
    metric = mlflow().entities.Metric
    metrics = [
        metric(name, value, record["time"], record["step"] or 0)
        for record in batch
        for name, value in record["values"].items()
    ]
    for first in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + _BATCH])


def log_model(client: Any, run_id: str, name: str, folder: Path) -> str:
    """Upload a saved model as the output of a run; gives the id by which MLflow knows it."""
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, name=name, source_run_id=run_id)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    output = mlflow().entities.LoggedModelOutput(model.model_id, 0)
    client.log_outputs(run_id, [output])
    client.set_tag(run_id, f"model.{name}", model.model_id)
    return str(model.model_id)


def _machine() -> Callable[[], Mapping[str, float]]:
    """What gives the load of this machine, under MLflow's names for it."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(ImportError, RuntimeError):  # no `nvidia-ml-py`, or no GPU
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        monitors.append(GPUMonitor())

    def look() -> Mapping[str, float]:
        values = {}
        for monitor in monitors:
            monitor.collect_metrics()
            values.update(monitor.aggregate_metrics())
            monitor.clear_metrics()
        return {f"system/{name}": float(value) for name, value in values.items()}

    return look
