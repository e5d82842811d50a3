"""Why a test is in a run, or is not, in the user's words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from foretest.evidence.propagate import propagate
from foretest.evidence.store import EvidenceStore
from foretest.features.build import entries, seen_symbols, text_query
from foretest.features.frame import FeatureFrame
from foretest.features.query import Query
from foretest.models.contract import Model, predict
from foretest.models.pretrained import likelihood
from foretest.models.ranker import log_odds
from foretest.records import MODULE_LEVEL
from foretest.selection.wording import clause

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

KINDS = {
    "coverage_share": "coverage",
    "coverage_rarity": "coverage",
    "coverage_focus": "coverage",
    "propagated_share": "propagated",
    "bm25": "text",
    "bm25_name": "name",
    "import_depth": "imports",
    "file_coverage_share": "file",
    "cochange": "cochange",
    "fail_rate": "failed",
    "days_since_failure": "failed",
    "path_similarity": "path",
}
"""Kinds of evidence that have a sentence, and the features that speak for each."""

MOST_WORDS = 60
"""Words of the change that are looked for in the tests, the rarest first."""
MOST_NAMED = 3
CLARITY = 8.0
"""Coverage is told first unless other evidence moves the score so many times more."""
MOST_TERMS = 5
NOTABLE = math.log(1.1)
"""What moves the odds by less is not worth a word."""
NEUTRAL = "where nothing speaks for or against a test"
GIVEN = "if the change breaks anything"
"""What every likelihood is conditional on: it was fitted to changes by which a test failed."""
UNLINKED = "little or nothing links it to the change"


class Explainer:
    """Sentences about the tests of one store and one change; each table is made when first asked.

    What the model's terms say decides which comes first. A sentence is made once for each symbol
    or pair of words, not for each test, so that reasons for 100,000 tests cost little.
    """

    def __init__(
        self, query: Query, store: EvidenceStore, frame: FeatureFrame, model: Model
    ) -> None:
        self.query, self.store, self.frame, self.model = query, store, frame, model

    def reasons(self, rows: Rows) -> list[str]:
        """The strongest evidence for each of these tests, in one sentence each."""
        kinds, effects = self._effects(rows)
        # A prior that stands for unknown coverage is no evidence to tell of; what was entered is
        # what people understand and check best.
        effects[kinds.index("coverage")] *= CLARITY * (self._covers[rows] >= 0)
        best = effects.argmax(axis=0)
        strength = effects[best, np.arange(len(rows))]
        return [
            (self._tell(kinds[kind], row) or self._next(kinds, effects[:, place], row))
            if moved > 0
            else UNLINKED
            for place, (kind, moved, row) in enumerate(
                zip(best.tolist(), strength.tolist(), rows.tolist(), strict=True)
            )
        ]

    def moved(self, row: int) -> str:
        """The score of one test and what moved it, in one line.

        The factors multiply from the odds where nothing speaks for or against a test to its own.
        """
        frame = self.frame.take(np.array([row]))
        score = float(predict(self.model, frame)[0])
        terms = {name: float(term[0]) for name, term in self.model.terms(frame).items()}
        stated = likelihood(self.model, np.array([score, self.model.prior], np.float32))
        if stated is None:
            start = f"score {_small(score)} ({_small(self.model.prior)} {NEUTRAL})"
            return f"{start}: {self._told(frame, terms, sum(terms.values()))}"
        own, level = stated.tolist()
        by = "" if self.model.calibrated else f"score {_small(score)}; "
        start = f"likelihood {_percent(own)} {GIVEN} ({by}{_percent(level)} {NEUTRAL})"
        if self.model.calibrated:
            return f"{start}: {self._told(frame, terms, sum(terms.values()))}"
        # The map bends the odds of scores: each term keeps its share of the way.
        whole, total = float(np.diff(log_odds(stated[::-1]))[0]), sum(terms.values())
        bent = {name: term * whole / total for name, term in terms.items()} if total else terms
        return f"{start}: {self._told(frame, bent, whole)}"

    def _told(self, frame: FeatureFrame, terms: Mapping[str, float], whole: float) -> str:
        """What moved one test's log-odds by `whole`, each with its factor on the odds."""
        told = self._notable(frame, terms)
        parts = [(clause(name, value, effect), effect) for name, value, effect in told]
        left = whole - sum(effect for _, effect in parts)
        if abs(left) >= NOTABLE:
            parts.append(("all else" if parts or left > 0 else UNLINKED, left))
        return (
            ", ".join(f"{'+' if by > 0 else '-'} {say} (x{math.exp(by):.2g})" for say, by in parts)
            or "nothing that is known moves it"
        )

    def sentences(self, row: int) -> tuple[str, ...]:
        """All that is known for one test, the strongest first; what is unknown comes last."""
        names, effects = self._effects(np.array([row]))
        strength = dict(zip(names, effects[:, 0].tolist(), strict=True))
        kinds = sorted(strength, key=lambda kind: -strength[kind])
        # Text and names may share the same words.
        told = [s for s in dict.fromkeys(self._tell(kind, row) for kind in kinds) if s]
        if not self.store.has_coverage[row]:
            told.append("its coverage is unknown: it was not measured yet")
        elif not (self._covers >= 0).any() and self.query.touched:
            told.append("no test is seen to enter what you changed")
        elif self._covers[row] < 0:
            told.append(f"it does not enter what you changed{self._collected(row)}")
        return tuple(told)

    def _effects(self, rows: Rows) -> tuple[list[str], Floats]:
        """(kinds, [kind, row]): by how much each kind of evidence moved the log-odds of a score."""
        kinds = list(dict.fromkeys(KINDS.values()))
        effects = np.zeros((len(kinds), len(rows)))
        for name, term in self.model.terms(self.frame.take(rows)).items():
            if name in KINDS:
                effects[kinds.index(KINDS[name])] += term
        return kinds, effects

    def _next(self, kinds: Sequence[str], effects: Floats, row: int) -> str:
        """The strongest evidence that has a sentence, where the strongest of all has none."""
        for kind in np.argsort(-effects, kind="stable").tolist():
            if effects[kind] > 0 and (told := self._tell(kinds[kind], row)):
                return told
        return UNLINKED

    def _notable(
        self, frame: FeatureFrame, terms: Mapping[str, float]
    ) -> list[tuple[str, float, float]]:
        """(feature, value, effect) of what moved this one score most; features of a kind count as
        one, which the strongest of them speaks for."""
        kinds: dict[str, list[tuple[float, str]]] = {}
        for name, term in terms.items():
            kinds.setdefault(KINDS.get(name, name), []).append((term, name))
        told = []
        for members in kinds.values():
            effect = sum(member for member, _ in members)
            _, name = max(members) if effect > 0 else min(members)
            told.append((name, self._raw(frame, name), effect))
        told.sort(key=lambda term: -abs(term[2]))
        return [term for term in told if abs(term[2]) >= NOTABLE][:MOST_TERMS]

    def _raw(self, frame: FeatureFrame, name: str) -> float:
        column = frame.columns.get(name)
        return math.nan if column is None else float(column[0])

    def _tell(self, kind: str, row: int) -> str:
        if kind == "coverage":
            place = self._covers[row]
            return self._symbol_sentences[place] if place >= 0 else ""
        if kind == "propagated":
            place = self._reads[row]
            return (
                f"enters {_short(self.store.symbols[place])}, which reads what you changed"
                if place >= 0
                else ""
            )
        if kind in ("text", "name"):
            return self._words(row)
        return self._weak(kind, row)

    def _weak(self, kind: str, row: int) -> str:
        if kind == "imports":
            depth = self._value("import_depth", row)
            if depth <= 0:
                return ""
            steps = round(1 / depth)
            return (
                "imports a file that you changed"
                if steps <= 1
                else (f"imports a file that you changed, {steps} steps away")
            )
        if kind == "file":
            some = self._value("file_coverage_share", row) > 0 > self._covers[row]
            return "enters code of a file that you changed" if some else ""
        if kind == "cochange":
            often = self._value("cochange", row)
            return "its file often changes together with what you changed" if often > 0 else ""
        if kind == "failed":
            days = self._value("days_since_failure", row)
            rate = self._value("fail_rate", row)
            return f"failed {_days(days)} ago" if rate > 0 else ""
        alike = self._value("path_similarity", row)
        return "its path resembles a path that you changed" if alike >= 0.5 else ""

    def _value(self, name: str, row: int) -> float:
        column = self.frame.columns.get(name)
        return 0.0 if column is None or np.isnan(column[row]) else float(column[row])

    @cached_property
    def _symbol_sentences(self) -> dict[int, str]:
        known = int(self.store.has_coverage.sum())
        symbols, counts = np.unique(self._entered[1], return_counts=True)
        told = {}
        for symbol, n in zip(symbols.tolist(), counts.tolist(), strict=True):
            few = "only " if n * 10 <= known else ""
            verb = "test does" if known == 1 else "tests do"
            told[symbol] = (
                f"covers {_short(self.store.symbols[symbol])}, which you changed; "
                f"{few}{n:,} of {known:,} {verb}"
            )
        return told

    @cached_property
    def _strength_of(self) -> NDArray[np.float32]:
        """How strongly the change reaches each symbol through names."""
        reached, weights = propagate(self.store, self.query.touched, self.query.names_set)
        strength = np.zeros(len(self.store.symbols), np.float32)
        strength[reached] = weights
        return strength

    @cached_property
    def _touched(self) -> NDArray[np.bool_]:
        touched = np.zeros(len(self.store.symbols), bool)
        touched[seen_symbols(self.query, self.store)] = True
        return touched

    @cached_property
    def _found(self) -> tuple[Rows, Rows]:
        """Entries of all symbols that are told of: coverage is gone through once."""
        return entries(self.store.coverage, self._touched | (self._strength_of > 0))

    @cached_property
    def _entered(self) -> tuple[Rows, Rows]:
        row, symbol = self._found
        direct = self._touched[symbol]
        return row[direct], symbol[direct]

    @cached_property
    def _covers(self) -> Rows:
        """The rarest changed symbol that each test enters, -1 for none."""
        row, symbol = self._entered
        counts = np.bincount(symbol, minlength=len(self.store.symbols))
        return _first(len(self.store.tests), row, symbol, counts[symbol])

    @cached_property
    def _reads(self) -> Rows:
        """The most affected reader that each test enters, -1 for none."""
        row, symbol = self._found
        onward = self._strength_of[symbol] > 0
        row, symbol = row[onward], symbol[onward]
        return _first(len(self.store.tests), row, symbol, -self._strength_of[symbol])

    def _words(self, row: int) -> str:
        shared = [self._rarest_words[i] for i in self._shared[:, row] if i >= 0]
        if not shared:
            return ""
        named = _listed(f"'{word}'" for word in shared)
        return f"shares the word{'s' if len(shared) > 1 else ''} {named} with your change"

    @cached_property
    def _rarest_words(self) -> list[str]:
        text = self.store.text
        known = [word for word in text_query(self.query) if word in text.place]
        return sorted(known, key=lambda w: (-text.rarity[text.place[w]], w))[:MOST_WORDS]

    @cached_property
    def _shared(self) -> Rows:
        """For each test the first MOST_NAMED of the rarest words that it has, -1 beyond."""
        text, n = self.store.text, len(self.store.tests)
        found = np.full((MOST_NAMED, n), -1, np.int64)
        filled = np.zeros(n, np.int64)
        for place, word in enumerate(self._rarest_words):
            tests = text.impacts.row(text.place[word])
            tests = tests[filled[tests] < MOST_NAMED]
            found[filled[tests], tests] = place
            filled[tests] += 1
        return found

    def _collected(self, row: int) -> str:
        age = self._value("coverage_age", row)
        if math.isinf(age):
            return " (coverage of a state that is not in this change's past)"
        return f" (coverage collected {age:,.0f} commits ago)" if age > 0 else ""


def _first(n: int, row: Rows, column: Rows, key: NDArray[np.generic]) -> Rows:
    """For each row the column with the smallest key, -1 for a row without any."""
    result = np.full(n, -1, np.int64)
    order = np.lexsort((column, key, row))[::-1]
    result[row[order]] = column[order]  # the last assignment stays: the smallest key
    return result


def _short(symbol: str) -> str:
    file, _, qualname = symbol.partition("::")
    return f"the module level of {file}" if qualname == MODULE_LEVEL else qualname


def _listed(parts: Iterable[str]) -> str:
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last


def _percent(share: float) -> str:
    if share > 0.9995:  # three digits would say that it is certain
        return "above 99.9 %"
    return f"{100 * share:.3g} %" if share >= 1e-4 else "below 0.01 %"


def _small(score: float) -> str:
    return f"{score:.2g}" if score >= 1e-3 or not score else "below 0.001"


def _days(days: float) -> str:
    whole = round(days)
    return "less than a day" if whole == 0 else "1 day" if whole == 1 else f"{whole:,} days"
