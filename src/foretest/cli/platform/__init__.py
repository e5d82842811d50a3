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
    short_help="Train and judge the models that are shipped",
    epilog="""\b
Examples:
  foretest platform corpus --minutes 10
  foretest platform tracking serve
  foretest platform train --tracking http://127.0.0.1:5000
""",
)
