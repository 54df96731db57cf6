"""Engines and transactions: SQLite on a laptop, PostgreSQL under many nodes, one interface.

SQLite is read synchronously in the event loop: an indexed WAL read takes tens of microseconds, a thread hop costs more.
Writes go through one connection; only the COMMIT, which waits for the disk, leaves the loop. A second process
that holds the write lock is waited for without stopping the loop.

Columns hold primitive types only (integers, text, bytes; times are microseconds since 1970, UTC), so a row means the
same on both engines and needs no conversion on the way out.
"""

from __future__ import annotations

import random
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

Row = Sequence[Any]

LOCK_TIMEOUT = 30.0
"""Seconds a writer waits for another process's write transaction."""


def now() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class DatabaseError(Exception):
    """The database could not do what it was asked; `str()` is a sentence for the operator."""


class DatabaseFull(DatabaseError):
    """No room is left for the database's files."""


class DatabaseUnavailable(DatabaseError):
    """The database does not answer, is locked for too long, or cannot be written."""


class Conflict(DatabaseError):
    """A unique or foreign key forbids the change."""


class Query:
    """A statement written once, at module level, with bind parameters.

    It is compiled once per database; on SQLite it then runs as bare SQL. Use it on the walks of a pull and a push;
    anything else may pass plain SQLAlchemy Core statements.
    """

    __slots__ = ("statement",)

    def __init__(self, statement: sa.Select[Any] | sa.TextClause | sa.CompoundSelect[Any] | sa.UpdateBase) -> None:
        self.statement = statement


Statement = Query | sa.Executable


