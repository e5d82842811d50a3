"""The catalogue: which runs, decisions and bundles there were; small, shared by a team."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from foretest.errors import BadStore
from foretest.history import tables
from foretest.history.database import Database
from foretest.history.unitrun import UnitRun, summarise
from foretest.records import Budget, Choice, Configuration, Selection, Source, TestRun, Why

FILE = "catalogue.db"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run without its results, which are in the lake."""

    repository: str
    run_id: str
    attempt: int
    shard: str | None
    decision_id: str | None
    commit: str | None
    configuration: Configuration
    source: Source
    occurred_at: datetime
    received_at: datetime
    complete: bool
    tests: int
    failed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A bundle that was learned or fetched."""

    digest: str
    commit: str
    created_at: datetime
    lake_version: int = -1
    lineage: Mapping[str, Any] | None = None


class Catalogue:
    """Records idempotently: what is said twice is stored once. Close it, or use it as a context."""

    def __init__(self, url: str | Path) -> None:
        """Open the database at an SQLAlchemy address, or the SQLite file at a path."""
        address = f"sqlite:///{url}" if isinstance(url, Path) else url
        self._database = Database(address)
        self._database.migrate()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def record_run(self, run: TestRun) -> bool:
        """Remember a run; False where it is known already."""
        merged = summarise(run)
        place = run.configuration
        known = [r.seconds for r in run.results if r.seconds is not None]
        with self._database.writing() as session:
            repository = self._repository(session, run.repository)
            row = {
                "repository_id": repository,
                "run_id": run.run_id,
                "attempt": run.attempt,
                "shard": run.shard or "",
                "decision_id": run.decision_id,
                "commit": run.commit,
                "os": place.os,
                "python": place.python,
                "flags": json.dumps(place.flags),
                "source": run.source.value,
                "occurred_at": run.occurred_at,
                "received_at": run.received_at,
                "complete": run.complete,
                "tests": len(merged.units),
                "failed": int(merged.bad.sum()),
                "seconds": sum(known),
            }
            new = self._insert_new(session, tables.Run, row)
            if new:
                self._see_tests(session, repository, merged, run.occurred_at)
        return new

    def runs(
        self,
        repository: str | None = None,
        *,
        since: datetime | None = None,
        commit: str | None = None,
        decision_id: str | None = None,
        limit: int | None = None,
    ) -> list[RunSummary]:
        """Runs that match, latest received first."""
        run, owner = tables.Run, tables.Repository
        query = sa.select(run, owner.key).join(owner, run.repository_id == owner.id)
        for column, wanted in (
            (owner.key, repository),
            (run.commit, commit),
            (run.decision_id, decision_id),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if since is not None:
            query = query.where(run.received_at >= since)
        query = query.order_by(run.received_at.desc(), run.id.desc()).limit(limit)
        with self._database.reading() as session:
            return [_run_summary(row, key) for row, key in session.execute(query)]

    def record_decision(self, selection: Selection, decided_at: datetime | None = None) -> bool:
        """Log a selection with every test's inclusion probability; False where it is known."""
        choices = (*selection.chosen, *selection.rest)
        with self._database.writing() as session:
            repository = self._repository(session, selection.repository)
            row = {
                "id": selection.decision_id,
                "repository_id": repository,
                "change_id": self._change(session, repository, selection),
                "decided_at": decided_at or datetime.now(UTC),
                "bundle": selection.bundle,
                "run_all": selection.run_all,
                "budget_share": selection.budget.share,
                "budget_seconds": selection.budget.seconds,
                "chosen_seconds": selection.chosen_seconds,
                "suite_seconds": selection.suite_seconds,
                "notices": json.dumps(selection.notices),
            }
            new = self._insert_new(session, tables.Decision, row)
            if new:
                packed = {"chosen": len(selection.chosen), "packed": pack(choices)}
                session.execute(
                    sa.insert(tables.DecisionTests).values(
                        decision_id=selection.decision_id, **packed
                    )
                )
        return new

    def decision(self, decision_id: str) -> Selection | None:
        """The selection as it was given out; None where there is none of that id."""
        decision, tests = tables.Decision, tables.DecisionTests
        query = (
            sa.select(decision, tests, tables.Change, tables.Repository.key)
            .join(tests, tests.decision_id == decision.id)
            .join(tables.Change, tables.Change.id == decision.change_id)
            .join(tables.Repository, tables.Repository.id == decision.repository_id)
            .where(decision.id == decision_id)
        )
        with self._database.reading() as session:
            found = session.execute(query).one_or_none()
            if found is None:
                return None
            row, packed, change, repository = found
            choices = unpack(packed.packed)
            return Selection(
                decision_id=row.id,
                repository=repository,
                base=change.base,
                head=change.head or None,
                chosen=choices[: packed.chosen],
                rest=choices[packed.chosen :],
                run_all=row.run_all,
                notices=tuple(json.loads(row.notices)),
                budget=Budget(row.budget_share, row.budget_seconds),
                bundle=row.bundle,
            )

    def decisions(self, repository: str, limit: int | None = None) -> list[str]:
        """Ids of the repository's decisions, latest first."""
        decision, owner = tables.Decision, tables.Repository
        query = (
            sa.select(decision.id)
            .join(owner, owner.id == decision.repository_id)
            .where(owner.key == repository)
            .order_by(decision.decided_at.desc(), decision.id)
            .limit(limit)
        )
        with self._database.reading() as session:
            return list(session.scalars(query))

    def record_bundle(self, repository: str, bundle: BundleEntry) -> bool:
        """Remember a bundle; False where its digest is known already."""
        with self._database.writing() as session:
            row = {
                "digest": bundle.digest,
                "repository_id": self._repository(session, repository),
                "commit": bundle.commit,
                "created_at": bundle.created_at,
                "lake_version": bundle.lake_version,
                "lineage": json.dumps(dict(bundle.lineage or {})),
            }
            return self._insert_new(session, tables.Bundle, row)

    def bundles(self, repository: str) -> list[BundleEntry]:
        """The repository's bundles, latest first."""
        bundle, owner = tables.Bundle, tables.Repository
        query = (
            sa.select(bundle)
            .join(owner, owner.id == bundle.repository_id)
            .where(owner.key == repository)
            .order_by(bundle.created_at.desc(), bundle.digest)
        )
        with self._database.reading() as session:
            return [
                BundleEntry(b.digest, b.commit, b.created_at, b.lake_version, json.loads(b.lineage))
                for b in session.scalars(query)
            ]

    def stats(self, repository: str | None = None) -> dict[str, int]:
        """How many runs, tests, decisions and bundles are known."""
        counted = {
            "runs": tables.Run,
            "tests": tables.Test,
            "decisions": tables.Decision,
            "bundles": tables.Bundle,
        }
        with self._database.reading() as session:
            return {name: session.scalar(_count(t, repository)) for name, t in counted.items()}

    def forget(self, repository: str) -> int:
        """Delete all that belongs to a repository, for good; how many rows that were."""
        key = tables.Repository.key == repository
        owner = sa.select(tables.Repository.id).where(key).scalar_subquery()
        theirs = sa.select(tables.Decision.id).where(tables.Decision.repository_id == owner)
        deleted = 0
        with self._database.writing() as session:
            asked = tables.DecisionTests.decision_id.in_(theirs)
            deleted += _deleted(session, sa.delete(tables.DecisionTests).where(asked))
            for table in _OWNED:
                deleted += _deleted(session, sa.delete(table).where(table.repository_id == owner))
            deleted += _deleted(session, sa.delete(tables.Repository).where(key))
        self._database.purge()
        return deleted

    def _repository(self, session: Session, key: str) -> int:
        row = {"key": key, "first_seen": datetime.now(UTC)}
        self._insert_new(session, tables.Repository, row)
        query = sa.select(tables.Repository.id).where(tables.Repository.key == key)
        return session.execute(query).scalar_one()

    def _change(self, session: Session, repository: int, selection: Selection) -> int:
        where = {"base": selection.base, "head": selection.head or ""}
        self._insert_new(session, tables.Change, {"repository_id": repository, **where})
        query = sa.select(tables.Change.id).filter_by(repository_id=repository, **where)
        return session.execute(query).scalar_one()

    def _see_tests(
        self, session: Session, repository: int, merged: UnitRun, when: datetime
    ) -> None:
        rows = [
            {"repository_id": repository, "unit": unit, "first_seen": when, "last_seen": when}
            for unit in merged.units
        ]
        if not rows:
            return
        insert, test = self._insert(tables.Test), tables.Test
        later = sa.case(
            (insert.excluded.last_seen > test.last_seen, insert.excluded.last_seen),
            else_=test.last_seen,
        )
        earlier = sa.case(
            (insert.excluded.first_seen < test.first_seen, insert.excluded.first_seen),
            else_=test.first_seen,
        )
        seen = {"last_seen": later, "first_seen": earlier}
        session.execute(insert.on_conflict_do_update(index_elements=_TEST_KEY, set_=seen), rows)

    def _insert_new(self, session: Session, table: type[tables.Table], row: dict[str, Any]) -> bool:
        insert = self._insert(table).values(row).on_conflict_do_nothing()
        columns = list(sa.inspect(table).primary_key)
        return session.execute(insert.returning(*columns)).first() is not None

    def _insert(self, table: type[tables.Table]) -> Any:
        make = postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        return make(table)


