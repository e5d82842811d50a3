"""Change risk: learnt without the repository it is judged on, and as the size of a budget.

    python -m bench.risk [--fresh] [--facts DIR]... [NAME...]
    python -m bench.risk --write src/foretest/models/pretrained/risk.json

Needs the facts under proof/ alone. Intervals are resampled by repository and commit. `--write`
learns from all of them and writes the model that comes with foretest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench.campaign import FACTS
from foretest.durable import write_text
from foretest.models.risk import NAMES, Floats, Scale
from foretest.platform.corpus.facts import FRESH, LAGGED, read_evidence, read_facts
from foretest.replay.intervals import ClusteredBootstrap, Interval
from foretest.training.probabilities import auc, brier, calibration_slope, log_loss
from foretest.training.risk import (
    DIRECTED,
    EXPONENT,
    REALISTIC,
    SHIPPED,
    Tried,
    fit,
    left_out,
    mix,
    needs,
    normalised,
    saving,
    tried_of,
)

DIRECTION = "all columns, and which way lines went"
Learner = Callable[[Sequence[Tried]], Callable[[Floats], Floats]]
BUDGETS = (0.01, 0.02, 0.05, 0.10)
KNOWN = "who knows which change breaks"
MEASURES = {"AUC": auc, "Brier": brier, "log loss": log_loss, "slope": calibration_slope}


def read_tried(places: Sequence[Path], kind: str, names: Sequence[str]) -> list[Tried]:
    """Every change tried whose facts lie at one of the places."""
    found: list[Tried] = []
    for facts in places:
        for path in sorted(facts.glob("*.jsonl.gz")):
            name = path.name.removesuffix(".jsonl.gz")
            evidence = read_evidence(facts, name, kind) if not names or name in names else None
            if evidence is not None:
                found.extend(tried_of(read_facts(facts, name), *evidence, name))
    return found


def base_rate(tried: Sequence[Tried]) -> Callable[[Floats], Floats]:
    rate = sum(t.faulty for t in tried) / len(tried)
    return lambda rows: np.full(len(rows), rate)


def regression(names: Sequence[str], tried: Sequence[Tried]) -> Callable[[Floats], Floats]:
    return fit(tried, names).probabilities


def trees(tried: Sequence[Tried]) -> Callable[[Floats], Floats]:
    """A small forest of LightGBM over every column but those that have a direction."""
    import lightgbm

    columns = [NAMES.index(name) for name in NAMES if name not in DIRECTED]
    rows = np.array([t.row for t in tried])[:, columns]
    options = {
        "objective": "binary", "num_leaves": 7, "learning_rate": 0.05, "min_data_in_leaf": 20,
        "num_threads": 1, "deterministic": True, "seed": 0, "verbose": -1,
    }  # fmt: skip
    data = lightgbm.Dataset(rows, label=[float(t.faulty) for t in tried])
    booster = lightgbm.train(options, data, num_boost_round=80)
    return lambda asked: np.asarray(booster.predict(asked[:, columns]))


LEARNERS: dict[str, Learner] = {
    "base rate": base_rate,
    "lines changed": partial(regression, ("lines",)),
    "shipped": partial(regression, SHIPPED),
    "all columns": partial(regression, tuple(n for n in NAMES if n not in DIRECTED)),
    "trees": trees,
    DIRECTION: partial(regression, NAMES),
}


def risk_table(tried: Sequence[Tried], bootstrap: ClusteredBootstrap) -> Iterator[str]:
    """A line for each way to state the risk, and how far the shipped one is ahead of the plain."""
    y = np.array([float(t.faulty) for t in tried])
    risks = {name: left_out(tried, learn) for name, learn in LEARNERS.items()}
    yield f"{'':40}" + "".join(f"{name:>26}" for name in MEASURES)
    for name, p in risks.items():
        cells = (
            _cell(bootstrap.over(lambda w, of=of, p=p: of(p, y, w))) for of in MEASURES.values()
        )
        yield f"{name:40}" + "".join(f"{cell:>26}" for cell in cells)
    ours = risks["shipped"]
    for name in ("base rate", "lines changed"):
        p = risks[name]
        apart = (
            _cell(bootstrap.over(lambda w, of=of, p=p: of(ours, y, w) - of(p, y, w)))
            for of in (auc, brier, log_loss)
        )
        yield f"{'shipped less ' + name:40}" + "".join(f"{cell:>26}" for cell in apart)


def budget_table(tried: Sequence[Tried], rate: float | None) -> Iterator[str]:
    """What flat and adapted budgets of the same mean time catch, and the time saved."""
    y = np.array([float(t.faulty) for t in tried])
    faulty, weights = y > 0, mix(y, rate)
    firsts = np.array([t.first for t in tried])
    bootstrap = ClusteredBootstrap([(t.repository, t.commit) for t in tried if t.faulty])
    share = f"{y.mean() if rate is None else rate:.0%} of the changes faulty"
    yield f"{share}: caught at the same mean time, and time saved at the same catch"
    yield f"{'':40}{'mean':>6}{'flat':>8}{'adapted':>9}{'gain, points':>22}{'saved, %':>20}"
    chosen = ("lines changed", "shipped", DIRECTION)
    risks = {name: left_out(tried, LEARNERS[name]) for name in chosen}
    risks[KNOWN] = np.where(faulty, 1.0, 1e-6)
    flat = firsts[faulty]
    for name, risk in risks.items():
        factors = normalised(Scale(EXPONENT), risk, weights).factors(risk)
        adapted = needs(firsts, factors, weights)[faulty]
        for budget in BUDGETS:
            gain = bootstrap.difference(_caught(adapted, budget), _caught(flat, budget))
            saved = bootstrap.over(partial(saving, flat, adapted, budget))
            yield (
                f"{name:40}{budget:>6.0%}{(flat <= budget).mean():>8.1%}"
                f"{(adapted <= budget).mean():>9.1%}{_cell(gain, 100, 1):>22}"
                f"{_cell(saved, 100, 0):>20}"
            )


def held_out_time(tried: Sequence[Tried]) -> Iterator[str]:
    """Mean factor of each repository by the scale learnt from the others: 1 is as promised."""
    y = np.array([float(t.faulty) for t in tried])
    risks = left_out(tried, LEARNERS["shipped"])
    factors = left_out(tried, _factors)
    of = np.array([t.repository for t in tried])
    for repository in dict.fromkeys(of.tolist()):
        there = of == repository
        weights = mix(y[there], REALISTIC) if 0 < y[there].mean() < 1 else np.ones(there.sum())
        mean = float((weights * factors[there]).sum() / weights.sum())
        yield (
            f"{repository:20}{there.sum():>6} changes{y[there].mean():>7.0%} faulty"
            f"{risks[there].mean():>7.0%} foretold, mean factor {mean:.2f}"
        )


def _factors(tried: Sequence[Tried]) -> Callable[[Floats], Floats]:
    risk = fit(tried)
    return lambda rows: risk.scale.factors(risk.probabilities(rows))


def _caught(needed: Floats, budget: float) -> Floats:
    return (needed <= budget).astype(np.float64)


def _cell(value: Interval, times: float = 1.0, digits: int = 3) -> str:
    mean, low, high = (f"{times * v:.{digits}f}" for v in (value.mean, value.low, value.high))
    return f"{mean} [{low}, {high}]"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.risk", description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="fresh coverage, not lagged")
    parser.add_argument("--facts", type=Path, action="append", help="where facts lie")
    parser.add_argument("--write", type=Path, help="write the model learnt from all")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args(argv)
    kind = FRESH if arguments.fresh else LAGGED
    tried = read_tried(arguments.facts or [FACTS], kind, arguments.names)
    faulty = sum(t.faulty for t in tried)
    repositories = len({t.repository for t in tried})
    print(f"{kind}: {len(tried)} changes of {repositories} repositories, {faulty} faulty\n")
    if arguments.write:
        text = json.dumps(fit(tried).to_json(), indent=1, sort_keys=True) + "\n"
        write_text(arguments.write, text)
        return
    print(
        "\n".join(risk_table(tried, ClusteredBootstrap([(t.repository, t.commit) for t in tried])))
    )
    for rate in (None, REALISTIC):
        print("\n" + "\n".join(budget_table(tried, rate)))
    print("\n" + "\n".join(held_out_time(tried)))


if __name__ == "__main__":
    main()
