"""The judge's table over the kept facts of the corpus (`foretest platform corpus` makes them).

python -m bench.campaign table [--intervals] [--published] [--compare A B] [NAME...]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from foretest.models.pretrained import load
from foretest.models.ranker import Ranker
from foretest.platform.corpus.facts import FRESH, LAGGED, lessons_of, names_in
from foretest.replay.account import apart
from foretest.replay.compare import as_lines, compare_verdicts
from foretest.replay.judge import ALL, UNTOUCHED, Setting, judge
from foretest.replay.published.rankers import published as published_rankers
from foretest.replay.strategies import OURS, STRATEGIES, by_model
from foretest.replay.table import Verdict, as_text, tabulate

HERE = Path(__file__).parent
FACTS = HERE.parent / "proof" / "cases"
SHIPPED = "shipped ranker"


def judge_facts(
    facts: Path,
    names: Iterable[str],
    kind: str,
    counts: Counter[str],
    published: bool = False,
    shipped: bool = False,
) -> Iterator[Verdict]:
    """Verdicts of all repositories with one kind of coverage; `counts` takes what is set apart.

    With `published` the published recipes are judged, too; those learnt across projects learn from
    the repositories named, less the one that is judged. With `shipped` the shipped ranker is.
    """
    own = {SHIPPED: by_model(unfamiliar(names))} if shipped else {}
    taught = list(lessons_of(facts, names, kind))
    lessons = [lesson for lesson, _ in taught]
    for lesson, age in taught:
        more = published_rankers(lesson, lessons) if published else {}
        setting = Setting(freshness=age, strategies={**STRATEGIES, **own, **more})
        judgement = judge(lesson.trials, lesson.store, setting)
        counts.update(judgement.apart)
        yield from judgement.verdicts


def unfamiliar(names: Iterable[str]) -> Ranker:
    """The shipped ranker, where it knows none of these repositories."""
    ranker = load()
    if ranker is None:
        raise SystemExit("foretest ships no ranker.")
    known = {each["name"] for each in ranker.lineage["repositories"]}
    if seen := known.intersection(names):
        raise SystemExit(f"The shipped ranker was fitted on {', '.join(sorted(seen))}.")
    return ranker


def table(arguments: argparse.Namespace) -> None:
    """Print, for each kind of coverage, every slice over all repositories, then each repository."""
    names = names_in(arguments.facts, arguments.names)
    for kind in (FRESH, LAGGED):
        counts: Counter[str] = Counter()
        verdicts = list(
            judge_facts(
                arguments.facts, names, kind, counts, arguments.published, arguments.shipped
            )
        )
        print(f"=== {kind} ===\n")
        print(as_text(tabulate(verdicts, OURS), arguments.intervals))
        if arguments.repositories:
            each = [replace(v, slice=v.repository) for v in verdicts if v.slice == ALL]
            print("\n" + as_text(tabulate(each, OURS), arguments.intervals))
        for ours, theirs in arguments.compare or ():
            print("\n" + "\n".join(_compared(verdicts, ours, theirs)))
        print("\n" + "\n".join(apart(counts)) + "\n")


def _compared(verdicts: Sequence[Verdict], ours: str, theirs: str) -> Iterator[str]:
    for slice_ in (ALL, UNTOUCHED):
        try:
            comparison = compare_verdicts(verdicts, ours, theirs, slice_)
        except ValueError as error:
            known = ", ".join(sorted({v.strategy for v in verdicts}))
            raise SystemExit(f"{error}. Strategies judged: {known}.") from error
        yield f"{slice_}: " + "\n".join(as_lines(comparison, ours, theirs))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.campaign", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    showing = verbs.add_parser("table", help="judge the facts")
    showing.add_argument("--intervals", action="store_true", help="with 95%% intervals")
    showing.add_argument("--repositories", action="store_true", help="each repository, too")
    showing.add_argument("--shipped", action="store_true", help="with the shipped ranker")
    showing.add_argument("--published", action="store_true", help="with published recipes")
    showing.add_argument(
        "--compare", nargs=2, action="append", metavar=("A", "B"), help="test A against B"
    )
    showing.set_defaults(verb=table)
    showing.add_argument("--facts", type=Path, default=FACTS)
    showing.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args(argv)
    arguments.verb(arguments)


if __name__ == "__main__":
    main()