class Transaction(ABC):
    """One write transaction. Nothing of it is seen by others, or survives an exception, before it ends."""

    @abstractmethod
    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        """All rows of a SELECT or of a RETURNING."""

    @abstractmethod
    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        """Run a statement; how many rows it touched."""

    @abstractmethod
    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each set of parameters."""

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        """The first row, or None."""
        rows = await self.rows(statement, **parameters)
        return rows[0] if rows else None


class Database(ABC):
    """The rows of one registry. Made by `connect`; used in one event loop."""

    dialect: str

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises DatabaseUnavailable."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of every connection."""

    @abstractmethod
    def describe(self) -> str:
        """The database's address, without a password."""

    @abstractmethod
    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        """All rows of a SELECT, read outside any transaction."""

    @abstractmethod
    def transaction(self, *, durable: bool = True) -> AbstractAsyncContextManager[Transaction]:
        """A write transaction; committed at the end, rolled back by an exception.

        `durable=False` is for bookkeeping whose last moments may be lost when the machine loses power (never when the
        process dies): the progress of uploads. It is atomic all the same.
        """

    @abstractmethod
    async def run_sync(self, work: Callable[[sa.Connection], None]) -> None:
        """Run `work`, which may commit, with a synchronous connection and away from the event loop (migrations)."""

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        """The first row, or None."""
        rows = await self.rows(statement, **parameters)
        return rows[0] if rows else None

    @abstractmethod
    def insert(self, table: sa.Table) -> Any:
        """The dialect's INSERT, which knows ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""

    @abstractmethod
    async def lock(self, tx: Transaction, name: str) -> None:
        """Inside `tx`: from here to its end, alone among all nodes that lock the same name."""


class Compiled:
    """A `Query` as one dialect speaks it: SQL with positional marks, and the names that fill them."""

    __slots__ = ("constants", "names", "sql")

    def __init__(self, query: Query, dialect: sa.Dialect) -> None:
        compiled = query.statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())
        self.constants = {name: value for name, value in compiled.params.items() if value is not None}

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        if self.constants:
            parameters = {**self.constants, **parameters}
        return [parameters[name] for name in self.names]


_open_transaction: ContextVar[object | None] = ContextVar("corereg_open_transaction", default=None)


class SQLiteDatabase(Database):
    """One file. `path` None keeps everything in memory, for tests."""

    dialect = "sqlite"

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._dialect = sqlite.dialect(paramstyle="qmark")
        self._compiled: dict[int, Compiled] = {}
        self._queries: list[Query] = []
        self._lock = anyio.Lock()
        self._synchronous = "FULL"

    async def open(self) -> None:
        with _translated(self._name):
            self._raw_writer = self._connect()
            self._raw_reader = self._connect() if self.path else self._raw_writer
        self._writer = _wrap(self._raw_writer)
        self._reader = _wrap(self._raw_reader)

    @property
    def _name(self) -> str:
        return str(self.path or "in memory")

    def describe(self) -> str:
        return f"sqlite:{self._name}"

    def _connect(self) -> sqlite3.Connection:
        if self.path and not self.path.exists():
            self.path.touch(mode=0o600)  # holds signing keys and password hashes
        connection = sqlite3.connect(
            str(self.path or ":memory:"), timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        # The first two take locks when another process is just opening the file; later waits are our own.
        connection.execute("PRAGMA busy_timeout = 10000")
        if self.path:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA busy_timeout = 0")
        return connection

    async def close(self) -> None:
        for wrapped, raw in ((self._reader, self._raw_reader), (self._writer, self._raw_writer)):
            wrapped.close()
            raw.close()

    def insert(self, table: sa.Table) -> sqlite.Insert:
        return sqlite.insert(table)

    def compiled(self, query: Query) -> Compiled:
        found = self._compiled.get(id(query))
        if found is None:
            found = self._compiled[id(query)] = Compiled(query, self._dialect)
            self._queries.append(query)  # keeps its id from being used again
        return found

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        with _translated(self._name):
            return self.fetch(self._raw_reader, self._reader, statement, parameters)

    def fetch(
        self, raw: sqlite3.Connection, wrapped: sa.Connection, statement: Statement, parameters: Mapping[str, Any]
    ) -> Sequence[Row]:
        if isinstance(statement, Query):
            compiled = self.compiled(statement)
            return raw.execute(compiled.sql, compiled.values(parameters)).fetchall()
        result = wrapped.execute(statement, parameters)
        return result.all() if result.returns_rows else []

    async def lock(self, tx: Transaction, name: str) -> None:
        """A write transaction is alone already."""

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

        with _translated(self._name):
            await anyio.to_thread.run_sync(run)

    @asynccontextmanager
    async def transaction(self, *, durable: bool = True) -> AsyncGenerator[Transaction]:
        if _open_transaction.get() is self:
            message = "a transaction is open in this task already; use it instead of opening another"
            raise RuntimeError(message)
        async with self._lock:
            token = _open_transaction.set(self)
            try:
                await self._begin("FULL" if durable else "NORMAL")
                yield SQLiteTransaction(self, self._raw_writer, self._writer)
                with _translated(self._name):
                    await self._commit(durable=durable)
            finally:
                # In the good case there is nothing left to roll back; the wrapper's own notion of a transaction ends here.
                self._writer.rollback()
                if self._raw_writer.in_transaction:
                    self._raw_writer.execute("ROLLBACK")
                _open_transaction.reset(token)

    async def _begin(self, synchronous: str) -> None:
        if synchronous != self._synchronous:
            self._raw_writer.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        deadline = time.monotonic() + LOCK_TIMEOUT
        pause = 0.0005
        while True:
            try:
                self._raw_writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise _translate(error, self._name) from error
                await anyio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads waiting processes, hides nothing
                pause = min(pause * 1.5, 0.02)
            else:
                return

    async def _commit(self, *, durable: bool) -> None:
        if durable and self.path:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._raw_writer.execute, "COMMIT")
        else:
            self._raw_writer.execute("COMMIT")


class SQLiteTransaction(Transaction):
    """Statements run at once, in the loop: they touch pages in memory; the disk is waited for at the end."""

    def __init__(self, database: SQLiteDatabase, raw: sqlite3.Connection, wrapped: sa.Connection) -> None:
        self._database = database
        self._raw = raw
        self._wrapped = wrapped

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        with _translated(self._database._name):
            return self._database.fetch(self._raw, self._wrapped, statement, parameters)

    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        with _translated(self._database._name):
            if isinstance(statement, Query):
                compiled = self._database.compiled(statement)
                return self._raw.execute(compiled.sql, compiled.values(parameters)).rowcount
            return self._wrapped.execute(statement, parameters).rowcount

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> None:
        if not parameters:
            return
        with _translated(self._database._name):
            if isinstance(statement, Query):
                compiled = self._database.compiled(statement)
                self._raw.executemany(compiled.sql, [compiled.values(each) for each in parameters])
            else:
                self._wrapped.execute(statement, list(parameters))


class PostgresDatabase(Database):
    """Many nodes; through asyncpg (extra ``postgres``)."""

    dialect = "postgresql"

    def __init__(self, url: URL) -> None:
        self.url = url.set(drivername="postgresql+asyncpg")

    async def open(self) -> None:
        try:
            self._engine: AsyncEngine = create_async_engine(self.url, pool_size=10, max_overflow=10, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            message = "PostgreSQL needs asyncpg: pip install 'corereg[postgres]'"
            raise DatabaseUnavailable(message) from error
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        await self.rows(sa.text("SELECT 1"))

    @property
    def _name(self) -> str:
        return self.describe()

    def describe(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    async def close(self) -> None:
        await self._engine.dispose()

    def insert(self, table: sa.Table) -> postgresql.Insert:
        return postgresql.insert(table)

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        with _translated(self._name):
            async with self._reader.connect() as connection:
                result = await connection.execute(_plain(statement), parameters)
                return result.all() if result.returns_rows else []

    async def lock(self, tx: Transaction, name: str) -> None:
        await tx.rows(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), name=name)

    async def run_sync(self, work: Callable[[sa.Connection], None]) -> None:
        with _translated(self._name):
            async with self._engine.connect() as connection:
                await connection.run_sync(work)

    @asynccontextmanager
    async def transaction(self, *, durable: bool = True) -> AsyncGenerator[Transaction]:
        if _open_transaction.get() is self:
            message = "a transaction is open in this task already; use it instead of opening another"
            raise RuntimeError(message)
        token = _open_transaction.set(self)
        try:
            with _translated(self._name):
                async with self._engine.begin() as connection:
                    if not durable:
                        await connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                    yield PostgresTransaction(connection, self._name)
        finally:
            _open_transaction.reset(token)


class PostgresTransaction(Transaction):
    """A transaction on one pooled connection."""

    def __init__(self, connection: AsyncConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        with _translated(self._name):
            result = await self._connection.execute(_plain(statement), parameters)
            return result.all() if result.returns_rows else []

    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        with _translated(self._name):
            return int((await self._connection.execute(_plain(statement), parameters)).rowcount)

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> None:
        if parameters:
            with _translated(self._name):
                await self._connection.execute(_plain(statement), list(parameters))


def connect(url: str) -> Database:
    """The database behind a URL: ``sqlite:/path/to/file``, ``sqlite:`` (in memory) or ``postgresql://...``."""
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        path = rest.removeprefix("///") if rest.startswith("////") else rest.removeprefix("//")
        return SQLiteDatabase(Path(path) if path and path != "/" else None)
    if scheme in {"postgresql", "postgres"}:
        return PostgresDatabase(make_url(f"postgresql:{rest}"))
    message = f"no database for {scheme!r}; use sqlite:/path/to/file or postgresql://user@host/name"
    raise DatabaseUnavailable(message)


