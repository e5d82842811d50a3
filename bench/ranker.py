"""The failure ranker: trains it on the kept facts, and judges it on repositories it never saw.

    python -m bench.ranker table [--intervals] [--published] [NAME...]
    python -m bench.ranker calibration
    python -m bench.ranker fit
    python -m bench.ranker likelihood

`table` fits, for each repository, a ranker on all the others, and judges it beside the formula and
the oracle. `fit` writes the ranker that foretest ships, with its lineage, and its figures.
`likelihood` writes the likelihoods of the formula's scores, and prints how they are kept.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.campaign import FACTS, HERE
from foretest.durable import write_text
from foretest.models.formula import Formula
from foretest.models.pretrained import LIKELIHOOD, RANKER, write_likelihoods
from foretest.models.ranker import STEEPEST, Calibration, Ranker, as_probability, base_logit
from foretest.platform.corpus.facts import FRESH, LAGGED, lessons_of, names_in
from foretest.platform.corpus.recipes import read_recipes
from foretest.replay.account import apart
from foretest.replay.compare import as_lines, compare_verdicts
from foretest.replay.judge import ALL, UNTOUCHED, Setting, judge
from foretest.replay.published.rankers import published as published_rankers
from foretest.replay.strategies import OURS, STRATEGIES, by_model
from foretest.replay.table import Verdict, as_text, tabulate
from foretest.training.crossfit import APART, calibration_of, fit_calibrated, left_out
from foretest.training.examples import Example
from foretest.training.fit import Recipe
from foretest.training.pool import Taught, examples, pool
from foretest.training.probabilities import brier, log_loss

LEARNED = "learned ranker"
CHOSEN_ON = (
    *("boltons", "click", "jinja", "lark"),
    *("markdown", "marshmallow", "sqlparse", "tomlkit"),
)
"""Repositories on whose left-out figures the recipe was chosen: the others were never looked at."""
SHIPPED = HERE.parent / "src" / "foretest" / "models" / "pretrained" / RANKER

SCORES = HERE.parent / "src" / "foretest" / "models" / "pretrained" / LIKELIHOOD

ByExamples = dict[str, Sequence[Example]]
ByRepository = Mapping[str, np.ndarray]
"""A number for each test of each faulty change, by repository."""


def corpus(
    arguments: argparse.Namespace,
) -> tuple[dict[str, Sequence[Taught]], ByExamples, ByExamples]:
    """Lessons, real and augmented examples by repository; none without a faulty change."""
    names = names_in(arguments.facts)
    taught = (
        t for n in names for kind in (FRESH, LAGGED) for t in lessons_of(arguments.facts, [n], kind)
    )
    made = pool(taught, augment=arguments.augment)
    return dict(made.taught), dict(made.real), dict(made.extra)


def verdicts_of(
    taught: Mapping[str, Sequence[Taught]],
    rankers: dict[str, Ranker],
    kind: int,
    counts: Counter[str],
    published: bool,
) -> Iterator[Verdict]:
    """Verdicts on one kind of evidence: the learned ranker of each repository beside all others."""
    pupils = [part[kind][0] for part in taught.values() if len(part) > kind]
    for name, part in taught.items():
        if len(part) <= kind:
            continue
        lesson, age = part[kind]
        more = published_rankers(lesson, pupils) if published else {}
        strategies = {**STRATEGIES, LEARNED: by_model(rankers[name]), **more}
        setting = Setting(model=Formula(), freshness=age, strategies=strategies)
        judgement = judge(lesson.trials, lesson.store, setting)
        counts.update(judgement.apart)
        yield from judgement.verdicts


def table(arguments: argparse.Namespace) -> None:
    taught, real, extra = corpus(arguments)
    rankers = left_out(real, recipe_of(arguments), Formula(), extra)
    wanted = names_in(arguments.facts, arguments.names)
    judged = {name: part for name, part in taught.items() if name in wanted}
    unseen = [name for name in judged if name not in CHOSEN_ON]
    for place, kind in enumerate((FRESH, LAGGED)):
        counts: Counter[str] = Counter()
        verdicts = list(verdicts_of(judged, rankers, place, counts, arguments.published))
        print(f"=== {kind} ===\n")
        show(verdicts, arguments)
        if 0 < len(unseen) < len(judged):
            print(f"\n=== {kind}, repositories that nothing was chosen on ===\n")
            show([v for v in verdicts if v.repository in unseen], arguments)
        print("\n" + "\n".join(apart(counts)) + "\n", flush=True)


def show(verdicts: Sequence[Verdict], arguments: argparse.Namespace) -> None:
    print(as_text(tabulate(verdicts, OURS), arguments.intervals))
    if arguments.repositories:
        each = [replace(v, slice=v.repository) for v in verdicts if v.slice == ALL]
        print("\n" + as_text(tabulate(each, OURS), arguments.intervals))
    for part in (ALL, UNTOUCHED):
        comparison = compare_verdicts(verdicts, LEARNED, OURS, part)
        print(f"\n{part}: " + "\n".join(as_lines(comparison, LEARNED, "formula")))


def calibration(arguments: argparse.Namespace) -> None:
    """Stated probability against what happened, on repositories left out."""
    _, real, extra = corpus(arguments)
    rankers = left_out(real, recipe_of(arguments), Formula(), extra)
    stated = {
        name: np.concatenate([rankers[name].predict(e.frame) for e in part])
        for name, part in real.items()
    }
    failed = {name: np.concatenate([e.failed for e in part]) for name, part in real.items()}
    print("\n".join(reliability(stated, failed)))


def reliability(stated: ByRepository, failed: ByRepository) -> Iterator[str]:
    """Stated against observed by bin: over all tests, and in the repositories most apart."""
    pooled, happened = (
        np.concatenate([part[name] for name in stated]) for part in (stated, failed)
    )
    yield f"{'stated':>16} {'tests':>10} {'mean stated':>12} {'failed':>8}  by repository"
    for low, high in pairwise((0.0, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0)):

        def there(values: np.ndarray, low: float = low, high: float = high) -> np.ndarray:
            return (values >= low) & (values < high if high < 1 else values <= 1)

        if (inside := there(pooled)).any():
            each = [failed[name][there(p)].mean() for name, p in stated.items() if there(p).any()]
            yield (
                f"{low:7.4f}..{high:7.4f} {inside.sum():10,} {pooled[inside].mean():12.4%} "
                f"{happened[inside].mean():8.4%}  {min(each):.1%} to {max(each):.1%} in {len(each)}"
            )


# --- what the formula's scores are worth ---


def likelihood(arguments: argparse.Namespace) -> None:
    """Write the likelihoods of the formula's scores; print them against repositories left out.

    Coverage is lagged, which is what everyday use meets. Every test of every faulty change counts
    alike, so that repositories with many changes weigh most.
    """
    model, names = Formula(), names_in(arguments.facts)
    real = {
        name: examples(list(lessons_of(arguments.facts, [name], LAGGED)), name) for name in names
    }
    real = {name: part for name, part in real.items() if part}
    raw = {
        name: base_logit(np.concatenate([model.predict(e.frame) for e in part]))
        for name, part in real.items()
    }
    failed = {
        name: np.concatenate([e.failed for e in part]).astype(np.float64)
        for name, part in real.items()
    }
    lineage = {
        "command": "python -m bench.ranker likelihood",
        "what": "P(a test fails | the change breaks something)",
        "model": model.to_json(),
        "coverage": "lagged: of some fifty commits before the state that was tried",
        "changes": {name: len(part) for name, part in real.items()},
        "tests": int(sum(map(len, raw.values()))),
    }
    write_text(arguments.out, write_likelihoods(model, _mapped(raw, failed), lineage))
    print(
        f"{arguments.out.name}: {sum(map(len, real.values())):,} changes, {len(real)} repositories"
    )
    stated, constant = {}, {}
    for name in real:
        others = [other for other in real if other != name]
        made = _mapped(*({other: part[other] for other in others} for part in (raw, failed)))
        stated[name] = as_probability(made.log_odds(raw[name]))
        share = float(np.concatenate([failed[other] for other in others]).mean())
        constant[name] = np.full(len(raw[name]), share)
    print("\n" + "\n".join(reliability(stated, failed)) + "\n")
    outcome = np.concatenate(list(failed.values()))
    for label, given in (("likelihood", stated), ("one share for every test", constant)):
        pooled, one = np.concatenate(list(given.values())), np.ones(len(outcome))
        scores = brier(pooled, outcome, one), log_loss(pooled, outcome, one)
        print(f"{label:>24}: Brier score {scores[0]:.4f}, log loss {scores[1]:.4f}")


def _mapped(raw: ByRepository, failed: ByRepository) -> Calibration:
    scores, outcome = (np.concatenate(list(part.values())) for part in (raw, failed))
    made = calibration_of(scores, outcome)
    if made is None:
        raise SystemExit("The kept changes say nothing about the formula's scores.")
    # Beyond its last knot a map rises as the score does, and states more than ever happened: what
    # failed among the highest scores holds it down from there on.
    top = scores > np.median(scores[scores >= made.x[-1]])
    share = max(float(outcome[top].mean()), made.y[-1] * (1 + APART))
    x = (*made.x, float(scores[top].mean()), STEEPEST)
    return Calibration(x, (*made.y, share, share * (1 + APART)))


def fit(arguments: argparse.Namespace) -> None:
    """Write the ranker that is shipped: fitted on every repository with facts."""
    taught, real, extra = corpus(arguments)
    recipe = recipe_of(arguments)
    recipes = {recipe.name: recipe for recipe in read_recipes()}
    lineage = {
        "repositories": [
            {
                "name": name,
                "url": recipes[name].url,
                "commit": taught[name][0][0].store.commit,
                "licence": recipes[name].licence,
                "changes": len({e.case_id for e in part}),
            }
            for name, part in sorted(real.items())
        ],
        "examples": sum(map(len, real.values())),
        "augmented": sum(map(len, extra.values())),
        "recipe": asdict(recipe),
        "made by": "python -m bench.ranker fit",
    }
    ranker = fit_calibrated(real, recipe, Formula(), extra, lineage)
    arguments.out.write_text(json.dumps(ranker.to_json(), indent=1) + "\n", encoding="utf-8")
    print(
        f"{arguments.out}: {arguments.out.stat().st_size / 1000:.0f} kB, "
        f"{len(real)} repositories, {lineage['examples']} examples, "
        f"{lineage['augmented']} augmented"
    )


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    changes = {
        name: getattr(arguments, name)
        for name in ("objective", "rounds", "leaves")
        if getattr(arguments, name) is not None
    }
    return replace(Recipe(), **changes)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ranker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True)
    showing = verbs.add_parser("table", help="judge on repositories left out")
    showing.add_argument("--intervals", action="store_true", help="with 95%% intervals")
    showing.add_argument("--repositories", action="store_true", help="each repository, too")
    showing.add_argument("--published", action="store_true", help="with published recipes")
    showing.add_argument("names", nargs="*", metavar="NAME")
    showing.set_defaults(verb=table)
    checking = verbs.add_parser("calibration", help="stated probabilities against outcomes")
    checking.set_defaults(verb=calibration)
    making = verbs.add_parser("fit", help="write the ranker that is shipped")
    making.add_argument("--out", type=Path, default=SHIPPED)
    making.set_defaults(verb=fit)
    mapping = verbs.add_parser("likelihood", help="write what the formula's scores are worth")
    mapping.add_argument("--out", type=Path, default=SCORES)
    mapping.set_defaults(verb=likelihood)
    for verb in (showing, checking, making, mapping):
        verb.add_argument("--facts", type=Path, default=FACTS)
    for verb in (showing, checking, making):
        verb.add_argument("--no-augment", dest="augment", action="store_false")
        verb.add_argument("--objective", choices=("binary", "lambdarank"))
        verb.add_argument("--rounds", type=int)
        verb.add_argument("--leaves", type=int)
    arguments = parser.parse_args(argv)
    arguments.verb(arguments)


if __name__ == "__main__":
    main()
