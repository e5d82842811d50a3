"""Gradient-boosted trees as LightGBM writes them, read and evaluated with numpy alone.

LightGBM takes more than a second to load, scipy included; a selection waits for neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from foretest.errors import BadModel

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32] | Floats
Masks = NDArray[np.unsignedinteger]
Places = NDArray[np.intp]

LONGEST_TEXT = 16 << 20
MOST_LEAVES = 64
"""Leaves of one tree: each is a bit of a word."""
MOST_FEATURES = 1_000
MOST_CELLS = 16 << 20
"""Nodes x distinct thresholds, over all features: bounds the tables that a file may ask for."""
CHUNK = 16384
"""Rows evaluated together, so that all that is looked up stays in the processor's cache."""

ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: what is not farther from 0 counts as 0."""
CATEGORICAL, DEFAULT_LEFT = 1, 2
"""Bits of a decision_type; the next two say what counts as missing."""
NO_MISSING, ZERO_MISSING, NAN_MISSING = 0, 1, 2


@dataclass(frozen=True)
class Tree:
    """One tree. A child >= 0 is a node, and numbered above its parent; ~child is a leaf."""

    feature: Places
    threshold: Floats
    decision: NDArray[np.uint8]
    left: list[int]
    right: list[int]
    value: Floats
    """Of each node: what the tree would answer if it ended there."""
    leaf: Floats


@dataclass(frozen=True)
class Trees:
    """A sum of trees. Made by `from_text`.

    A node only asks on which side of its threshold a value lies. So between two neighbouring
    thresholds of a feature all values are alike, and each tree is a table for each of its features:
    which leaves a value still allows, one bit a leaf. The `and` over its features leaves one bit
    (after QuickScorer, Lucchese et al., SIGIR 2015).
    """

    text: str
    features: tuple[str, ...] = field(compare=False)
    trees: tuple[Tree, ...] = field(compare=False, repr=False)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what LightGBM's `model_to_string` wrote.

        One numerical output: categorical splits, linear trees, several classes and averaged forests
        are refused, as are trees of more than 64 leaves. Raises BadModel for those and for damage.
        """
        if len(text) > LONGEST_TEXT:
            _refuse("it is too long")
        try:
            return cls._parsed(text)
        except (KeyError, ValueError, OverflowError) as error:
            raise _bad(f"it is damaged ({error})") from error

    @classmethod
    def _parsed(cls, text: str) -> Self:
        body, ended, _ = text.partition("\nend of trees")
        head, *blocks = body.split("\nTree=")
        if not ended or not blocks or not head.startswith("tree\n"):
            _refuse("it is cut short, or not written by LightGBM")
        features = _features(_fields(head))
        made = cls(text, features, tuple(_tree(_fields(b), len(features)) for b in blocks))
        nodes = np.bincount(made._nodes.feature, minlength=len(features))
        if sum(n * len(b) for n, b in zip(nodes, made._boundaries, strict=True)) > MOST_CELLS:
            _refuse("it has too many thresholds")
        if not math.isfinite(sum(float(np.abs(tree.leaf).max()) for tree in made.trees)):
            _refuse("its values are not finite")
        return made

    def raw(self, matrix: Matrix) -> Floats:
        """The raw score of each row of matrix[n, k], NaN where a value is missing: float64[n].

        Equal to LightGBM's `predict(raw_score=True)` to the last bit. Raises BadModel for a matrix
        of another width.
        """
        result = np.zeros(len(matrix))
        for rows, tree, leaf in self._leaves(matrix):
            result[rows] += self.trees[tree].leaf[leaf]
        return result

    def contributions(self, matrix: Matrix) -> Floats:
        """What moved each row's raw score: float64[n, k + 1], one column a feature, last the bias.

        Each step down a tree moves its answer from one node's to the next, which is booked to the
        feature asked there (Saabas, "Interpreting random forests", 2014). A row's sum is its raw
        score. These are no Shapley values, which are fairer to features asked deep in a tree, but
        take work that grows with the square of the depth for each row; here, a row costs as little
        as its score.
        """
        result = np.zeros((len(matrix), len(self.features) + 1))
        for rows, tree, leaf in self._leaves(matrix):
            result[rows] += self._moves[tree][leaf]
        return result

    @cached_property
    def bias(self) -> float:
        """The raw score before any feature was asked."""
        return float(sum(tree.value[0] if len(tree.value) else tree.leaf[0] for tree in self.trees))

    def _leaves(self, matrix: Matrix) -> Iterator[tuple[slice, int, Places]]:
        """(rows, tree, the leaf that each of these rows reaches), trees in order."""
        if matrix.ndim != 2 or matrix.shape[1] != len(self.features):
            _refuse(f"it asks for {len(self.features)} features, not {matrix.shape[1:]}")
        tables = self._tables
        for start in range(0, len(matrix), CHUNK):
            rows = slice(start, min(start + CHUNK, len(matrix)))
            places = [
                _place(matrix[rows, feature], bounds)
                for feature, bounds in enumerate(self._boundaries)
            ]
            allowed = np.empty(rows.stop - start, self._nodes.if_left.dtype)
            more = np.empty_like(allowed)
            for tree, asked in enumerate(tables):
                allowed.fill(1)  # a tree without a node has one leaf
                for turn, (feature, table) in enumerate(asked):
                    np.take(table, places[feature], out=more if turn else allowed, mode="clip")
                    if turn:
                        np.bitwise_and(allowed, more, out=allowed)
                allowed -= 1
                yield rows, tree, np.bitwise_count(allowed).astype(np.intp)

    @cached_property
    def _nodes(self) -> _Nodes:
        return _Nodes.of(self.trees)

    @cached_property
    def _boundaries(self) -> list[Floats]:
        """For each feature the values up to which, inclusive, all are alike to every node."""
        nodes = self._nodes
        order = np.argsort(nodes.feature, kind="stable")
        cuts = np.searchsorted(nodes.feature[order], np.arange(1, len(self.features)))
        # Zero stands alone: to some nodes it means missing.
        zero = np.array([np.nextafter(-ZERO, -math.inf), 0.0])
        return [np.unique(np.append(t, zero)) for t in np.split(nodes.threshold[order], cuts)]

    @cached_property
    def _tables(self) -> list[list[tuple[int, Masks]]]:
        """For each tree and feature that it asks: the leaves allowed, by a value's place."""
        nodes = self._nodes
        tables: list[list[tuple[int, Masks]]] = [[] for _ in self.trees]
        for feature, bounds in enumerate(self._boundaries):
            of_feature = np.flatnonzero(nodes.feature == feature)
            if not len(of_feature):
                continue
            alike = np.concatenate((bounds, (math.inf, math.nan)))  # one value for each place
            left = goes_left(
                alike, nodes.threshold[of_feature, None], nodes.decision[of_feature, None]
            )
            masks = np.where(
                left, nodes.if_left[of_feature, None], nodes.if_right[of_feature, None]
            )
            trees, starts = np.unique(nodes.tree[of_feature], return_index=True)
            joined = np.bitwise_and.reduceat(masks, starts, axis=0)
            for tree, table in zip(trees.tolist(), joined, strict=True):
                tables[tree].append((feature, table))
        return tables

    @cached_property
    def _moves(self) -> list[Floats]:
        """For each tree what the features moved on the way to each leaf: [leaves, k + 1]."""
        return [_moves(tree, len(self.features)) for tree in self.trees]


