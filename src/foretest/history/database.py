"""Opens the catalogue's database: SQLite or PostgreSQL, its schema brought forward, never back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from foretest.durable import full
from foretest.errors import BadConfiguration, BadStore, Busy, ExtraMissing, ForetestError
from foretest.history.tables import SchemaVersion, Table

SCHEMA_VERSION = 1
MIGRATIONS: Mapping[int, Callable[[sa.Connection], None]] = {}
"""Steps from the schema before to the numbered one. They add and convert; they never drop data."""

_BUSY_SECONDS = 30
_LOCK = 0x666F7265
"""Key of the advisory lock under which PostgreSQL's schema is changed."""


class Database:
    """An engine whose transactions speak in foretest's own errors."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            parsed = sa.make_url(url)
            local = parsed.database if parsed.get_backend_name() == "sqlite" else None
            self._file = Path(local) if local else None
            if self._file:
                with self.honest():
                    self._file.parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(parsed)
        except sa.exc.ArgumentError as error:
            raise BadConfiguration(
                f"The catalogue's address '{_shown(url)}' is none.",
                "Set `catalogue` to an SQLAlchemy address, such as postgresql://host/name.",
            ) from error
        except ImportError as error:
            raise ExtraMissing(
                f"The catalogue's database needs a driver: {error}.",
                "Install it, such as `pip install psycopg` for postgresql+psycopg://.",
            ) from error
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _on_connect)
            sa.event.listen(self._engine, "begin", _on_begin)
        self._writer = self._engine.execution_options(foretest_writes=True)

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self.honest(), Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is stored whole when the block ends well, and not at all if not."""
        with self.honest(), Session(self._writer) as session, session.begin():
            yield session

    def purge(self) -> None:
        """Overwrite what was deleted, so that its bytes are gone from the disk as well."""
        with self.honest(), self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            if self.dialect == "sqlite":
                connection.commit()
                raw: Any = connection.connection
                raw.execute("VACUUM")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
            else:
                connection.exec_driver_sql("VACUUM FULL")

    def migrate(self) -> None:
        """Bring the schema up to this version. Raises BadStore for a schema that is newer."""
        with self.honest():
            if self._current() == SCHEMA_VERSION:  # the usual case needs no lock
                return
            with self._writer.begin() as connection:
                if self.dialect == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                _bring_forward(connection, self.url)

    def _current(self) -> int | None:
        with self._engine.connect() as connection:
            return _version(connection)

    @contextmanager
    def honest(self) -> Iterator[None]:
        """Say what the database refuses in the user's words."""
        try:
            yield
        except (sa.exc.SQLAlchemyError, OSError) as error:
            reason = str(getattr(error, "orig", error))
            if "disk I/O error" in reason and self._file and full(self._file.parent):
                reason = "disk is full"  # SQLite's word for it where its shared memory cannot grow
            raise _explained(_shown(self.url), reason) from error


def _bring_forward(connection: sa.Connection, url: str) -> None:
    version = _version(connection)
    if version is None:
        Table.metadata.create_all(connection)
        steps: list[int] = [SCHEMA_VERSION]
    elif version > SCHEMA_VERSION:
        raise BadStore(
            f"The catalogue {_shown(url)} has schema {version}; this foretest knows"
            f" {SCHEMA_VERSION}.",
            "Update foretest. Nothing was changed.",
        )
    else:
        steps = list(range(version + 1, SCHEMA_VERSION + 1))
        for step in steps:
            MIGRATIONS[step](connection)
    for step in steps:
        row = {"version": step, "applied_at": datetime.now(UTC)}
        connection.execute(sa.insert(SchemaVersion).values(row))


def _version(connection: sa.Connection) -> int | None:
    if not sa.inspect(connection).has_table(SchemaVersion.__tablename__):
        return None
    return connection.execute(sa.select(sa.func.max(SchemaVersion.version))).scalar()


def _on_connect(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}").close()


def _on_begin(connection: sa.Connection) -> None:
    # A deferred transaction that turns to writing fails at once where another one writes; one
    # that says so from the start waits its turn.
    writes = connection.get_execution_options().get("foretest_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _explained(shown: str, reason: str) -> ForetestError:
    if "locked" in reason or "deadlock" in reason:
        return Busy(f"The catalogue {shown} is in use.", "Wait for the other process, then retry.")
    if "disk is full" in reason:
        return BadStore(f"The disk is full: {shown} was not changed.", "Free some space.")
    if "not a database" in reason or "malformed" in reason:
        return BadStore(
            f"The catalogue {shown} is damaged.", "Move the file away; results are in the lake."
        )
    line = next(iter(reason.splitlines()), "unknown reason")
    return BadStore(f"The catalogue {shown} cannot be used: {line}.", "Check address and rights.")


def _shown(url: str) -> str:
    """The address without its password."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return url.partition("@")[2] or url
