"""The real peers on real repositories: asks them, keeps their answers, prints the tables.

    python -m bench.peers run --scratch DIR [--mirrors DIR] [--cases 30] [NAME...]
    python -m bench.peers table [--intervals] [NAME...]

`run` needs what `bench.campaign run` left in the same scratch directory: clone, environment, fresh
evidence and cases. It goes on where it was cut off. `table` needs the facts under proof/ alone.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.campaign import FACTS, HERE
from foretest import bundle as bundles
from foretest.cli.screen import Screen
from foretest.errors import ForetestError
from foretest.peers.answers import Answer, read_answers
from foretest.peers.run import CASES, FOLDER, against_peers
from foretest.peers.tools import TOOLS
from foretest.peers.verdicts import (
    ALL_OR_NONE,
    GRANULARITY,
    PEERS,
    PeerVerdict,
    as_text,
    judge_answer,
    peer_rows,
)
from foretest.platform.corpus.facts import FRESH, read_facts
from foretest.platform.corpus.place import Place
from foretest.platform.corpus.recipes import read_recipes
from foretest.replay import table
from foretest.replay.cases import trials_of
from foretest.replay.judge import ALL, Setting, judge
from foretest.replay.strategies import ORACLE, OURS
from foretest.replay.table import Verdict, tabulate
from foretest.selection.compose import predicted_seconds
from foretest.selection.policy import Freshness

ANSWERS = HERE.parent / "proof" / "peers"
QUESTIONS = {question.name: question for tool in TOOLS for question in tool.questions}


# --- asking them ---


def run(arguments: argparse.Namespace) -> None:
    """Ask about each repository's cases; one that fails does not stop the others."""
    for recipe in read_recipes(arguments.recipes, arguments.names):
        place = Place(recipe, arguments.scratch.resolve(), arguments.mirrors)
        state = place.config.state
        try:
            (state / "lab").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place.evidence(FRESH), place.config.bundle_path)
            shutil.copyfile(place.lab / "cases.jsonl", state / "lab" / "cases.jsonl")
            with Screen() as screen:
                compared = against_peers(place.config, cases=arguments.cases, progress=screen)
            for notice in compared.report.notices:
                print(f"{recipe.name}: {notice}", file=sys.stderr, flush=True)
        except (ForetestError, OSError) as error:
            print(f"{recipe.name}: {error}", file=sys.stderr, flush=True)
            continue
        keep(state / FOLDER, arguments.answers / f"{recipe.name}.jsonl.gz")


def keep(answers: Path, facts: Path) -> None:
    """Write the answers of all tools as one file of facts."""
    lines = [a.to_line() for path in sorted(answers.glob("*.jsonl")) for a in read_answers(path)]
    facts.parent.mkdir(parents=True, exist_ok=True)
    facts.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


# --- judging them ---


@dataclass
class Pool:
    """Verdicts of several repositories, each strategy on the same cases in the same order."""

    own: defaultdict[str, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    asked: defaultdict[str, list[PeerVerdict]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, facts: Path, answers: Path) -> None:
        """Judge one repository's answers, on the changes that every tool was asked about."""
        bundle = bundles.read(facts / f"{name}.{FRESH.split()[0]}.ftb")
        age = Freshness(tuple(bundle.lineage["ages"]), bundle.lineage["age"], is_ancestor=True)
        cases = trials_of(read_facts(facts, name), bundle.store.commit)
        trials = {trial.case_id: replace(trial, repository=name) for trial in cases}
        judgement = judge(list(trials.values()), bundle.store, Setting(freshness=age))
        given: defaultdict[str, dict[str, Answer]] = defaultdict(dict)
        for answer in _read(answers):
            given[answer.question][answer.case_id] = answer
        common = set.intersection(*(set(each) for each in given.values()))
        seconds = predicted_seconds(bundle.store.seconds)
        for verdict in judgement.verdicts:
            if verdict.slice == ALL and verdict.case_id in common:
                self.own[verdict.strategy].append(replace(verdict, slice=PEERS))
        start_up = self.own[OURS][-1].start_up
        order = [v.case_id for v in self.own[OURS] if v.repository == name]
        for question in QUESTIONS.keys() & given.keys():
            for case in order:
                answer = given[question][case]
                trial = trials[case]
                judged = judge_answer(answer, QUESTIONS[question], trial, bundle.store, seconds)
                verdict = replace(judged.verdict, start_up=start_up)
                self.asked[question].append(replace(judged, verdict=verdict))

    def text(self, intervals: bool) -> str:
        """Within budgets, then what tools that leave tests out miss and take."""
        named = [name for name in QUESTIONS if name in self.asked]
        verdicts = [v for each in self.own.values() for v in each]
        verdicts += [v.verdict for name in named for v in self.asked[name]]
        selections = {name: self.asked[name] for name in named if not QUESTIONS[name].orders}
        orders = {name: self.own[name] for name in self.own if name in (ORACLE, OURS)}
        lines = table.as_text(tabulate(verdicts, OURS), intervals)
        return f"{lines}\n\n{as_text(peer_rows(selections, orders))}"


def _read(path: Path) -> Iterator[Answer]:
    with gzip.open(path, "rb") as lines:
        yield from map(Answer.from_line, lines)


def show(arguments: argparse.Namespace) -> None:
    """Print the tables of each repository, then of all together."""
    names = sorted(path.name.removesuffix(".jsonl.gz") for path in arguments.answers.glob("*.gz"))
    names = [name for name in names if not arguments.names or name in arguments.names]
    if not names:
        raise SystemExit("No answers are kept under that name: 'bench.peers run' asks for them.")
    for part in (*([name] for name in names), *([names] if len(names) > 1 else [])):
        print(f"=== {' + '.join(part)} ===\n")
        print(_pool(part, arguments.facts, arguments.answers).text(arguments.intervals) + "\n")
    print("Asked: " + ", ".join(f"{tool.name} {tool.version}".strip() for tool in TOOLS) + ".")
    remarks = (tool.remark for tool in TOOLS if tool.remark)
    print("\n".join((*remarks, GRANULARITY, ALL_OR_NONE)))


def _pool(names: Iterable[str], facts: Path, answers: Path) -> Pool:
    pool = Pool()
    for name in names:
        pool.add(name, facts, answers / f"{name}.jsonl.gz")
    return pool


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    asking = verbs.add_parser("run", help="ask the tools, or go on asking")
    asking.add_argument("--scratch", type=Path, required=True)
    asking.add_argument("--mirrors", type=Path, help="directory of local mirrors, OWNER+NAME/repo")
    asking.add_argument("--recipes", type=Path, help="default: those that foretest ships")
    asking.add_argument("--cases", type=int, default=CASES, help="a repository, at most")
    asking.set_defaults(verb=run)
    showing = verbs.add_parser("table", help="judge the answers")
    showing.add_argument("--intervals", action="store_true", help="with 95%% intervals")
    showing.add_argument("--facts", type=Path, default=FACTS)
    showing.set_defaults(verb=show)
    for verb in (asking, showing):
        verb.add_argument("--answers", type=Path, default=ANSWERS)
        verb.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args(argv)
    arguments.verb(arguments)


if __name__ == "__main__":
    main()
