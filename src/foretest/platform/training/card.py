"""The model card (Mitchell et al., FAT* 2019): what a model is, for whom, how well, how not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from foretest.models.contract import identity
from foretest.platform.gate.exam import Candidate
from foretest.platform.gate.verdict import Verdict
from foretest.replay.metrics import SHARES
from foretest.replay.table import Line
from foretest.selection.promise import Calibration, percent

LEVELS = (0.8, 0.9, 0.95, 0.99)
USE = (
    "Orders and selects the tests of a change, so that a failing test runs early. It advises; a "
    "full run before a release still decides."
)
LIMITS = (
    "It saw Python projects that pytest tests. Other languages have the same features, but "
    "nobody measured it there.",
    "Its cases are past changes taken back, one by one: not the faults that people make today. "
    "Failures of the environment, of time, and flaky ones are not among them.",
    "A change of data, configuration or installed packages is widened by rules, which this model "
    "has no part in.",
    "It reads what evidence says of one repository. Where that is missing or old it knows little, "
    "and says so by likelihoods near the prior.",
    "A score says how likely a test is to fail, not how grave the failure would be.",
)
ETHICS = (
    "It knows code, tests and results; it reads no author, mail address, time of day or team, and "
    "has no feature that stands for a person.",
    "The gate holds each directory, repository, size and age to the recall of all, so that "
    "nobody's part of the code is systematically tested less. Slices too small are named unknown.",
    "It must not be used to judge people by the faults that it expects in their changes.",
)
UNSEEN = "none of which the scoring model saw before"
IN_TIME = "later ones than all that it was fitted on, most of them of the same repositories"
"""On what a model was judged."""
LICENCE = (
    "Apache-2.0, as foretest itself. Facts of public repositories were fitted on (names of tests "
    "and symbols, counts of words, outcomes), none of their code is in the model."
)


def card(
    candidate: Candidate, verdict: Verdict, lines: Sequence[Line], made: datetime | None = None
) -> dict[str, Any]:
    """All that a card says, as JSON. `lines` are the replay's table, slice by slice."""
    lineage: Mapping[str, Any] = getattr(candidate.model, "lineage", {})
    return {
        "model": identity(candidate.model),
        "made": (made or datetime.now(UTC)).isoformat(timespec="seconds"),
        "what": _what(lineage),
        "use": USE,
        "data": {
            "version": lineage.get("data", "unknown"),
            "examples": lineage.get("examples", 0),
            "augmented": lineage.get("augmented", 0),
            "until": lineage.get("until", {}),
            "repositories": list(lineage.get("repositories", [])),
        },
        "code": lineage.get("code", "unknown"),
        "recipe": lineage.get("recipe", {}),
        "metrics": [_metrics(line) for line in lines],
        "promise": _promised(candidate.promise),
        "judged": IN_TIME if candidate.in_time else UNSEEN,
        "gate": verdict.to_json(),
        "limits": list(LIMITS),
        "ethics": list(ETHICS),
        "licence": LICENCE,
    }


def as_json(told: Mapping[str, Any]) -> str:
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def as_markdown(told: Mapping[str, Any]) -> str:
    """The card for people."""
    gate = told["gate"]
    return "\n".join(
        (
            f"# Model card: {told['model']}",
            "",
            f"{told['what']} Made {told['made'][:10]} by foretest {_short(told['code'])}. "
            f"The gate: **{'passed' if gate['passed'] else 'not passed'}**, held against "
            f"{gate['rival']} on {gate['changes']:,} faulty changes of {gate['repositories']:,} "
            f"repositories, {told['judged']}.",
            "",
            "## Use",
            "",
            told["use"],
            "",
            "## How well",
            "",
            *_metric_tables(told["metrics"]),
            "Percentages of faulty changes with a failing test among what a share of suite time "
            "runs, each with its 95 % interval (bootstrap over repositories and commits). Coverage "
            "is some fifty commits old, as in everyday use.",
            "",
            "## The promise",
            "",
            *told["promise"],
            "",
            "## The gate",
            "",
            "| | Check | Measured | Wanted |",
            "|---|---|---|---|",
            *(_check_row(check) for check in gate["checks"]),
            "",
            "## Limits",
            "",
            *(f"- {limit}" for limit in told["limits"]),
            "",
            "## Ethics",
            "",
            *(f"- {line}" for line in told["ethics"]),
            "",
            "## Data",
            "",
            f"Version {told['data']['version']}: {told['data']['examples']:,} examples and "
            f"{told['data']['augmented']:,} augmented ones. Last change fitted on, by repository:",
            "",
            "| Repository | State | Changes | Until | Licence |",
            "|---|---|---|---|---|",
            *(_repository_row(each, told["data"]["until"]) for each in
              told["data"]["repositories"]),
            "",
            "## Recipe",
            "",
            *(f"- {name}: {_value(value)}" for name, value in told["recipe"].items()),
            "",
            "## Licence",
            "",
            told["licence"],
            "",
        )
    )  # fmt: skip


