"""The features by name: what each says, which way it points, and what its absence means."""

from __future__ import annotations

from dataclasses import dataclass

CATALOGUE_VERSION = 1
"""Raised whenever a feature changes its meaning: models fitted on another version do not load."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a FeatureFrame."""

    name: str
    family: str
    monotone: int
    """1: more of it never makes a failure less likely; -1: never more likely; 0: either."""
    missing: str
    """What NaN means in this column; empty where it has none."""
    description: str


CATALOGUE: tuple[Feature, ...] = (
    Feature(
        "coverage_share",
        "coverage",
        1,
        "the test's coverage is unknown, or no changed symbol is entered by any test",
        "Share of the changed symbols that the test enters, each weighed by its rarity.",
    ),
    Feature(
        "coverage_rarity",
        "coverage",
        1,
        "as coverage_share",
        "Rarity (0..1) of the rarest changed symbol that the test enters; 0 where it enters none.",
    ),
    Feature(
        "coverage_focus",
        "coverage",
        1,
        "as coverage_share",
        "Sum over the changed symbols entered of 1 / tests that enter it, at most 1.",
    ),
    Feature(
        "file_coverage_share",
        "coverage",
        1,
        "the test's coverage is unknown, or no changed file is entered by any test",
        "Share of the changed files that the test enters, each weighed by its rarity.",
    ),
    Feature(
        "propagated_share",
        "coverage",
        1,
        "the test's coverage is unknown, or the change propagates to nothing",
        "Strength x rarity of the entered symbols that read what the changed code sets, at most 1.",
    ),
    Feature(
        "coverage_age",
        "coverage",
        0,
        "unknown",
        "Commits between the state in which the test's coverage was collected and now.",
    ),
    Feature(
        "breadth",
        "coverage",
        0,
        "the test's coverage is unknown",
        "Share of all known symbols that the test enters.",
    ),
    Feature(
        "bm25",
        "text",
        1,
        "the change has no words",
        "BM25 of the change's words in the test's, as a share of the best possible score.",
    ),
    Feature(
        "bm25_name",
        "text",
        1,
        "the change touches no named symbol",
        "BM25 of the changed symbols' names and paths in the test's words, as a share of the best.",
    ),
    Feature(
        "path_similarity",
        "text",
        1,
        "the change names no file",
        "Likeness (0..1) of the test file's path and the most similar changed path.",
    ),
    Feature(
        "import_depth",
        "imports",
        1,
        "no changed file takes part in static imports",
        "1 / number of import steps from the test file to the nearest changed file; 0: none.",
    ),
    Feature(
        "cochange",
        "history",
        1,
        "no changed file has a history of changes",
        "How often the test's file changed together with a changed file (0..1).",
    ),
    Feature(
        "fail_rate",
        "history",
        1,
        "the test has not run yet",
        "Failures per run, halved for every 30 days since the last failure.",
    ),
    Feature(
        "days_since_failure",
        "history",
        -1,
        "the test has never failed",
        "Days from the last failure to now.",
    ),
    Feature("runs", "history", 0, "", "Recorded runs of the test."),
    Feature(
        "past",
        "history",
        1,
        "no run was recorded",
        "Points by past results alone: failures of late, of the tests beside, newness, duration.",
    ),
    Feature("seconds", "cost", 0, "never measured", "Median seconds of the test."),
    Feature("test_words", "cost", 0, "the test's text is unknown", "Number of words in the test."),
    Feature("change_files", "change", 0, "", "Changed files; the same for every test."),
    Feature("change_symbols", "change", 0, "", "Changed symbols; the same for every test."),
    Feature(
        "change_unseen",
        "change",
        0,
        "the change touches no symbol",
        "Share of the changed symbols that no test enters; the same for every test.",
    ),
)

FEATURES: dict[str, Feature] = {feature.name: feature for feature in CATALOGUE}
