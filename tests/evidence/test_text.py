"""The index scores as a plain BM25 written from its formula."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foretest.evidence.text import TextIndex, document

WORDS = list("abcdefgh")
documents = st.lists(
    st.dictionaries(st.sampled_from(WORDS), st.integers(1, 5).map(float), max_size=6),
    min_size=1,
    max_size=8,
)
queries = st.dictionaries(
    st.sampled_from([*WORDS, "unknown"]), st.floats(0.1, 4.0), min_size=1, max_size=6
)


def plain_bm25(docs: list[dict[str, float]], query: dict[str, float]) -> list[float]:
    k1, b = 1.2, 0.75
    mean = sum(sum(d.values()) for d in docs) / len(docs)
    scores = []
    for doc in docs:
        score = 0.0
        for word, weight in query.items():
            count = doc.get(word, 0.0)
            if not count:
                continue
            held = sum(word in d for d in docs)
            idf = math.log(1 + (len(docs) - held + 0.5) / (held + 0.5))
            damped = count + k1 * (1 - b + b * sum(doc.values()) / mean)
            score += weight * idf * count * (k1 + 1) / damped
        scores.append(score)
    return scores


@given(documents, queries)
def test_scores_are_bm25(docs: list[dict[str, float]], query: dict[str, float]) -> None:
    index = TextIndex.build(docs)
    np.testing.assert_allclose(index.scores(query), plain_bm25(docs, query), rtol=1e-4)


@given(documents, queries)
def test_bound_and_normalised(docs: list[dict[str, float]], query: dict[str, float]) -> None:
    index = TextIndex.build(docs)
    scores, bound = index.scores(query), index.upper_bound(query)
    assert (scores <= bound * (1 + 1e-5)).all()
    normalised = index.normalised(query)
    assert normalised.dtype == np.float32
    assert ((normalised >= 0) & (normalised <= 1)).all()
    assert (normalised > 0).tolist() == (scores > 0).tolist()


def test_a_test_with_all_the_best_words_scores_one() -> None:
    index = TextIndex.build([{"read": 1.0, "table": 1.0}, {"write": 1.0}, {}])
    assert index.normalised({"read": 2.0, "table": 1.0, "elsewhere": 5.0})[0] == 1.0
    assert index.normalised({"elsewhere": 1.0}).tolist() == [0, 0, 0]
    assert index.normalised({}).tolist() == [0, 0, 0]


def test_rare_words_weigh_more() -> None:
    docs = [{"common": 1.0, "rare": 1.0}, {"common": 1.0}, {"common": 1.0}, {"common": 1.0}]
    index = TextIndex.build(docs)
    assert index.scores({"rare": 1.0})[0] > 5 * index.scores({"common": 1.0})[0]


@given(documents, documents, queries, st.data())
def test_replace_scores_only_the_new_words(
    docs: list[dict[str, float]],
    new: list[dict[str, float]],
    query: dict[str, float],
    data: st.DataObject,
) -> None:
    index = TextIndex.build(docs)
    places = data.draw(
        st.lists(
            st.integers(0, len(docs) - 1),
            unique=True,
            min_size=min(len(docs), len(new)),
            max_size=min(len(docs), len(new)),
        )
    )
    changed = index.replace(places, new[: len(places)])
    before, after = index.scores(query), changed.scores(query)
    for test in range(len(docs)):
        if test not in places:
            np.testing.assert_allclose(after[test], before[test], rtol=1e-5)
        else:
            words = new[places.index(test)]
            assert (after[test] > 0) == any(word in words for word in query)


def test_replace_takes_new_tests_and_new_words() -> None:
    index = TextIndex.build([{"a": 1.0}, {"b": 1.0}]).replace([3], [{"new": 2.0}])
    assert index.n_tests == 4
    assert np.flatnonzero(index.scores({"new": 1.0})).tolist() == [3]
    assert np.flatnonzero(
        TextIndex.empty().replace([0], [{"x": 1.0}]).scores({"x": 1})
    ).tolist() == [0]


@given(documents, queries)
def test_file_round_trip(docs: list[dict[str, float]], query: dict[str, float]) -> None:
    index = TextIndex.build(docs)
    back = TextIndex.from_arrays(index.to_arrays("text"), "text")
    np.testing.assert_array_equal(back.scores(query), index.scores(query))


def test_document_weighs_its_parts() -> None:
    assert document((["a", "b", "a"], 1.0), (["a", "c"], 0.5)) == {"a": 2.5, "b": 1.0, "c": 0.5}
