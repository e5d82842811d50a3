"""Pairs to begin with: hunks of sources and the tests that the same commit of a history changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from foretest.changes.diff import parse_diff
from foretest.changes.git import Commit, Repository
from foretest.changes.layout import is_test_file
from foretest.durable import writing
from foretest.errors import BadConfiguration, NothingToReplay
from foretest.lab.layout import is_python_source
from foretest.platform.encoder.config import HELD_OUT, EncoderConfig, training_names
from foretest.platform.encoder.hunks import HunkText, TestText, functions, hunk_texts
from foretest.platform.encoder.pairs import PairBatch, batch_of, draws
from foretest.platform.encoder.published import TOKENIZER
from foretest.platform.encoder.tokenizer import CodeTokenizer, Tokens
from foretest.records import FileStatus

MOST_FILES = 10
"""Commits that touch more files than this move code about: what changes together says little."""
MOST_TESTS = 12
MOST_HUNKS = 8
"""Of one commit; more are thinned out evenly."""
MOST_COMMITS = 800
"""Of one repository, the newest first, so that no large one drowns the others."""
LARGEST_FILE = 100_000
"""Bytes of a file of tests: larger ones take long to read, and are tables more often than tests."""
SNAPSHOTS = 4
"""States of each history, evenly apart, whose text the tokenizer learns from."""

Item = TypeVar("Item")

_BOTS = re.compile(
    r"^(bump |update .* requirement|\[?pre-commit\.ci|chore\(deps|build\(deps|merge |release )",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Together:
    """What one commit changed on both sides: every hunk of it belongs to every test of it."""

    hunks: tuple[HunkText, ...]
    tests: tuple[TestText, ...]


def changed_together(repo: Repository, limit: int = MOST_COMMITS) -> Iterator[Together]:
    """Commits that change sources and the bodies of tests; merges, bots and upheavals left out."""
    fitting = (commit for commit in repo.log() if _telling(commit))
    read = (_read(repo, commit) for commit in fitting)
    yield from islice((found for found in read if found.hunks and found.tests), limit)


def snapshots(repo: Repository, count: int = SNAPSHOTS) -> Iterator[str]:
    """The text of every Python file in a few states of the history, each version once."""
    commits = repo.ancestors("HEAD", 1_000_000)
    seen: set[str] = set()
    for commit in commits[:: max(len(commits) // count, 1)][:count]:
        blobs = repo.blob_ids(commit)
        new = [p for p, blob in blobs.items() if p.endswith(".py") and blob not in seen]
        seen.update(blobs.values())
        for source in repo.read_many(commit, new).values():
            yield source.decode("utf-8", "replace")


def _telling(commit: Commit) -> bool:
    paths = [f.path for f in commit.files if f.status is not FileStatus.DELETED]
    return (
        len(commit.parents) == 1
        and 2 <= len(commit.files) <= MOST_FILES
        and not _BOTS.match(commit.subject)
        and any(is_test_file(p) and p.endswith(".py") for p in paths)
        and any(is_python_source(p) for p in paths)
    )


def _read(repo: Repository, commit: Commit) -> Together:
    patch = repo.show_patch(commit.id)
    hunks = [hunk for hunk in hunk_texts(patch) if is_python_source(hunk.path)]
    tests = _changed_tests(repo, commit, patch) if hunks else []
    kept = _thinned(hunks, MOST_HUNKS)
    # Undone changes, which come after these, go backwards: half of the hunks do so here already.
    return Together(
        tuple(hunk.turned() if at % 2 else hunk for at, hunk in enumerate(kept)),
        tuple(_thinned(tests, MOST_TESTS)),
    )


def _changed_tests(repo: Repository, commit: Commit, patch: bytes) -> list[TestText]:
    """Tests with lines that came with the commit, as they are after it."""
    changed = [f for f in parse_diff(patch) if is_test_file(f.path) and f.path.endswith(".py")]
    sources = repo.read_many(commit.id, (file.path for file in changed))
    found: list[TestText] = []
    for file in changed:
        source = sources.get(file.path)
        if source is None or len(source) > LARGEST_FILE:
            continue
        lines = {n for h in file.hunks for n in range(h.new_start, h.new_start + h.new_lines)}
        for unit, (first, last, text) in functions(file.path, source).items():
            named = unit.rpartition("::")[2].startswith("test")
            if named and not lines.isdisjoint(range(first, last + 1)):
                found.append(TestText(unit, text))
    return found


def _thinned(items: Sequence[Item], most: int) -> list[Item]:
    step = max(len(items) / most, 1.0)
    return [items[int(at * step)] for at in range(min(len(items), most))]


# --- as arrays of tokens ---


@dataclass(frozen=True, slots=True)
class Ragged:
    """Sequences of different length end to end: number i is `tokens[starts[i]:starts[i + 1]]`."""

    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Sequence[Tokens]) -> Ragged:
        lengths = np.array([0, *map(len, sequences)], np.int64)
        joined = np.concatenate(sequences) if sequences else np.empty(0, np.int32)
        return cls(joined.astype(np.int32), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, place: int) -> Tokens:
        return self.tokens[self.starts[place] : self.starts[place + 1]]


@dataclass(frozen=True, slots=True)
class Cochanges:
    """One repository's commits as tokens; a hunk or test belongs to the commit of its number."""

    hunks: Ragged
    hunk_commits: NDArray[np.int64]
    """int64[hunks], ascending"""
    tests: Ragged
    test_commits: NDArray[np.int64]
    test_units: NDArray[np.int64]
    """int64[tests]: the same number, the same unit, whichever commit changed it."""

    @property
    def commits(self) -> int:
        return int(self.hunk_commits[-1]) + 1 if len(self.hunk_commits) else 0

    def write(self, path: Path, origin: str = "") -> None:
        with writing(path) as part:
            np.savez_compressed(
                part,
                origin=np.array(origin),
                hunks=self.hunks.tokens,
                hunk_starts=self.hunks.starts,
                hunk_commits=self.hunk_commits,
                tests=self.tests.tokens,
                test_starts=self.tests.starts,
                test_commits=self.test_commits,
                test_units=self.test_units,
            )

    @classmethod
    def read(cls, path: Path) -> Cochanges:
        with np.load(path, allow_pickle=False) as kept:
            return cls(
                Ragged(kept["hunks"], kept["hunk_starts"]),
                kept["hunk_commits"],
                Ragged(kept["tests"], kept["test_starts"]),
                kept["test_commits"],
                kept["test_units"],
            )