def _what(lineage: Mapping[str, Any]) -> str:
    warm = lineage.get("warm start")
    began = f" It goes on from {warm['trees']} trees of an earlier one." if warm else ""
    return (
        "Boosted trees that correct a formula's estimate of how likely each test is to fail "
        f"because of a change.{began}"
    )


def _metrics(line: Line) -> dict[str, Any]:
    return {
        "slice": line.slice,
        "strategy": line.strategy,
        "changes": line.n,
        "commits": line.commits,
        "repositories": line.repositories,
        "caught": {
            f"{share:g}": [caught.mean, caught.low, caught.high]
            for share, caught in zip(SHARES, line.caught, strict=True)
        },
        "first failure": [line.first.mean, line.first.low, line.first.high],
    }


def _metric_tables(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    lines: list[str] = []
    for name in dict.fromkeys(each["slice"] for each in metrics):
        rows = [each for each in metrics if each["slice"] == name]
        lines += [
            f"### {name[0].upper()}{name[1:]}",
            "",
            f"{rows[0]['changes']:,} changes of {rows[0]['commits']:,} commits in "
            f"{rows[0]['repositories']:,} repositories.",
            "",
            "| Order | " + " | ".join(f"{s:.0%}" for s in SHARES) + " | First failure |",
            "|---|" + "---|" * (len(SHARES) + 1),
            *(
                "| "
                + " | ".join(
                    (row["strategy"], *map(_interval, row["caught"].values()),
                     _interval(row["first failure"], 1))
                )
                + " |"
                for row in rows
            ),
            "",
        ]  # fmt: skip
    return lines


def _interval(values: Sequence[float], digits: int = 0) -> str:
    mean, low, high = (f"{100 * value:.{digits}f}" for value in values)
    return mean if low == "nan" else f"{mean} [{low}, {high}]"


def _promised(made: Calibration | None) -> list[str]:
    if made is None:
        return ["Nothing is promised: no calibration came with it."]
    lines = [f"Calibrated on {made.size:,} repositories, each scored by a model without it."]
    for level in LEVELS:
        threshold = made.threshold(level)
        told = (
            "takes more repositories" if threshold is None else f"from a score of {threshold:.3g}"
        )
        lines.append(f"- {percent(level)}: {told}")
    return [*lines[:1], "", *lines[1:]]


def _check_row(check: Mapping[str, Any]) -> str:
    mark = {True: "passed", False: "**failed**", None: "unknown"}[check["passed"]]
    why = f" ({check['why']})" if check["why"] and check["passed"] is not True else ""
    return f"| {mark} | {check['name']} | {_cell(check['measured'] + why)} | {check['wanted']} |"


def _repository_row(each: Mapping[str, Any], until: Mapping[str, float]) -> str:
    name = f"[{each['name']}]({each['url']})" if each.get("url") else each["name"]
    last = until.get(each["name"])
    day = datetime.fromtimestamp(last, UTC).date().isoformat() if last else "unknown"
    return (
        f"| {name} | {str(each['commit'])[:10]} | {each['changes']:,} | {day} | {each['licence']} |"
    )


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _short(code: str) -> str:
    head, plus, _ = code.partition("+")
    return f"{head[:10]}{' with changes' if plus else ''}" if len(head) == 40 else code
