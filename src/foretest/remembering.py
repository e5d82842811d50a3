"""What is kept of runs: reports into the lake and the catalogue, then history and coverage anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from foretest import bundle as bundles
from foretest import decisions
from foretest.changes.git import Repository, repository_key
from foretest.comparing import context_of
from foretest.config import Config
from foretest.durable import claimed, lock
from foretest.engine import ensure_state, read_bundle
from foretest.errors import (
    BadBundle,
    BadReport,
    BadStore,
    Busy,
    ForetestError,
    LowJoinRate,
    MissingBase,
    NewerBundle,
    NoBundle,
    StateNotFound,
)
from foretest.evidence.collect import refresh
from foretest.evidence.store import EvidenceStore
from foretest.evidence.traced import TracedRun, read_traced
from foretest.history import state as states
from foretest.history.catalogue import FILE, BundleEntry, Catalogue
from foretest.history.erasure import losses
from foretest.history.lake import Lake
from foretest.recollection import SNAPSHOT, with_history
from foretest.records import Configuration, Selection, TestRun
from foretest.results.gathering import gather
from foretest.results.joinrate import JoinRate, join_rate
from foretest.results.read import Origin
from foretest.results.report import here

SPOOL = "spool"
"""Where `pytest --foretest` leaves reports and coverage, under the state directory."""
DAMAGED = ".damaged"
"""Ending of what lies in the spool and cannot be read."""
_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
PATIENCE = 30.0
"""Seconds to wait for another process that holds the bundle, such as `learn`."""
_TURN = 300.0
"""Seconds to wait for other calls of `record`: each is short, but there may be many."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one call of `record` took in."""

    runs: int
    results: int
    failed: int
    known_already: int
    joined: float | None
    """Share of the selected tests that came back in a report; None where no decision was named."""
    notices: tuple[str, ...] = ()
    mismatch: LowJoinRate | None = None
    """What is to be raised, after all was recorded, where too few of them came back."""
    named: bool = False
    """Whether reports were named, rather than looked for where `pytest --foretest` leaves them."""
    incomplete: int = 0
    """Runs that were cut short, or whose report is damaged: more tests may have run."""

    def sentence(self) -> str:
        if not self.runs and self.known_already:
            told = f"Nothing new: {_count(self.known_already, 'run')} had been recorded before."
            return f"{told} If this is another run, name it: --run-id." if self.named else told
        if not self.runs and self.named:
            return "Nothing to record: what was named holds no result that can be read."
        if not self.runs:
            return "Nothing to record: no report was named, and `pytest --foretest` left none here."
        told = (
            f"Recorded {_count(self.runs, 'run')}: {self.results:,} results, {self.failed:,} failed"
        )
        join = "" if self.joined is None else f"; {self.joined:.0%} of the selected tests came back"
        cut = f"; {self.incomplete:,} of them cut short or damaged" if self.incomplete else ""
        return f"{told}{join}{cut}."


def record(
    config: Config,
    reports: Sequence[Path] = (),
    *,
    commit: str | None = None,
    run_id: str | None = None,
    decision: str | None = None,
) -> Recorded:
    """Take reports in, or what lies in the spool where none is given. Idempotent by run.

    Folders and patterns among the reports are searched. `decision` names the selection that a
    report ran which does not say so itself, as every other than the plugin's.

    The lake is written first: a kill between the steps is mended by the next call, which folds
    whatever the lake has and the bundle does not know. Raises BadReport where nothing can be read.
    """
    repo = Repository.open(config.root)
    ensure_state(config)
    notices: list[str] = []
    spooled = () if reports else finished(config.state / SPOOL)
    known = known_tests(config, notices)
    key = repository_key(config, repo)
    origin = origin_of(config, repo, key, commit, run_id)
    if decision is not None:
        origin = replace(origin, decision_id=named_decision(config, decision))
    runs = _read(tuple(reports) or spooled, known, origin, notices, strict=bool(reports))
    with lock(config.state / "record.lock", _TURN):
        fresh = Lake(config.state / "lake").append(runs) if runs else 0
        entry = _fold(config, repo, origin, notices)
        _catalogue(config, runs, entry)
        _clear(spooled)
    results = sum(len(run.results) for run in runs)
    failed = sum(result.outcome.bad for run in runs for result in run.results)
    joined, mismatch = returned(config, runs, notices)
    return Recorded(
        runs=fresh,
        results=results if fresh else 0,
        failed=failed if fresh else 0,
        known_already=sum(bool(run.results) for run in runs) - fresh,
        joined=joined.share if joined else None,
        notices=tuple(notices),
        mismatch=mismatch,
        named=bool(reports),
        incomplete=sum(not run.complete for run in runs) if fresh else 0,
    )


