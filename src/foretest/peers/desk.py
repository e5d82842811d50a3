"""A peer's desk: its environment, the answers it has given, and its place while it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from foretest.config import Config
from foretest.lab.campaign import append_line, repair
from foretest.lab.workspace import Workspace, cache_directory
from foretest.peers.answers import Answer, Key, read_answers
from foretest.peers.asking import Place
from foretest.peers.environment import prepare
from foretest.peers.tools import Layout, Question, Tool, spelled
from foretest.replay.judge import Trial


@dataclass(frozen=True, slots=True)
class Faulty:
    """A past change that the tools are asked about."""

    trial: Trial
    patch: bytes
    """Taken back at the commit of the trials, it gives the faulty code."""
    before: Faulty | None = None
    """The faulty change before it, of an earlier commit: its failures were met."""


def faulty_changes(
    trials: Sequence[Trial], patches: Mapping[str, bytes], chosen: Iterable[str]
) -> list[Faulty]:
    """The changes of the cases `chosen`, each with the one before it, as far as patches are known.

    `trials` are all that are known, which the ones before are taken from.
    """
    earlier = before_each(trials)
    known = {t.case_id: Faulty(t, patches[t.case_id]) for t in trials if t.case_id in patches}
    return [
        replace(known[case], before=known.get(earlier[case].case_id) if case in earlier else None)
        for case in chosen
    ]


def before_each(trials: Sequence[Trial]) -> dict[str, Trial]:
    """The last change of the commit before, by case; the first commit's changes have none.

    As in the judge, changes of one commit do not know each other's outcome.
    """
    found: dict[str, Trial] = {}
    last: Trial | None = None
    dated = sorted(trials, key=lambda t: (t.time, t.commit, t.case_id))
    for _, group in groupby(dated, key=lambda t: (t.commit, t.time)):
        together = list(group)
        if last is not None:
            found |= dict.fromkeys((t.case_id for t in together), last)
        last = together[-1]
    return found


class Desk:
    """Where one tool is asked. Raises PeerUnavailable where its environment cannot be made."""

    def __init__(self, tool: Tool, config: Config, layout: Layout, commit: str, path: Path) -> None:
        self.tool = tool
        self._config = config
        self._layout = layout
        self._commit = commit
        self._path = path
        self._environment = prepare(tool, config)
        repair(path)
        self._known = {answer.key: answer for answer in read_answers(path)}
        self._place: Place | None = None

    @property
    def version(self) -> str:
        return self._environment.version

    def pending(self, changes: Iterable[Faulty]) -> bool:
        """True where a change was never asked about."""
        return any(
            self.answer(question, change) is None
            for change in changes
            for question in self.tool.questions
        )

    def answer(self, question: Question, change: Faulty) -> Answer | None:
        """The answer that is known, if any."""
        return self._known.get(self._key(question, change))

    def open(self, held: ExitStack, files: Sequence[str]) -> None:
        """Check the project out and seed the tool. Raises PeerUnavailable where that fails."""
        cache = cache_directory(self._config.root, self._config.cache_path)
        workspace = held.enter_context(Workspace.create(self._config.root, self._commit, cache))
        place = Place(self.tool, self._environment, workspace, self._layout, self._config, files)
        place.seed()
        self._place = place

    def ask(self, change: Faulty) -> None:
        """Ask what is not known of a change, and keep each answer at once."""
        for question in self.tool.questions:
            if self._place is None or self.answer(question, change) is not None:
                continue
            before = change.before if self.tool.meets_failures else None
            if before is not None:
                self._place.meet(before.trial.case_id, before.patch, before.trial.failed)
            answer = self._place.ask(
                question,
                change.trial.case_id,
                change.patch,
                before.trial.case_id if before else "",
            )
            append_line(self._path, answer.to_line())
            self._known[answer.key] = answer

    def _key(self, question: Question, change: Faulty) -> Key:
        met = change.before if self.tool.meets_failures else None
        return (
            change.trial.case_id,
            self._commit,
            question.name,
            spelled(question, self._layout),
            self.version,
            met.trial.case_id if met else "",
        )
