"""Replay against the real peers: each asked about the same past changes, beside our own orders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from foretest.bundle import Bundle
from foretest.changes.git import Repository
from foretest.config import Config
from foretest.durable import lock
from foretest.engine import ensure_state, freshness, read_bundle
from foretest.errors import ExtraMissing, NothingToReplay, PeerUnavailable
from foretest.lab.campaign import read_kept
from foretest.lab.undo import undo_candidates
from foretest.learning import CASES as TRIED
from foretest.learning import LAB
from foretest.models.formula import Formula
from foretest.peers.desk import Desk, Faulty, before_each, faulty_changes
from foretest.peers.tools import TOOLS, Tool, layout_of
from foretest.peers.verdicts import (
    ALL_OR_NONE,
    GRANULARITY,
    PEERS,
    PeerVerdict,
    as_text,
    judge_answer,
    peer_rows,
)
from foretest.replay import table
from foretest.replay.account import strategy_rows
from foretest.replay.cases import trials_of
from foretest.replay.judge import ALL, Setting, Trial, judge
from foretest.replay.published.rankers import own_past_verdicts
from foretest.replay.run import Replayed, as_judged, run_replay
from foretest.replay.strategies import ORACLE, OURS, RANDOM, ours
from foretest.replay.table import Line, Verdict, tabulate
from foretest.report.contents import PeerRow, ReplayReport
from foretest.selection.compose import predicted_seconds
from foretest.selection.policy import Rules

CASES = 30
"""Past changes that the tools are asked about, where nobody says how many."""

FORMULA = "formula"
FOLDER = "peers"
"""Where the answers lie in the state directory."""

Progress = Callable[..., None]
"""Called with a stage, what is done, the whole and, if there is one, a note."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The judge's answer with the peers beside it."""

    replayed: Replayed
    lines: tuple[Line, ...]
    """Within budgets: oracle, ours and every tool, on the changes that all were asked about."""
    rows: tuple[PeerRow, ...]
    report: ReplayReport

    def text(self, intervals: bool = False) -> str:
        """Both tables for a terminal."""
        return f"{table.as_text(self.lines, intervals)}\n\n{as_text(self.rows)}"