def _plain(statement: Statement) -> sa.Executable:
    return statement.statement if isinstance(statement, Query) else statement


def _wrap(raw: sqlite3.Connection) -> sa.Connection:
    """SQLAlchemy over a connection whose transactions are ours (`isolation_level` is None: it never emits BEGIN)."""
    engine = sa.create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)
    return engine.connect()


@contextmanager
def _translated(name: str) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, name) from error
    except DBAPIError as error:
        raise _translate(error.orig or error, name) from error
    except (ConnectionError, TimeoutError) as error:
        message = f"the database {name} does not answer: {error}"
        raise DatabaseUnavailable(message) from error


def _translate(error: BaseException, name: str) -> DatabaseError:
    code = getattr(error, "sqlite_errorcode", None)
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    kind = type(error).__name__
    if isinstance(error, sqlite3.IntegrityError) or state.startswith("23"):
        return Conflict(str(error))
    if (code is not None and code & 0xFF == sqlite3.SQLITE_FULL) or state == "53100":
        return DatabaseFull(f"no room is left for the database {name}; free some space")
    if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY:
        return DatabaseUnavailable(f"the database {name} is locked by another process for more than {LOCK_TIMEOUT:.0f} s")
    return DatabaseUnavailable(f"the database {name} failed: {kind}: {error}")