def origin_of(
    config: Config, repo: Repository, key: str, commit: str | None, run_id: str | None
) -> Origin:
    """What is known of the runs besides their reports: what was said, what CI says, what is set.

    CI's commit is not used: what was tested is what is checked out. Raises MissingBase for a
    commit that is none.
    """
    head = repo.head()
    if commit is not None:
        commit = named_commit(commit, repo if key == repository_key(config, repo) else None)
    context = context_of(repo, head)
    place = configuration(config, context.configuration if context else ())
    origin = Origin(key, commit, head, configuration=place, run_id=run_id or "", root=config.root)
    if context is None:
        return origin
    return replace(origin, ci_run=context.run, attempt=context.attempt, shard=context.shard or None)


def named_commit(text: str, repo: Repository | None = None) -> str:
    """The id of a commit as somebody names it: by anything git knows in `repo`, or by its id.

    A commit that is not here is taken at its word where it may be an id: a shallow clone has few.
    Raises MissingBase for anything else.
    """
    try:
        if repo is not None:
            return repo.resolve(text)
        raise MissingBase(f"'{text}' is no commit's id.", "Give 7 to 64 hexadecimal digits.")
    except MissingBase:
        if _COMMIT.fullmatch(text):
            return text.lower()
        raise


def configuration(config: Config, flags: Sequence[str] = ()) -> Configuration:
    """That of this process, with what settings and CI say besides."""
    return replace(here(), flags=tuple(dict.fromkeys((*config.flags, *flags))))


def finished(spool: Path) -> tuple[Path, ...]:
    """Reports in the spool that no running process still writes."""
    return tuple(path for path in sorted(spool.glob("report-*.jsonl")) if not claimed(path))


def known_tests(config: Config, notices: list[str]) -> Sequence[str]:
    """The bundle's tests; a bundle that cannot be read is no reason to lose a report."""
    try:
        bundle = _bundle(config)
    except ForetestError as error:
        notices.append(f"History is kept, but not in the bundle: {error}")
        return ()
    return bundle.store.tests if bundle else ()


def stats(config: Config) -> dict[str, object]:
    """What is known about the repository, by name; numbers are counts unless the name says else.

    Empty where nothing was learned and nothing recorded. Runs are the lake's, since ingestion
    brings them there without the catalogue.
    """
    rows: dict[str, object] = {}
    bundle = _bundle(config)
    if bundle is not None:
        store = bundle.store
        rows |= {
            "bundle describes": store.commit,
            "tests": len(store.tests),
            "tests with coverage": int(store.has_coverage.sum()),
            "functions": len(store.symbols),
            "suite seconds": round(float(store.seconds[store.seconds == store.seconds].sum()), 1),
        }
        rows |= {f"learned: {name}": v for name, v in bundle.lineage.items() if _plain(v)}
    lake, catalogued = config.state / "lake", config.catalogue or (config.state / FILE).exists()
    if not catalogued and not lake.exists():
        return rows
    key = repository_key(config, Repository.open(config.root))
    counts = {"runs": len(Lake(lake).runs(key).collect()) if lake.exists() else 0}
    if catalogued:
        with Catalogue(address(config)) as catalogue:
            counts = catalogue.stats(key) | counts
            made = catalogue.bundles(key)[:1]
        lost = losses(lake, made[0].lake_version) if made else ()
        rows |= {f"bundle's results, loss {n}": told for n, told in enumerate(lost, 1)}
    return rows | {f"recorded {name}": count for name, count in counts.items()}


def address(config: Config) -> str:
    """SQLAlchemy address of the catalogue."""
    return config.catalogue or f"sqlite:///{config.state / FILE}"


def _bundle(config: Config) -> bundles.Bundle | None:
    try:
        return read_bundle(config)
    except NoBundle:
        return None


def _read(
    paths: Sequence[Path], known: Sequence[str], origin: Origin, notices: list[str], *, strict: bool
) -> list[TestRun]:
    """Runs of all readable reports, those of one run joined; unreadable ones are said.

    Raises BadReport where every report that was named is unreadable.
    """
    gathered = gather(paths, known, origin)
    notices.extend(gathered.notices)
    for path, error in gathered.refused:
        notices.append(str(error))
        if not strict:
            _set_aside(path)
    if strict and gathered.refused and not gathered.runs:
        raise gathered.refused[0][1]
    return gathered.runs


def _set_aside(path: Path) -> None:
    """Keep a spooled file that nobody can read where it is not read again and again."""
    with suppress(OSError):
        path.replace(path.with_name(f"{path.name}{DAMAGED}"))