def against_peers(
    config: Config,
    *,
    cases: int = CASES,
    tools: Sequence[Tool] = TOOLS,
    page: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Compared:
    """Replay, and ask the real tools about at most `cases` of the headline's faulty changes.

    The newest are asked about first, different commits before several hunks of one. Answers are
    kept in `.foretest/peers/` and asked for once; Ctrl-C judges what was answered until then. A
    tool that cannot be set up is left out with a notice. Raises NoBundle, NothingToReplay, Busy.
    """
    replayed = run_replay(config, progress=progress)
    bundle = read_bundle(config)
    repo = Repository.open(config.root)
    changes = sample(repo, bundle.store.commit, replayed, cases, progress)
    ensure_state(config)
    folder = config.state / FOLDER
    with lock(folder / "lock", timeout=2.0):
        desks, notices = _consult(config, repo, bundle, changes, tools, folder, progress)
    compared = compare(config, repo, bundle, replayed, changes, desks, notices)
    if page is not None:
        from foretest.report.page import write_page  # charts are heavy: only who wants them pays

        write_page(compared.report, page)
    return compared


def sample(
    repo: Repository,
    commit: str,
    replayed: Replayed,
    cases: int,
    progress: Progress = lambda *_: None,
) -> list[Faulty]:
    """The changes to ask about, in the lab's own order, with their patches made again."""
    trials = {case.trial.case_id: case.trial for case in replayed.judgement.cases}
    earlier = before_each(list(trials.values()))
    patches: dict[str, bytes] = {}
    chosen: list[str] = []
    wanted: set[str] = set()
    commits = {trial.commit for trial in trials.values()}
    for candidate in undo_candidates(repo, commit, only=commits):
        if candidate.case_id in trials:
            patches[candidate.case_id] = candidate.patch
            if len(chosen) < cases:
                chosen.append(candidate.case_id)
                wanted = {earlier[case].case_id for case in chosen if case in earlier}
                progress("Making the changes again", len(chosen), min(cases, len(trials)))
        if len(chosen) in (cases, len(trials)) and wanted <= patches.keys():
            break
    if not patches:
        raise NothingToReplay(
            "No past change that was tried at the bundle's commit broke a test: there is nothing "
            "to ask other tools about.",
            "Run 'foretest learn --undo 100 --within 10m' to try past changes.",
        )
    return faulty_changes(list(trials.values()), patches, chosen)


def _consult(
    config: Config,
    repo: Repository,
    bundle: Bundle,
    changes: Sequence[Faulty],
    tools: Sequence[Tool],
    folder: Path,
    progress: Progress,
) -> tuple[list[Desk], list[str]]:
    """Ask every tool about every change; returns the desks that could be opened, and notices."""
    commit = bundle.store.commit
    files = repo.files(commit)
    layout = layout_of(files, bundle.store.tests)
    desks: list[Desk] = []
    notices: list[str] = []
    with ExitStack() as held:
        for done, tool in enumerate(tools):
            progress("Setting the peers up", done, len(tools), tool.name)
            try:
                desk = Desk(tool, config, layout, commit, folder / f"{tool.name}.jsonl")
                if desk.pending(changes):
                    desk.open(held, files)
                desks.append(desk)
            except PeerUnavailable as error:
                notices.append(f"{tool.name} is LEFT OUT. {error}")
        progress("Setting the peers up", len(tools), len(tools))
        try:
            for done, change in enumerate(changes):
                for desk in desks:
                    progress("Asking the peers", done, len(changes), desk.tool.name)
                    desk.ask(change)
            progress("Asking the peers", len(changes), len(changes))
        except KeyboardInterrupt:
            if not _answered(desks, changes):
                raise
            notices.append("Stopped by Ctrl-C: the next call goes on where this one ended.")
    if not desks:
        raise PeerUnavailable("None of the peers could be set up.", " ".join(notices))
    return desks, notices


def _answered(desks: Iterable[Desk], changes: Sequence[Faulty]) -> list[Faulty]:
    """The changes that every tool was asked about: what is compared."""
    return [change for change in changes if not any(desk.pending([change]) for desk in desks)]


def compare(
    config: Config,
    repo: Repository,
    bundle: Bundle,
    replayed: Replayed,
    changes: Sequence[Faulty],
    desks: Sequence[Desk],
    notices: Sequence[str] = (),
) -> Compared:
    """Answers beside our own orders, over the changes that every tool was asked about."""
    together = _answered(desks, changes)
    seconds = predicted_seconds(bundle.store.seconds)
    judged: dict[str, list[PeerVerdict]] = {}
    selections: dict[str, list[PeerVerdict]] = {}
    for desk in desks:
        for question in desk.tool.questions:
            answers = [desk.answer(question, change) for change in together]
            verdicts = [
                judge_answer(answer, question, change.trial, bundle.store, seconds)
                for answer, change in zip(answers, together, strict=True)
                if answer is not None
            ]
            judged[question.name] = verdicts
            if not question.orders:
                selections[question.name] = verdicts
    trials = [change.trial for change in together]
    own = _own(config, repo, bundle, replayed, trials)
    past, left_out = _published(config, repo, bundle, trials)
    own |= past
    start_up = next(iter(own[OURS])).start_up
    theirs = [replace(v.verdict, start_up=start_up) for each in judged.values() for v in each]
    lines = tabulate([v for each in own.values() for v in each] + theirs, OURS)
    rows = peer_rows(selections, {name: v for name, v in own.items() if name != RANDOM})
    said = (
        f"Asked: {', '.join(f'{desk.tool.name} {desk.version}' for desk in desks)}.",
        *notices,
        *left_out,
        *_silences(judged),
        *(desk.tool.remark for desk in desks if desk.tool.remark),
        GRANULARITY,
        ALL_OR_NONE,
    )
    report = replace(
        replayed.report,
        peers=rows,
        beside_peers=strategy_rows(lines, PEERS),
        notices=(*replayed.report.notices, *said),
        commands=(*replayed.report.commands, "foretest replay --peers"),
    )
    return Compared(replayed, lines, rows, report)


def _own(
    config: Config,
    repo: Repository,
    bundle: Bundle,
    replayed: Replayed,
    trials: Sequence[Trial],
) -> dict[str, list[Verdict]]:
    """Verdicts of the oracle, ours, the formula (where another model decides) and random orders."""
    found = {(v.strategy, v.case_id): v for v in replayed.judgement.verdicts if v.slice == ALL}
    names = [ORACLE, OURS, FORMULA, RANDOM]
    if bundle.model.name != Formula().name and (FORMULA, trials[0].case_id) not in found:
        everything, setting = _everything(config, repo, bundle)
        judgement = judge(everything, bundle.store, setting)
        found |= {
            (FORMULA, v.case_id): replace(v, strategy=FORMULA)
            for v in judgement.verdicts
            if (v.slice, v.strategy) == (ALL, OURS)
        }
    return {
        name: [replace(found[name, trial.case_id], slice=PEERS) for trial in trials]
        for name in names
        if (name, trials[0].case_id) in found
    }


def _published(
    config: Config, repo: Repository, bundle: Bundle, trials: Sequence[Trial]
) -> tuple[dict[str, list[Verdict]], tuple[str, ...]]:
    """Verdicts of the published recipes, learnt from earlier changes; else why there are none."""
    everything, setting = _everything(config, repo, bundle)
    try:
        verdicts = own_past_verdicts(everything, bundle.store, setting)
    except ExtraMissing as error:
        return {}, (f"The published recipes are LEFT OUT. {error}",)
    found = {(v.strategy, v.case_id): v for v in verdicts if v.slice == ALL}
    return {
        name: [replace(found[name, trial.case_id], slice=PEERS) for trial in trials]
        for name in dict.fromkeys(v.strategy for v in verdicts)
    }, ()


def _everything(config: Config, repo: Repository, bundle: Bundle) -> tuple[list[Trial], Setting]:
    """All that was tried, and the setting in which the formula judges it."""
    store = bundle.store
    setting = Setting(
        model=Formula(),
        rules=as_judged(Rules.of(config)),
        freshness=freshness(repo, store, store.commit),
        strategies={OURS: ours},
        draws=1,
    )
    tried = read_kept(config.state / LAB / TRIED).cases
    return list(trials_of(tried, store.commit)), setting


def _silences(judged: Mapping[str, Sequence[PeerVerdict]]) -> Iterable[str]:
    """A sentence for each tool that gave no answer somewhere, with what it said."""
    for name, verdicts in judged.items():
        silent = [v.answer for v in verdicts if v.answer.chosen is None]
        if silent:
            yield (
                f"{name} gave no answer on {len(silent)} of {len(verdicts)} changes, and "
                f"everything ran there. It said: {silent[0].said}"
            )
