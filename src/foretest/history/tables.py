"""The catalogue's tables: every column that needs it says what it holds."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Base of all tables."""


class SchemaVersion(Table):
    __tablename__ = "schema_version"
    __table_args__ = ({"comment": "Migrations applied, one row each; the highest is the schema."},)

    version: Mapped[int] = mapped_column(primary_key=True, comment="Number of the migration")
    applied_at: Mapped[datetime] = mapped_column(Moment, comment="When it was applied")


class Repository(Table):
    __tablename__ = "repositories"
    __table_args__ = ({"comment": "Repositories that results, decisions or bundles belong to."},)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(
        String(1000), unique=True, comment="host/org/name of the origin, or root:<first commit>"
    )
    first_seen: Mapped[datetime] = mapped_column(Moment, comment="When foretest first met it")


class Test(Table):
    __tablename__ = "tests"
    __table_args__ = (
        UniqueConstraint("repository_id", "unit"),
        {"comment": "Units of selection: test functions with their parameters merged."},
    )
    __test__ = False

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    unit: Mapped[str] = mapped_column(comment="Node id without parameters")
    first_seen: Mapped[datetime] = mapped_column(Moment, comment="Earliest run it was in")
    last_seen: Mapped[datetime] = mapped_column(Moment, comment="Latest run it was in")


class Change(Table):
    __tablename__ = "changes"
    __table_args__ = (
        UniqueConstraint("repository_id", "base", "head"),
        {"comment": "Differences that a decision was asked about."},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    base: Mapped[str] = mapped_column(String(64), comment="Commit that was compared with")
    head: Mapped[str] = mapped_column(
        String(64), comment="Commit that was compared; empty for the uncommitted tree"
    )


class Run(Table):
    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("repository_id", "run_id", "attempt", "shard"),
        {"comment": "Runs whose results are in the lake."},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    run_id: Mapped[str] = mapped_column(String(200), comment="Name of the run in its CI")
    attempt: Mapped[int] = mapped_column(comment="Attempt of the whole run, from 1")
    shard: Mapped[str] = mapped_column(String(200), comment="Part of the run; empty for a whole")
    decision_id: Mapped[str | None] = mapped_column(
        String(64), index=True, comment="Decision that chose its tests; null where none did"
    )
    commit: Mapped[str | None] = mapped_column(
        "commit_id", String(64), index=True, comment="Commit tested; null for uncommitted code"
    )
    os: Mapped[str] = mapped_column(String(100), comment="Operating system")
    python: Mapped[str] = mapped_column(String(100), comment="Python version")
    flags: Mapped[str] = mapped_column(comment="Further configuration, a JSON list")
    source: Mapped[str] = mapped_column(String(20), comment="recorded, fault or undone")
    occurred_at: Mapped[datetime] = mapped_column(Moment, index=True, comment="When it began")
    received_at: Mapped[datetime] = mapped_column(Moment, comment="When foretest took it in")
    complete: Mapped[bool] = mapped_column(comment="False where the process ended early")
    tests: Mapped[int] = mapped_column(comment="Units with a result")
    failed: Mapped[int] = mapped_column(comment="Units whose last attempt failed")
    seconds: Mapped[float] = mapped_column(comment="Sum of the known durations")


class Decision(Table):
    __tablename__ = "decisions"
    __table_args__ = ({"comment": "Selections given out, each with what is needed to judge it."},)

    id: Mapped[str] = mapped_column(String(64), primary_key=True, comment="decision_id")
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), index=True)
    change_id: Mapped[int] = mapped_column(ForeignKey("changes.id"))
    decided_at: Mapped[datetime] = mapped_column(Moment, index=True)
    bundle: Mapped[str] = mapped_column(String(80), comment="Digest of the bundle; empty if none")
    run_all: Mapped[bool] = mapped_column(comment="Everything ran, asked for or failed open")
    budget_share: Mapped[float | None] = mapped_column(comment="Asked share of suite time")
    budget_seconds: Mapped[float | None] = mapped_column(comment="Asked seconds")
    chosen_seconds: Mapped[float] = mapped_column(comment="Predicted seconds of what was chosen")
    suite_seconds: Mapped[float] = mapped_column(comment="Predicted seconds of the whole suite")
    notices: Mapped[str] = mapped_column(comment="Sentences said to the user, a JSON list")


class DecisionTests(Table):
    __tablename__ = "decision_tests"
    __table_args__ = (
        {"comment": "Tests of a decision, chosen ones first, packed: one row a decision."},
    )

    decision_id: Mapped[str] = mapped_column(ForeignKey("decisions.id"), primary_key=True)
    chosen: Mapped[int] = mapped_column(comment="How many of the tests were chosen, from the start")
    packed: Mapped[bytes] = mapped_column(
        LargeBinary,
        comment="zlib of JSON: columns test, why, score, seconds, inclusion, reason",
    )


class Bundle(Table):
    __tablename__ = "bundles"
    __table_args__ = ({"comment": "Bundles learned or fetched."},)

    digest: Mapped[str] = mapped_column(String(80), primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), index=True)
    commit: Mapped[str] = mapped_column("commit_id", String(64), comment="State it describes")
    created_at: Mapped[datetime] = mapped_column(Moment)
    lake_version: Mapped[int] = mapped_column(comment="Lake version it was learned from; -1: none")
    lineage: Mapped[str] = mapped_column(comment="Where it comes from, a JSON object")