_OWNED = (tables.Decision, tables.Change, tables.Run, tables.Test, tables.Bundle)
"""Tables whose rows belong to one repository, those that refer to others first."""
_TEST_KEY = ["repository_id", "unit"]
_COLUMNS = ("test", "why", "score", "seconds", "inclusion", "reason")


def _deleted(session: Session, statement: Any) -> int:
    found: Any = session.execute(statement.execution_options(synchronize_session=False))
    return int(found.rowcount)


def pack(choices: Sequence[Choice]) -> bytes:
    """The choices by column: like stands beside like, which compresses to a few bytes a test."""
    rows = [asdict(choice) for choice in choices]
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    return zlib.compress(json.dumps(columns, separators=(",", ":")).encode(), 6)


def unpack(packed: bytes) -> tuple[Choice, ...]:
    """What `pack` packed. Raises BadStore where it is damaged."""
    try:
        columns = json.loads(zlib.decompress(packed))
        rows = zip(*(columns[name] for name in _COLUMNS), strict=True)
        return tuple(Choice(row[0], Why(row[1]), *row[2:]) for row in rows)
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise BadStore("A logged decision is damaged.", "Restore the catalogue.") from error


def _count(table: Any, repository: str | None) -> sa.Select[Any]:
    query = sa.select(sa.func.count()).select_from(table)
    if repository is None:
        return query
    owner = tables.Repository
    return query.join(owner, owner.id == table.repository_id).where(owner.key == repository)


def _run_summary(row: tables.Run, repository: str) -> RunSummary:
    return RunSummary(
        repository=repository,
        run_id=row.run_id,
        attempt=row.attempt,
        shard=row.shard or None,
        decision_id=row.decision_id,
        commit=row.commit,
        configuration=Configuration(row.os, row.python, tuple(json.loads(row.flags))),
        source=Source(row.source),
        occurred_at=row.occurred_at,
        received_at=row.received_at,
        complete=row.complete,
        tests=row.tests,
        failed=row.failed,
        seconds=row.seconds,
    )
