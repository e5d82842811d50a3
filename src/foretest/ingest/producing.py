"""What is sent of the reports of one call: gathered where they were made, one message a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foretest.errors import BadReport
from foretest.history.rows import as_rows
from foretest.ingest.parcels import packed
from foretest.ingest.stream import Meta
from foretest.records import TestRun
from foretest.results.gathering import gather
from foretest.results.read import Origin

_OWN = b'{"format"'
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Message:
    """What one append takes, and how it is called when it is told of."""

    label: str
    report: bytes
    meta: Meta


@dataclass(slots=True)
class Parcelled:
    """What the reports of one call came to."""

    messages: list[Message] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    runs: list[TestRun] = field(default_factory=list)
    """What was read here; the plugin's report alone is not, whose tests are spelled as selected."""


def parcelled(places: Sequence[Path], known: Iterable[str], origin: Origin) -> Parcelled:
    """Read files, folders and patterns as `record` does; a message a run, and one a refused file.

    Files of one run are joined, and paths of other machines placed below `origin.root`. A report of
    the plugin alone is sent as it is: it needs neither. Beside a file that nobody can read, runs
    count as cut short: more tests may have run. Raises BadReport where nothing is there to be sent,
    or somebody's repository is not known.
    """
    if len(places) == 1 and places[0].is_file():
        data = _bytes(places[0])
        if data.lstrip().startswith(_OWN):
            label = str(places[0])
            return Parcelled([Message(label, data, Meta(origin, places[0].name))])
    gathered = gather(places, known, origin)
    parcelled = Parcelled(notices=list(gathered.notices))
    refused = {path for path, _ in gathered.refused}
    files = [place for place in places if place not in refused]
    runs = [
        replace(run, complete=run.complete and not refused) for run in gathered.runs if run.results
    ]
    parcelled.runs = runs
    for run in runs:
        _known(run.repository, files)
        label = _label(files) if len(runs) == 1 else f"Run {run.run_id}"
        name = files[0].name if len(files) == 1 else label
        # What the run says of itself now stands in the report; its sender needs no more.
        meta = Meta(Origin(run.repository), name)
        parcelled.messages.append(Message(label, packed(as_rows(run)), meta))
    parcelled.messages += _unread(gathered.refused, origin)
    parcelled.notices += [_unreadable(path, error) for path, error in gathered.refused]
    if runs and refused:
        parcelled.notices.append("What else was named counts as cut short: more may have run.")
    if not parcelled.messages:
        raise BadReport(f"{_label(places)}: no results are in there, nothing was sent.")
    return parcelled


def _unread(refused: Iterable[tuple[Path, BadReport]], origin: Origin) -> Iterator[Message]:
    """Files that nobody can read go as they are: the consumer sets them aside, with the reason."""
    for path, error in refused:
        if not path.is_file():
            raise error
        _known(origin.repository, [path])
        yield Message(str(path), _bytes(path), Meta(replace(origin, root=None), path.name))


def _unreadable(path: Path, error: BadReport) -> str:
    said = error.message if str(path) in error.message else f"{path}: {error.message}"
    return f"{said} It is sent as it is, and will be set aside instead of recorded."


def _known(repository: str, files: Sequence[Path]) -> None:
    if not repository:
        raise BadReport(
            f"{_label(files)} does not say which repository it belongs to, and here is none.",
            "Name it: --repository-key HOST/ORG/NAME.",
        )


def _label(places: Sequence[Path]) -> str:
    """The first few of the places, and how many more there are."""
    more = len(places) - _NAMED
    named = ", ".join(str(place) for place in places[:_NAMED])
    return f"{named} and {more:,} more" if more > 0 else named


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadReport(f"{path} cannot be read: {error.strerror}.") from error
