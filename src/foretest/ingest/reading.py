"""From a delivery to rows: as it was read already, by column, else as every report is read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from foretest.errors import BadReport
from foretest.history.rows import RunRows, as_rows
from foretest.ingest.columns import Columns
from foretest.ingest.parcels import is_parcel, unpacked
from foretest.ingest.stream import Delivery
from foretest.results import report as reports
from foretest.results.read import read_report

Known = Callable[[str], Sequence[str]]
"""A repository's known units, by which reports without files are joined."""


def nothing_known(_: str) -> Sequence[str]:
    """No repository's tests are known: names are kept as their reports spell them."""
    return ()


@dataclass(frozen=True, slots=True)
class Read:
    """A delivery as rows, and what is to be said of it."""

    rows: RunRows
    notices: tuple[str, ...] = ()


class DeliveryReader:
    """Reads deliveries one after another; it remembers suites, nothing else."""

    def __init__(self, known: Known = nothing_known) -> None:
        self._known = known
        self._columns = Columns()

    def read(self, delivery: Delivery) -> Read:
        """The rows of a report. Raises BadReport where it cannot be kept as anybody's results.

        When it was received is what the stream says, however long it waited there.
        """
        if delivery.problem:
            raise BadReport(delivery.problem, "Send the report again.")
        notices: tuple[str, ...] = ()
        if is_parcel(delivery.report):
            rows: RunRows | None = unpacked(delivery.report)
        else:
            rows = self._columns.read(delivery.report, delivery.meta.origin)
        if rows is None:
            rows, notices = self._slowly(delivery)
        if not rows.run.repository:
            raise BadReport(
                f"{delivery.meta.name} says nowhere which repository it belongs to.",
                "Send it with --repository-key HOST/ORG/NAME.",
            )
        reports.bounded(rows.run)
        if not len(rows) and notices:
            raise BadReport(f"{delivery.meta.name} has no readable result: {notices[0]}")
        return Read(_received(rows, delivery), notices)

    def _slowly(self, delivery: Delivery) -> tuple[RunRows, tuple[str, ...]]:
        origin = delivery.meta.origin
        name = PurePath(delivery.meta.name).name or "report"
        with tempfile.TemporaryDirectory(prefix="foretest-") as folder:
            path = Path(folder, name[-100:])
            path.write_bytes(delivery.report)
            try:
                read = read_report(path, self._known(origin.repository), origin)
            except BadReport as error:  # the folder is nobody's business
                said = error.message.replace(str(path), name)
                raise BadReport(said, error.remedy) from error
        if read.ledger is None:
            return as_rows(read.run), read.skipped
        return RunRows(read.head, read.ledger.columns()), read.skipped


def _received(rows: RunRows, delivery: Delivery) -> RunRows:
    received = delivery.meta.received_at
    if received is None:
        return rows
    run = replace(rows.run, received_at=received, occurred_at=min(rows.run.occurred_at, received))
    return replace(rows, run=run)