def _catalogue(config: Config, runs: Sequence[TestRun], bundle: BundleEntry | None) -> None:
    with Catalogue(address(config)) as catalogue:
        if bundle is not None and runs:
            catalogue.record_bundle(runs[0].repository, bundle)
        for run in runs:
            catalogue.record_run(run)
            decision = _decision(config, run.decision_id)
            if decision is not None:
                catalogue.record_decision(decision)


def _fold(
    config: Config, repo: Repository, origin: Origin, notices: list[str]
) -> BundleEntry | None:
    """Bring history and coverage in the bundle up to what the lake and the spool hold.

    Returns the bundle that this made, None where there is none to bring on.
    """
    lake = Lake(config.state / "lake")
    state = brought_on(lake, origin.repository, config.state / SNAPSHOT, notices)
    found = sorted((config.state / SPOOL).glob("coverage*.jsonl*"))
    spooled = [path for path in found if path.suffix != DAMAGED]
    try:
        with lock(config.state / "learn.lock", PATIENCE):
            bundle = _bundle(config)
            if bundle is None:
                return None
            place = (origin.configuration or configuration(config)).key
            store = with_history(bundle.store, state, place)
            store, folded = _refreshed(store, spooled, repo, notices)
            digest = bundles.write(config.bundle_path, replace(bundle, store=store))
    except Busy:
        notices.append("The bundle is being learnt anew: the next `foretest record` brings it on.")
        return None
    except (BadBundle, NewerBundle):
        return None  # said already: the lake holds the history until there is a bundle for it
    _clear(folded)
    made = datetime.now(UTC)
    return BundleEntry(digest, store.commit, made, state.version, dict(bundle.lineage))


def brought_on(
    lake: Lake, repository: str, snapshot: Path, notices: list[str] | None = None
) -> states.State:
    """The repository's history: the snapshot with all later events folded in, and kept again.

    A missing or damaged snapshot is made anew from the lake. Raises BadStore.
    """
    try:
        state = states.read(snapshot) or states.State.empty(repository)
    except BadStore:
        if notices is not None:
            notices.append(f"{snapshot} was damaged: it is made anew from the recorded results.")
        state = states.State.empty(repository)
    later = states.fold(state, lake.unit_runs(repository, state.version))
    if later.version != state.version or not snapshot.exists():
        states.write(later, snapshot)
    return later


def _refreshed(
    store: EvidenceStore, spooled: Sequence[Path], repo: Repository, notices: list[str]
) -> tuple[EvidenceStore, tuple[Path, ...]]:
    """The store with the coverage of every readable file, and the files whose content it holds."""
    runs: dict[Path, TracedRun] = {}
    for path in spooled:
        try:
            runs[path] = read_traced(path)
        except BadReport as error:
            notices.append(str(error))
            _set_aside(path)
    if not runs:
        return store, ()
    try:
        return refresh(store, tuple(runs.values()), repo=repo), tuple(runs)
    except ForetestError as error:
        notices.append(f"Coverage from the last runs waits for the next `record`: {error}")
        return store, ()


def _clear(paths: Sequence[Path]) -> None:
    """Remove what was taken in."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _decision(config: Config, decision_id: str | None) -> Selection | None:
    if decision_id is None:
        return None
    try:
        return decisions.load(config.state, decision_id)
    except StateNotFound:
        return None  # made on another machine: its run is kept, its reasons are not


def named_decision(config: Config, decision: str) -> str:
    """The id of a decision by its name or `last`. Raises StateNotFound."""
    return decisions.load(config.state, None if decision == "last" else decision).decision_id


def returned(
    config: Config, runs: Sequence[TestRun], notices: list[str]
) -> tuple[JoinRate | None, LowJoinRate | None]:
    """How many selected tests came back in runs of a decision known here, and what to raise if few.

    None where there is no such decision. A run that was cut short has an excuse, which is said.
    """
    judged = [(run, _decision(config, run.decision_id)) for run in runs]
    selected = {c.test for _, decision in judged if decision for c in decision.chosen}
    seen = {r.test.unit for run, decision in judged if decision for r in run.results}
    complete = all(run.complete for run, decision in judged if decision)
    joined = join_rate(selected, seen, complete)
    if joined is None or joined.share >= config.join_threshold:
        return joined, None
    said = f"{joined.account()} {joined.cause}"
    if not complete:
        notices.append(said)
        return joined, None
    remedy = "What was read is kept. See `low-join-rate` in docs/errors.md."
    return joined, LowJoinRate(said, remedy)


def _plain(value: object) -> bool:
    return isinstance(value, int | float | str)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