@dataclass(frozen=True)
class _Nodes:
    """The nodes of all trees, one after the other."""

    tree: Places
    feature: Places
    threshold: Floats
    decision: NDArray[np.uint8]
    if_left: Masks
    """The leaves that remain where a row goes left."""
    if_right: Masks

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> Self:
        sizes = [len(tree.feature) for tree in trees]
        masks = [mask for tree in trees for mask in _masks(tree)]
        width = np.min_scalar_type((1 << max(len(tree.leaf) for tree in trees)) - 1)
        return cls(
            np.repeat(np.arange(len(trees)), sizes),
            np.concatenate([tree.feature for tree in trees]),
            np.concatenate([tree.threshold for tree in trees]),
            np.concatenate([tree.decision for tree in trees]),
            np.array([left for left, _ in masks], width),
            np.array([right for _, right in masks], width),
        )


def goes_left(value: Floats, threshold: Floats, decision: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """LightGBM's decision at numerical nodes, broadcast (`Tree::NumericalDecision`)."""
    missing, unknown = decision >> 2, np.isnan(value)
    known = np.where(unknown & (missing != NAN_MISSING), 0.0, value)
    absent = np.where(missing == ZERO_MISSING, np.abs(known) <= ZERO, np.isnan(known))
    return np.where(absent, (decision & DEFAULT_LEFT) > 0, known <= threshold)


def _place(column: Matrix, boundaries: Floats) -> Places:
    """Index of the first boundary that each value does not exceed; the last two: none, NaN."""
    values = column.astype(np.float64)
    values[np.abs(values) <= ZERO] = 0.0
    found = np.searchsorted(boundaries, values)
    found[np.isnan(values)] = len(boundaries) + 1
    return found


def _masks(tree: Tree) -> list[tuple[int, int]]:
    """For each node the leaves that remain where a row goes left, and where it goes right."""
    under = [0] * len(tree.left)
    for node in reversed(range(len(under))):
        for child in (tree.left[node], tree.right[node]):
            under[node] |= under[child] if child >= 0 else 1 << ~child
    every = (1 << len(tree.leaf)) - 1
    return [
        (every & ~_under(right, under), every & ~_under(left, under))
        for left, right in zip(tree.left, tree.right, strict=True)
    ]


def _under(child: int, under: Sequence[int]) -> int:
    return under[child] if child >= 0 else 1 << ~child


def _moves(tree: Tree, features: int) -> Floats:
    nodes = np.zeros((len(tree.feature), features + 1))
    leaves = np.zeros((len(tree.leaf), features + 1))
    start = nodes if len(nodes) else leaves
    start[0, features] = tree.value[0] if len(nodes) else tree.leaf[0]
    for node, feature in enumerate(tree.feature.tolist()):
        for child in (tree.left[node], tree.right[node]):
            row, value = (
                (nodes[child], tree.value[child])
                if child >= 0
                else (leaves[~child], tree.leaf[~child])
            )
            row[:] = nodes[node]
            row[feature] += value - tree.value[node]
    return leaves


def _fields(block: str) -> Mapping[str, str]:
    """The `key=value` lines of a block; a line without `=` is a key alone."""
    fields: dict[str, str] = {}
    for line in block.split("\n")[1:]:
        key, _, value = line.partition("=")
        if key in fields:
            _refuse(f"'{key[:40]}' stands twice")
        if key:
            fields[key] = value
    return fields


def _features(head: Mapping[str, str]) -> tuple[str, ...]:
    if head.get("version") not in ("v3", "v4"):
        _refuse(f"its format is {head.get('version', '?')[:20]}, not v3 or v4")
    if head["num_class"] != "1" or head["num_tree_per_iteration"] != "1":
        _refuse("it has more than one output")
    if "average_output" in head:
        _refuse("it is an averaged forest")
    features = tuple(head["feature_names"].split(" "))
    if not 1 <= len(features) <= MOST_FEATURES or len({*features}) != len(features):
        _refuse("its features have no names of their own")
    if int(head["max_feature_idx"]) != len(features) - 1:
        _refuse("its features are not those that it counts")
    return features


def _tree(fields: Mapping[str, str], features: int) -> Tree:
    if fields["num_cat"] != "0" or fields.get("is_linear", "0") != "0":
        _refuse("it has categorical splits or linear leaves")
    leaves = int(fields["num_leaves"])
    if not 1 <= leaves <= MOST_LEAVES:
        _refuse(f"a tree has {leaves} leaves; 1 to {MOST_LEAVES} are read")
    nodes = leaves - 1
    feature = _whole(fields, "split_feature", nodes, 0, features - 1)
    decision = _whole(fields, "decision_type", nodes, 0, 15)
    if any(d & CATEGORICAL or d >> 2 > NAN_MISSING for d in decision):
        _refuse("it has a decision that is not numerical")
    left = _whole(fields, "left_child", nodes, -leaves, nodes - 1)
    right = _whole(fields, "right_child", nodes, -leaves, nodes - 1)
    _check_shape(left, right, leaves)
    threshold = _numbers(fields, "threshold", nodes)
    value, leaf = _numbers(fields, "internal_value", nodes), _numbers(fields, "leaf_value", leaves)
    if np.isnan(threshold).any() or not (np.isfinite(value).all() and np.isfinite(leaf).all()):
        _refuse("its numbers are not finite")  # thresholds may be, where the data were not
    feature_of, decisions = np.array(feature, np.intp), np.array(decision, np.uint8)
    return Tree(feature_of, threshold, decisions, left, right, value, leaf)


def _check_shape(left: Sequence[int], right: Sequence[int], leaves: int) -> None:
    """Every node but the root and every leaf has one parent, numbered below it: no cycles."""
    children = sorted((*left, *right))
    wanted = [*range(-leaves, 0), *range(1, leaves - 1)] if left else []
    below = all(child < 0 or child > n for side in (left, right) for n, child in enumerate(side))
    if children != wanted or not below:
        _refuse("its nodes do not form a tree")


def _whole(fields: Mapping[str, str], key: str, n: int, least: int, most: int) -> list[int]:
    values = [int(token) for token in _tokens(fields, key, n)]
    if any(not least <= value <= most for value in values):
        _refuse(f"'{key}' is out of range")
    return values


def _numbers(fields: Mapping[str, str], key: str, n: int) -> Floats:
    return np.array([float(token) for token in _tokens(fields, key, n)], np.float64)


def _tokens(fields: Mapping[str, str], key: str, n: int) -> list[str]:
    tokens = fields[key].split() if n else []
    if len(tokens) != n:
        _refuse(f"'{key}' has {len(tokens)} values, not {n}")
    return tokens


def _refuse(reason: str) -> NoReturn:
    raise _bad(reason)


def _bad(reason: Any) -> BadModel:
    return BadModel(
        f"The trees of the model cannot be used: {reason}.",
        "Run 'foretest learn' again, or install foretest anew.",
    )
