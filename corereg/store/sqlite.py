"""SQLite: one file, for a laptop or a single machine.

Reads run synchronously in the event loop: an indexed WAL read takes tens of microseconds, a thread hop costs more.
Writes go through one connection, one transaction at a time; a second process that holds the write lock is waited for
without stopping the loop. What waits for the disk is `corereg.store.wal`, outside the lock.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from corereg.store.database import (
    Conflict,
    Database,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    Query,
    Row,
    Statement,
    Transaction,
    ValueRefused,
    only_transaction,
)
from corereg.store.recent import Recent
from corereg.store.wal import OWN_SYNC, WriteAheadLog, mend, unsynced

LOCK_TIMEOUT = 30.0
"""Seconds a writer waits for another process's write transaction."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.0002, 0.005
"""Seconds between two tries for the write lock; a transaction holds it for a fraction of a millisecond."""


SPOKEN: sa.Dialect = sqlite.dialect(paramstyle="named")


class Compiled:
    """A `Query` as SQLite takes it: SQL with named marks, and the values it brings along."""

    __slots__ = ("constants", "sql")

    def __init__(self, query: Query) -> None:
        compiled = query.statement.compile(dialect=SPOKEN)
        self.sql = str(compiled)
        self.constants = {name: value for name, value in compiled.params.items() if value is not None}

    def values(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**self.constants, **parameters} if self.constants else parameters


