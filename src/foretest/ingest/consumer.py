"""From the stream into the lake: whole batches, in order of receipt, each run exactly once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foretest.errors import BadStore, Busy, ForetestError
from foretest.history.erasure import hashed
from foretest.history.lake import Lake
from foretest.history.rows import OWN, RunKey, RunRows, key_of
from foretest.ingest.belonging import repository_of
from foretest.ingest.poison import PoisonFolder
from foretest.ingest.reading import DeliveryReader
from foretest.ingest.storable import UNFORESEEN, unstorable
from foretest.ingest.stream import Delivery, Level, Reader, highest
from foretest.remembering import brought_on

REPORTS = 2000
SIZE = 48 << 20
"""Reports and bytes of one batch, which becomes one commit."""
_WAIT = 0.5
_LONGEST_PAUSE = 30.0
_OTHER = (
    "Run {run.run_id} (attempt {run.attempt}, shard {run.shard}) of {run.repository} is recorded "
    "already, with other results. Give parts of one run shards of their own, and repetitions an "
    "attempt."
)
Say = Callable[[str], None]


@dataclass(slots=True)
class Totals:
    """What a consumer has done since it began."""

    reports: int = 0
    runs: int = 0
    """Runs that were new to the lake."""
    results: int = 0
    known: int = 0
    """Reports whose run the lake had already, with the same results."""
    poison: int = 0
    deleted: int = 0
    """Reports received before their repository was deleted for good: they never come back."""
    commits: int = 0
    repositories: set[str] = field(default_factory=set)

    def sentence(self) -> str:
        told = f"Took in {self.runs:,} runs with {self.results:,} results"
        more = [f"{self.known:,} known already"] if self.known else []
        more += [f"{self.poison:,} set aside"] if self.poison else []
        more += [f"{self.deleted:,} of a repository that was deleted"] if self.deleted else []
        return f"{told} ({', '.join(more)})." if more else f"{told}."


@dataclass(frozen=True, slots=True)
class Consumer:
    """Reads a stream, commits to the lake, and only then gives the reports up.

    Killed between the commit and giving up, the next one reads them again and finds them known.
    Where it or any of the reports is at level `power`, everything committed so far is forced to
    disk before the stream gives them up, also what an earlier process committed and did not force.
    """

    lake: Lake
    poison: PoisonFolder
    reading: DeliveryReader
    level: Level = Level.PROCESS
    say: Say = lambda _: None

    def drain(self, reader: Reader, totals: Totals) -> None:
        """Take in everything that waits. Raises BadStore or Busy where the lake refuses."""
        while self.step(reader, totals, wait=0.0):
            pass

    def follow(self, reader: Reader, totals: Totals, idle: Callable[[], None]) -> None:
        """Take in what comes, for ever; `idle` is called whenever nothing waits.

        A lake or a stream that refuses is tried again after a pause that grows.
        """
        pause = _WAIT
        while True:
            try:
                if not self.step(reader, totals, _WAIT):
                    idle()
                pause = _WAIT
            except (BadStore, Busy) as error:
                self.say(f"{error} Trying again in {pause:.0f} s; nothing is lost.")
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def step(self, reader: Reader, totals: Totals, wait: float) -> int:
        """One batch: how many reports were read. Raises BadStore or Busy; all of it comes again."""
        try:
            deliveries = reader.read(REPORTS, SIZE, wait)
            for notice in reader.notices:
                self.say(notice)
            reader.notices.clear()
            if deliveries:
                self._take(deliveries, totals)
                reader.acknowledge(deliveries[-1].sequence)
        except (BadStore, Busy):
            reader.rewind()  # else the next batch would be given up together with this one
            raise
        totals.reports += len(deliveries)
        return len(deliveries)

    def _take(self, deliveries: Sequence[Delivery], totals: Totals) -> None:
        deleted = _deleted(self.lake)
        kept = [d for d in deliveries if not deleted(d)]
        found = [(d, rows) for d in kept if (rows := self._read(d, totals)) is not None]
        found = [(d, rows) for d, rows in found if not deleted(d, rows.run.repository)]
        totals.deleted += len(deliveries) - len(kept)
        read = [(d, rows) for d, rows in found if len(rows)]  # no result, nothing to keep
        batch: dict[RunKey, RunRows] = {}
        for _, rows in read:
            batch.setdefault(key_of(rows.run), rows)
        fresh, refused = self._committed(list(batch.values()))
        totals.commits += bool(fresh)
        if highest((self.level, *(d.meta.level for d in deliveries))) is Level.POWER:
            self.lake.sync()
        known = {key for key in batch if key not in fresh and key not in refused}
        held = batch | (self.lake.held(known) if known else {})
        for delivery, rows in read:
            key = key_of(rows.run)
            if key in refused:
                self._set_aside(delivery, refused[key], totals)
            elif key in fresh and batch[key] is rows:
                totals.runs += 1
                totals.results += len(rows)
                totals.repositories.add(key[0])
            elif same(held[key], rows):
                totals.known += 1
            else:
                self._set_aside(delivery, _OTHER.format(run=rows.run), totals)

    def _committed(self, runs: list[RunRows]) -> tuple[frozenset[RunKey], dict[RunKey, str]]:
        """Which runs were new, and which no lake can hold; all others are in the lake."""
        try:
            return self.lake.append_new(runs), {}
        except Busy:
            raise
        except UNFORESEEN:
            refused = unstorable(runs)
            if not refused:  # it is the lake: nothing is given up until it takes them
                raise
        return self.lake.append_new([r for r in runs if key_of(r.run) not in refused]), refused

    def _read(self, delivery: Delivery, totals: Totals) -> RunRows | None:
        """The rows of a report that the lake can take; None where it was set aside instead."""
        try:
            read = self.reading.read(delivery)
        except ForetestError as error:
            self._set_aside(delivery, str(error), totals)
            return None
        except Exception as error:  # one report must never hold up all others, whatever is in it
            self._set_aside(delivery, f"Reading it failed: {type(error).__name__}: {error}", totals)
            return None
        for notice in read.notices:
            self.say(f"{delivery.meta.name}: {notice}")
        return read.rows

    def _set_aside(self, delivery: Delivery, reason: str, totals: Totals) -> None:
        name = self.poison.put(delivery, reason).name
        totals.poison += 1
        self.say(f"{delivery.meta.name} was set aside as {name}: {reason}")


def _deleted(lake: Lake) -> Callable[..., bool]:
    """Whether a repository was deleted from the lake for good after a report of it was received.

    Asked of a delivery and its repository, where that is known already.
    """
    stones = {stone.repository: stone.moment for stone in lake.tombstones()}
    if not stones:
        return lambda *_: False

    def deleted(delivery: Delivery, repository: str = "") -> bool:
        key = repository or repository_of(delivery.meta, delivery.report)
        moment, received = stones.get(hashed(key)), delivery.meta.received_at
        return moment is not None and received is not None and received <= moment

    return deleted


def same(one: RunRows, other: RunRows) -> bool:
    """Whether two runs say the same of the same tests; a moment of receipt is no part of it."""
    return len(one) == len(other) and all(
        list(one.columns[name]) == list(other.columns[name]) for name in OWN
    )


def bring_on(lake: Lake, repositories: Iterable[str], folder: Path) -> None:
    """Fold what came into each repository's snapshot, in the order in which it was received."""
    for repository in repositories:
        brought_on(lake, repository, snapshot(folder, repository))


def snapshot(folder: Path, repository: str) -> Path:
    """Where the history of a repository lies in a folder of many."""
    return folder / f"{hashlib.sha256(repository.encode()).hexdigest()[:24]}.npz"