def origin_of(path: Path) -> str:
    """What pairs were said to come from when they were written; empty where that is not known."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return str(kept["origin"])
    except (OSError, KeyError, ValueError, BadZipFile):
        return ""


def tokenised(found: Sequence[Together], tokenizer: CodeTokenizer, context: int) -> Cochanges:
    hunks = [hunk for together in found for hunk in together.hunks]
    tests = [test for together in found for test in together.tests]
    units = {unit: number for number, unit in enumerate(dict.fromkeys(t.unit for t in tests))}
    return Cochanges(
        Ragged.of(tokenizer.changes(hunks, context)),
        np.repeat(np.arange(len(found)), [len(t.hunks) for t in found]),
        Ragged.of(tokenizer.tests(tests, context)),
        np.repeat(np.arange(len(found)), [len(t.tests) for t in found]),
        np.array([units[test.unit] for test in tests], np.int64),
    )


def prepare(
    clones: Path,
    names: Sequence[str],
    out: Path,
    config: EncoderConfig,
    limit: int = MOST_COMMITS,
    progress: Callable[[str], None] = lambda _: None,
) -> CodeTokenizer:
    """Train the tokenizer, then write each repository's pairs: TOKENIZER, `cochanges/NAME.npz`.

    `clones` holds a repository in NAME/repo, as the corpus leaves it; one that is not there is
    said and passed over. What was made already of the same history is not made again. Raises
    BadConfiguration where there is none, and where the tokenizer that is there knows more tokens
    than `config`.
    """
    wanted = [name for name in names if name not in HELD_OUT]
    repos = {
        n: Repository.open(clones / n / "repo") for n in wanted if (clones / n / "repo").exists()
    }
    if not repos:
        raise BadConfiguration(
            f"{clones} holds no clone of a repository that has a recipe.",
            "Name a folder of NAME/repo, such as the one that foretest platform corpus keeps.",
        )
    if missing := [name for name in wanted if name not in repos]:
        progress(f"No clone, passed over: {', '.join(missing)}.")
    path = out / TOKENIZER
    if not path.exists():
        texts = chain.from_iterable(map(snapshots, repos.values()))
        CodeTokenizer.train(texts, config.vocabulary).write(path)
    tokenizer = fitting(path, config)
    if tokenizer.size < config.vocabulary:
        progress(f"{path} knows {tokenizer.size:,} of {config.vocabulary:,} tokens.")
    for name, repo in repos.items():
        file = out / "cochanges" / f"{name}.npz"
        origin = f"{tokenizer.digest} {config.context} {limit} {repo.head()}"
        if origin_of(file) != origin:
            found = list(changed_together(repo, limit))
            pairs = tokenised(found, tokenizer, config.context)
            pairs.write(file, origin)
            sizes = f"{len(pairs.hunks)} hunks, {len(pairs.tests)} tests"
            progress(f"{name}: {len(found)} commits, {sizes}")
    return tokenizer


def fitting(path: Path, config: EncoderConfig) -> CodeTokenizer:
    """The tokenizer at `path`; raises BadConfiguration where `config` has no room for it."""
    tokenizer = CodeTokenizer.read(path)
    if tokenizer.size > config.vocabulary:
        raise BadConfiguration(
            f"{path} knows {tokenizer.size:,} tokens, an encoder of this size"
            f" {config.vocabulary:,}.",
            "Name the --size that the pairs were made for, or another folder of --pairs.",
        )
    return tokenizer


class CochangePairs:
    """A source of batches, each of one repository: its own tests are what must be told apart.

    Repositories are drawn by the root of their commits. Within one, commits are drawn, of each a
    hunk and a test. What else of a batch belongs together, by commit or by unit, is no negative.
    """

    def __init__(self, kept: Sequence[Cochanges]) -> None:
        self._kept = [pairs for pairs in kept if pairs.commits > 1]
        if not self._kept:
            raise NothingToReplay("There are no pairs to train on.", "Make them: encoder pairs.")
        roots = np.sqrt([pairs.commits for pairs in self._kept])
        self._odds = roots / roots.sum()

    @classmethod
    def read(cls, folder: Path) -> CochangePairs:
        """All files of a folder that the encoder may learn."""
        names = training_names(sorted(path.stem for path in folder.glob("*.npz")))
        return cls([Cochanges.read(folder / f"{name}.npz") for name in names])

    @property
    def commits(self) -> int:
        return sum(pairs.commits for pairs in self._kept)

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[PairBatch]:
        for random in draws(seed, start):
            pairs = self._kept[random.choice(len(self._kept), p=self._odds)]
            commits = random.choice(pairs.commits, size, replace=pairs.commits < size)
            hunks = [one_of(random, pairs.hunk_commits, c) for c in commits]
            tests = [one_of(random, pairs.test_commits, c) for c in commits]
            units = pairs.test_units[tests]
            same = (commits[:, None] == commits) | (units[:, None] == units)
            yield batch_of([pairs.hunks[h] for h in hunks], [pairs.tests[t] for t in tests], same)


def one_of(random: np.random.Generator, commits: NDArray[np.int64], commit: int) -> int:
    """A place drawn from those of a commit."""
    first, last = np.searchsorted(commits, (commit, commit + 1))
    return int(random.integers(first, last))
