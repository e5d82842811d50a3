"""`foretest platform`: the corpus, training, tracking and the gate, a verb a module."""

from __future__ import annotations

from foretest.cli.verbs import Verbs

VERBS: tuple[str, ...] = (
    "corpus",
    "encoder",
    "strategies",
    "scaling",
    "job",
    "features",
    "tracking",
    "compare",
    "tune",
    "train",
    "retrain",
    "promote",
    "gate",
)

command = Verbs(
    "foretest.cli.platform",
    VERBS,
    name="platform",
    help="""Train and judge foretest's own models: on this machine, or on a Ray cluster.

    Needs `pip install 'foretest[platform]'`. Each verb goes on where it was cut off.
    """,
)
