"""Ray Tune over the ranker's recipe: what each way of searching finds for the time it takes.

Every search sees the same space, the same folds and the same resource, rounds of boosting, which a
scheduler may cut. What a trial costs is the CPU time of its own process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from foretest.config import switched_on
from foretest.errors import ExtraMissing
from foretest.platform.cluster import connect
from foretest.platform.ranking.objective import LOSS, ROUNDS, STEP, Boosting, Fold, Space

CPU = "cpu_seconds"
REPORTS = ROUNDS // STEP
"""Reports of a trial that nobody cuts."""
POPULATION = 8
"""Trials of population based training, which go on together until the end."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one search found."""

    search: str
    seed: int
    trials: int
    best: Mapping[str, float]
    rounds: int
    """Rounds of boosting at which the best loss was seen."""
    loss: float
    cpu_seconds: float
    """Of all trials together."""
    curve: tuple[tuple[float, float], ...]
    """CPU seconds spent so far, and the best loss seen by then; both in order."""

    def by(self, cpu_seconds: float) -> float:
        """The best loss seen within so much CPU time; infinite before the first report."""
        return min(
            (loss for spent, loss in self.curve if spent <= cpu_seconds), default=float("inf")
        )


def tune() -> Any:
    """The library. Raises ExtraMissing where it is not installed."""
    try:
        from ray import tune as library
    except ImportError as error:
        raise ExtraMissing(
            "Tuning needs Ray Tune and Optuna.", "Run: pip install 'foretest[platform]'"
        ) from error
    return library


def space() -> dict[str, Any]:
    """What is searched; the shipped recipe lies inside."""
    t = tune()
    return {
        "rate": t.loguniform(0.01, 0.3),
        "leaves": t.randint(2, 32),
        "least": t.lograndint(5, 400),
        "ridge": t.loguniform(0.1, 50.0),
    }


def _random(seed: int) -> dict[str, Any]:
    return {"search_alg": _drawn(seed)}


def _drawn(seed: int) -> Any:
    """Points of the space drawn at random, the same for the same seed."""
    from ray.tune.search.basic_variant import BasicVariantGenerator

    return BasicVariantGenerator(random_state=seed)


def _asha(seed: int) -> dict[str, Any]:
    from ray.tune.schedulers import ASHAScheduler

    scheduler = ASHAScheduler(max_t=REPORTS, grace_period=2, reduction_factor=3)
    return {"search_alg": _optuna(seed), "scheduler": scheduler}


def _bohb(seed: int) -> dict[str, Any]:
    """Hyperband's brackets, filled by a Parzen estimator (after Falkner et al. 2018)."""
    from ray.tune.schedulers import HyperBandScheduler

    scheduler = HyperBandScheduler(max_t=REPORTS, reduction_factor=3)
    return {"search_alg": _optuna(seed, multivariate=True), "scheduler": scheduler}


def _pbt(seed: int) -> dict[str, Any]:
    """Population based training (Jaderberg et al. 2017): the worst go on from the best."""
    from ray.tune.schedulers import PopulationBasedTraining

    mutations = {name: part for name, part in space().items() if name in ("rate", "ridge", "least")}
    random.seed(seed)  # what it perturbs by
    np.random.seed(seed)
    return {
        "search_alg": _drawn(seed),
        "scheduler": PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=2,
            hyperparam_mutations=mutations,
            synch=False,
        ),
    }


def _optuna(seed: int, **settings: Any) -> Any:
    from optuna.samplers import TPESampler
    from ray.tune.search.optuna import OptunaSearch

    sampler = TPESampler(seed=seed, n_startup_trials=8, **settings)
    return OptunaSearch(sampler=sampler, metric=LOSS, mode="min")


SEARCHES: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "random": _random,
    "ASHA + Optuna": _asha,
    "PBT": _pbt,
    "BOHB-style": _bohb,
}


def search(
    name: str,
    folds: Sequence[Fold],
    trials: int,
    folder: Path,
    seed: int = 0,
    address: str | None = None,
    at_once: int = 2,
    cpu_seconds: float = float("inf"),
) -> Found:
    """Run one of SEARCHES on a cluster (`cluster.connect`); `folder` keeps its trials.

    It ends after so many trials, or as soon as they have taken so much CPU time together.
    """
    t = tune()
    watch = _watch()
    trials = min(trials, POPULATION) if name == "PBT" else trials
    with connect(address):
        tuner = t.Tuner(
            t.with_resources(t.with_parameters(_trainable(), folds=list(folds)), {"cpu": 1}),
            param_space=space(),
            tune_config=t.TuneConfig(
                metric=LOSS,
                mode="min",
                num_samples=trials,
                max_concurrent_trials=at_once,
                reuse_actors=True,
                **SEARCHES[name](seed),
            ),
            run_config=t.RunConfig(
                name=f"{name.split()[0].lower()}-{seed}",
                storage_path=str(folder.resolve()),
                stop=_spender(cpu_seconds),
                callbacks=[watch],
                verbose=0,
            ),
        )
        with _by_us_alone():
            tuner.fit()
    return watch.found(name, seed)


@contextmanager
def _by_us_alone() -> Iterator[None]:
    """No logs of Ray Tune's own beside ours, and no lines on the screen about where they lie."""
    with switched_on("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"), redirect_stdout(StringIO()):
        yield


def _trainable() -> Any:
    """The trial as Ray Tune wants it; made late, for its base class is Ray's."""

    class Trial(tune().Trainable):  # type: ignore[misc]
        """One point of the space, grown STEP rounds a report."""

        def setup(self, config: Space, folds: Sequence[Fold]) -> None:
            self.boosting = Boosting(folds, config)

        def step(self) -> dict[str, float]:
            began = time.process_time()
            loss = self.boosting.grow(STEP)
            spent = time.process_time() - began
            return {LOSS: loss, CPU: spent, "rounds": self.boosting.rounds}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            self.boosting.save(Path(checkpoint_dir))

        def load_checkpoint(self, checkpoint: str) -> None:
            self.boosting.load(Path(checkpoint))

        def reset_config(self, new_config: Space) -> bool:
            """Begin anew with other settings; a population's heir then loads its trees."""
            self.boosting = Boosting(self.boosting.folds, new_config)
            return True

    return Trial


def _spender(cpu_seconds: float) -> Any:
    """What ends a trial after REPORTS, and all of them when so much CPU time is spent."""

    class Spender(tune().Stopper):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = cpu_seconds

        def __call__(self, _: str, result: Mapping[str, Any]) -> bool:
            self.left -= result[CPU]
            return bool(result["training_iteration"] >= REPORTS)

        def stop_all(self) -> bool:
            return self.left <= 0

    return Spender()


def _watch() -> Any:
    """What listens to all trials' reports, in the order in which they come."""

    class Watch(tune().Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.spent, self.best, self.trials = 0.0, float("inf"), set[str]()
            self.curve: list[tuple[float, float]] = []
            self.config: dict[str, float] = {}
            self.rounds = 0

        def on_trial_result(
            self, *_: Any, trial: Any, result: Mapping[str, Any], **__: Any
        ) -> None:
            self.trials.add(trial.trial_id)
            self.spent += result[CPU]
            if result[LOSS] < self.best:
                self.best, self.rounds = float(result[LOSS]), int(result["rounds"])
                self.config = {name: float(value) for name, value in trial.config.items()}
            self.curve.append((self.spent, self.best))

        def found(self, name: str, seed: int) -> Found:
            return Found(
                name, seed, len(self.trials), self.config, self.rounds, self.best, self.spent,
                tuple(self.curve),
            )  # fmt: skip

    return Watch()