class SQLiteDatabase(Database):
    """One file. `path` None keeps everything in memory, for tests."""

    dialect = "sqlite"

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.told = Told(self.name)
        self._lock = anyio.Lock(fast_acquire=True)
        self._wal: WriteAheadLog | None = None
        self._recent: Recent | None = None

    async def open(self) -> None:
        if self.path and OWN_SYNC and unsynced(self.path):
            await anyio.to_thread.run_sync(mend, self.path)
        with self.told:
            self._raw_writer = self._connect()
            self._raw_reader = self._connect() if self.path else self._raw_writer
            if self.path:
                # Who reads waits for nobody, but for one who rebuilds the index after a third was killed: milliseconds.
                self._raw_reader.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT * 1000)}")
                self._raw_reader.execute(
                    "SELECT 1 FROM sqlite_master"
                ).fetchall()  # from here on log and index are there
                if OWN_SYNC:
                    self._wal = WriteAheadLog(self.path, self._connect())
                self._recent = Recent.beside(self.path)
        self._writer = _wrap(self._raw_writer)
        self._reader = _wrap(self._raw_reader)

    @property
    def name(self) -> str:
        """The file, for people."""
        return str(self.path or "in memory")

    def describe(self) -> str:
        return f"sqlite:{self.name}"

    def _connect(self) -> sqlite3.Connection:
        if self.path and not self.path.exists():
            self.path.touch(mode=0o600)  # holds signing keys and password hashes
        connection = sqlite3.connect(
            str(self.path or ":memory:"),
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        # The first two take locks when another process is just opening the file; later waits are our own.
        connection.execute("PRAGMA busy_timeout = 10000")
        if self.path:
            connection.execute("PRAGMA journal_mode = WAL")
        # Where we sync the log ourselves, a commit need not, nor copy the log into the file while the loop waits.
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if OWN_SYNC else 'FULL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {0 if OWN_SYNC else 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA busy_timeout = 0")
        return connection

    async def close(self) -> None:
        if self._wal is not None:
            await self._wal.close()
            self._wal = None
        if self._recent is not None:
            self._recent.close()
            self._recent = None
        for wrapped, raw in ((self._reader, self._raw_reader), (self._writer, self._raw_writer)):
            wrapped.close()
            raw.close()

    def insert(self, table: sa.Table) -> sqlite.Insert:
        return sqlite.insert(table)

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        with self.told:
            return self.fetch(self._raw_reader, self._reader, statement, parameters)

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        if self._recent is None or not isinstance(statement, Query) or not statement.often:
            return await super().row(statement, **parameters)
        row = self._recent.find(statement, parameters)
        if row is None and (rows := await self.rows(statement, **parameters)):
            row = rows[0]
            self._recent.keep(statement, parameters, row)
        return row

    def fetch(
        self, raw: sqlite3.Connection, wrapped: sa.Connection, statement: Statement, parameters: Mapping[str, Any]
    ) -> Sequence[Row]:
        if isinstance(statement, Query):
            compiled = statement.compiled(Compiled)
            return raw.execute(compiled.sql, compiled.values(parameters)).fetchall()
        result = wrapped.execute(statement, parameters)
        return result.all() if result.returns_rows else []

    async def lock(self, tx: Transaction, name: str) -> None:
        """A write transaction is alone already."""

    async def notify(self, channel: str, payload: str = "", *, tx: Transaction | None = None) -> None:
        """SQLite has no such call."""

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Nothing will be heard."""

    async def run_sync(self, work: Callable[[sa.Connection], None]) -> None:
        def run() -> None:
            raw = self._connect() if self.path else self._raw_writer
            raw.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT * 1000)}")
            connection = _wrap(raw)
            try:
                work(connection)
            finally:
                connection.close()
                if raw is not self._raw_writer:
                    raw.close()

        with self.told:
            await anyio.to_thread.run_sync(run)

    @asynccontextmanager
    async def transaction(self, *, durable: bool = True) -> AsyncGenerator[Transaction]:
        if durable and self._wal is not None:
            self._wal.check()
        with only_transaction(self):
            async with self._lock:
                try:
                    await self._first("BEGIN IMMEDIATE", {})
                    yield SQLiteTransaction(self, self._raw_writer, self._writer)
                    with self.told:
                        self._raw_writer.execute("COMMIT")
                finally:
                    # Mostly nothing is left to roll back; the wrapper's own notion of a transaction ends here.
                    if self._writer.in_transaction():
                        self._writer.rollback()
                    if self._raw_writer.in_transaction:
                        self._raw_writer.execute("ROLLBACK")
            if durable and self._wal is not None:
                await self._wal.durable()

    async def execute(self, statement: Query, /, **parameters: Any) -> int:
        """A statement alone needs no words around it: SQLite makes it whole by itself."""
        compiled = statement.compiled(Compiled)
        with only_transaction(self), self.told:
            async with self._lock:
                return (await self._first(compiled.sql, compiled.values(parameters))).rowcount

    async def _first(self, sql: str, parameters: Mapping[str, Any]) -> sqlite3.Cursor:
        """Run a statement that takes the write lock, as soon as no other process has it."""
        deadline = time.monotonic() + LOCK_TIMEOUT
        pause = SHORTEST_PAUSE
        while True:
            try:
                return self._raw_writer.execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise translated(error, self.name) from error
                await anyio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads waiting processes, hides nothing
                pause = min(pause * 1.3, LONGEST_PAUSE)


class SQLiteTransaction(Transaction):
    """Statements run at once, in the loop: they touch pages in memory; the disk is waited for at the end."""

    def __init__(self, database: SQLiteDatabase, raw: sqlite3.Connection, wrapped: sa.Connection) -> None:
        self._database = database
        self._raw = raw
        self._wrapped = wrapped

    def insert(self, table: sa.Table) -> sqlite.Insert:
        return sqlite.insert(table)

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        with self._database.told:
            return self._database.fetch(self._raw, self._wrapped, statement, parameters)

    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        with self._database.told:
            if isinstance(statement, Query):
                compiled = statement.compiled(Compiled)
                return self._raw.execute(compiled.sql, compiled.values(parameters)).rowcount
            return self._wrapped.execute(statement, parameters).rowcount

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> None:
        if not parameters:
            return
        with self._database.told:
            if isinstance(statement, Query):
                compiled = statement.compiled(Compiled)
                self._raw.executemany(compiled.sql, [compiled.values(each) for each in parameters])
            else:
                self._wrapped.execute(statement, list(parameters))


def _wrap(raw: sqlite3.Connection) -> sa.Connection:
    """SQLAlchemy over a connection whose transactions are ours (`isolation_level` is None: it never emits BEGIN)."""
    engine = sa.create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)
    return engine.connect()


class Told:
    """Around what SQLite may refuse: it leaves as a DatabaseError with a sentence.

    A class, because to enter a generator costs as much as a question does.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        origin = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(origin, sqlite3.Error):
            raise translated(origin, self.name) from error
        if isinstance(origin, OverflowError | UnicodeEncodeError):
            message = "a number is too large, or a text holds what is no character"
            raise ValueRefused(message) from error


def translated(error: sqlite3.Error, name: str) -> DatabaseError:
    """The same error in our words."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(str(error))
    if code == sqlite3.SQLITE_FULL:
        return DatabaseFull(f"no room is left for the database {name}; free some space")
    if code == sqlite3.SQLITE_BUSY:
        return DatabaseUnavailable(
            f"the database {name} is locked by another process for more than {LOCK_TIMEOUT:.0f} s"
        )
    return DatabaseUnavailable(f"the database {name} failed: {error}")
