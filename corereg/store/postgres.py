"""PostgreSQL: the database of many nodes, through asyncpg (extra ``postgres``).

A `Query` is compiled once and goes to asyncpg as it is, which keeps it prepared on every connection. Other statements
go through SQLAlchemy, over the same connection.

What happens when a connection breaks: a read is repeated once, on a new connection; so is the beginning of a
transaction. Within a transaction nothing is repeated: the server has rolled it back, and whoever asked hears
DatabaseUnavailable. When it breaks while the answer to COMMIT is awaited nobody knows, and that is what is said.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import anyio
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from corereg.config import DatabaseConfig
from corereg.store.database import (
    Database,
    DatabaseBusy,
    DatabaseLost,
    DatabaseUnavailable,
    Query,
    Row,
    Statement,
    Transaction,
    only_transaction,
)
from corereg.store.notices import Heard, Listener
from corereg.store.pool import Connection, Pool
from corereg.store.sqlstates import AGAIN, broken, of_database, outdated, state, translated

BEGIN = "BEGIN"
BEGIN_RELAXED = "BEGIN; SET LOCAL synchronous_commit = off"
TRIES = 3
"""How often a statement that is a transaction of its own is tried when another change is in its way."""
GRACE = 5.0
"""Seconds a rollback may take, and that a statement may take beyond its timeout before the server counts as gone."""

NOTIFY = Query(
    sa.select(sa.func.pg_notify(sa.bindparam("channel", type_=sa.Text), sa.bindparam("payload", type_=sa.Text)))
)
LOCK = Query(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("name", type_=sa.Text), 0))))

_lent: ContextVar[Any] = ContextVar("corereg_lent_connection")


SPOKEN: sa.Dialect = dialect.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy gives it no types


class Compiled:
    """A `Query` as asyncpg takes it: SQL with numbered marks, and which value belongs to which."""

    __slots__ = ("constants", "names", "sql")

    def __init__(self, query: Query) -> None:
        compiled = query.statement.compile(dialect=SPOKEN)
        self.sql = str(compiled)
        self.names: Sequence[str] = tuple(getattr(compiled, "positiontup", None) or ())
        self.constants = {name: value for name, value in compiled.params.items() if value is not None}

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        if self.constants:
            parameters = {**self.constants, **parameters}
        return [parameters[name] for name in self.names]


class PostgresDatabase(Database):
    """Many nodes; through asyncpg."""

    dialect = "postgresql"

    def __init__(self, url: URL, options: DatabaseConfig | None = None) -> None:
        self.url = url.set(drivername="postgresql")
        self._options = options = options or DatabaseConfig()
        self._pooler = options.statement_cache_size == 0
        self.connections = Pool(
            self._connect,
            size=options.pool_size,
            overflow=options.pool_overflow,
            timeout=options.pool_timeout,
            recycle=options.recycle,
        )
        self._listener = Listener(self._connect)

    def pool(self) -> Mapping[str, int]:
        kept = self.connections
        return {"idle": kept.idle, "used": kept.open - kept.idle, "waiting": kept.waiting}

    async def open(self) -> None:
        async def lent() -> Any:
            return _lent.get()

        try:
            import asyncpg  # type: ignore[import-untyped]  # noqa: F401, PLC0415 - an extra, missed in a sentence

            self._engine: AsyncEngine = create_async_engine(
                "postgresql+asyncpg://",
                async_creator=lent,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",
                connect_args=self._adapted(),
            )
        except ModuleNotFoundError as error:
            message = "PostgreSQL needs asyncpg: pip install 'corereg[postgres]'"
            raise DatabaseUnavailable(message) from error
        await self.rows(sa.text("SELECT 1"))

    def _adapted(self) -> dict[str, Any]:
        """What SQLAlchemy does about prepared statements. Behind a pooler several processes' lie side by side on one
        server connection, so each has a name of its own.
        """
        if not self._pooler:
            return {}
        return {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: f"__corereg_{uuid4()}__"}

    async def _connect(self, *, patient: bool = False) -> Any:
        """A connection of asyncpg's own; a `patient` one lets its statements take as long as they like."""
        import asyncpg  # noqa: PLC0415 - as above

        options = self._options
        limits = (
            {} if patient else {"statement_timeout": options.statement_timeout, "lock_timeout": options.lock_timeout}
        )
        # A tenth of a second of compiling helps no statement that is done in milliseconds.
        settings = {"jit": "off", **{name: f"{seconds}s" for name, seconds in limits.items()}}
        if self._pooler:  # which takes no such parameters; there ALTER ROLE sets them
            settings, limits = {}, {}
        if "application_name" not in self.url.query:
            settings["application_name"] = "corereg"
        more: dict[str, Any] = {}
        if options.password_file is not None:
            more["password"] = self._password
        seconds = limits.get("statement_timeout")
        return await asyncpg.connect(
            self.url.render_as_string(hide_password=False),
            timeout=options.connect_timeout,
            command_timeout=seconds + GRACE if seconds else None,
            statement_cache_size=options.statement_cache_size,
            max_cached_statement_lifetime=0,
            server_settings=settings,
            **more,
        )

    def _password(self) -> str:
        path = self._options.password_file
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n") if path is not None else ""
        except OSError as error:
            message = f"database.password_file: {path} cannot be read: {error.strerror}"
            raise DatabaseUnavailable(message) from error

    def describe(self) -> str:
        return self.url.set(query={}).render_as_string(hide_password=True)

    async def close(self) -> None:
        await self._listener.close()
        await self.connections.close()

    def insert(self, table: sa.Table) -> postgresql.Insert:
        return postgresql.insert(table)

    # ---- one statement ----

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        for last in (False, True):
            connection = await self._take()
            try:
                if self._pooler:  # each of its transactions may meet another server connection
                    async with connection.raw.transaction():
                        found = await self.fetch(connection, statement, parameters)
                else:
                    found = await self.fetch(connection, statement, parameters)
            except BaseException as error:
                if not self._failed(connection, error) or last:
                    raise self.told(error) from error
            else:
                self.connections.give(connection)
                return found
        raise AssertionError  # the second time returns or raises

    async def fetch(self, connection: Connection, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """All rows; raises what the driver raises."""
        if isinstance(statement, Query):
            compiled = statement.compiled(Compiled)
            rows: Sequence[Row] = await connection.raw.fetch(compiled.sql, *compiled.values(parameters))
            return rows
        result = await (await self._wrapped(connection)).execute(statement, parameters)
        return result.all() if result.returns_rows else []

    async def run(self, connection: Connection, statement: Statement, parameters: Mapping[str, Any]) -> int:
        """How many rows it touched; raises what the driver raises."""
        if isinstance(statement, Query):
            compiled = statement.compiled(Compiled)
            tag: str = await connection.raw.execute(compiled.sql, *compiled.values(parameters))
            return int(tag.rpartition(" ")[2])
        return int((await (await self._wrapped(connection)).execute(statement, parameters)).rowcount)

    async def run_many(
        self, connection: Connection, statement: Statement, parameters: Sequence[Mapping[str, Any]]
    ) -> None:
        """Once for each set; raises what the driver raises."""
        if isinstance(statement, Query):
            compiled = statement.compiled(Compiled)
            await connection.raw.executemany(compiled.sql, [compiled.values(each) for each in parameters])
        else:
            await (await self._wrapped(connection)).execute(statement, list(parameters))

    async def _wrapped(self, connection: Connection) -> Any:
        """SQLAlchemy over the connection. It believes that every statement commits itself, so it never says BEGIN, and
        the transactions are ours.
        """
        if connection.wrapped is None:
            token = _lent.set(connection.raw)
            try:
                wrapped = await self._engine.connect()
            finally:
                _lent.reset(token)
            (await wrapped.get_raw_connection()).detach()
            connection.wrapped = wrapped
        return connection.wrapped

    async def _take(self) -> Connection:
        try:
            return await self.connections.take()
        except Exception as error:
            raise self.told(error) from error

    def _failed(self, connection: Connection, error: BaseException) -> bool:
        """Give back a connection on which something failed outside a transaction; whether another may do better."""
        if broken(error) or connection.raw.is_closed():
            self.connections.drop(connection)
            self.connections.forget()
            return not isinstance(error, TimeoutError)  # a second one would take as long
        if isinstance(error, Exception):
            self.connections.give(connection)
            return outdated(error)
        self.connections.drop(connection)  # cancelled, and the answer is still to come
        return False

    def told(self, error: BaseException) -> BaseException:
        """What the caller is to hear of it. What is no word of the database's own passes as it is."""
        return translated(error, self.describe()) if of_database(error) else error

    # ---- transactions ----

    @asynccontextmanager
    async def transaction(self, *, durable: bool = True) -> AsyncGenerator[Transaction]:
        with only_transaction(self):
            connection = await self._begin(BEGIN if durable else BEGIN_RELAXED)
            committed = False
            try:
                yield PostgresTransaction(self, connection)
                await self._commit(connection)
                committed = True
            finally:
                if committed:
                    self.connections.give(connection)
                else:
                    await self._roll_back(connection)

    async def execute(self, statement: Query, /, **parameters: Any) -> int:
        for _ in range(TRIES - 1):
            try:
                return await super().execute(statement, **parameters)
            except DatabaseBusy as error:
                if state(error.__cause__ or error) not in AGAIN:
                    raise
        return await super().execute(statement, **parameters)

    async def _begin(self, sql: str) -> Connection:
        for last in (False, True):
            connection = await self._take()
            try:
                await connection.raw.execute(sql)
            except BaseException as error:
                if not self._failed(connection, error) or last:
                    raise self.told(error) from error
            else:
                return connection
        raise AssertionError  # as in `rows`

    async def _commit(self, connection: Connection) -> None:
        try:
            tag = await connection.raw.execute("COMMIT")
        except Exception as error:
            if broken(error) or connection.raw.is_closed():
                message = (
                    f"the database {self.describe()} was lost while a change was being committed; "
                    "whether it was made is not known: look before you do it again"
                )
                raise DatabaseLost(message) from error
            raise self.told(error) from error
        if tag != "COMMIT":  # the server says ROLLBACK where a statement had failed and somebody went on all the same
            message = f"the database {self.describe()} did not commit: a statement before had failed"
            raise DatabaseUnavailable(message)

    async def _roll_back(self, connection: Connection) -> None:
        """Also when cancelled. A connection that does not answer is closed, which rolls back too."""
        clean = False
        try:
            if not connection.raw.is_closed():
                with anyio.CancelScope(shield=True):
                    await connection.raw.execute("ROLLBACK", timeout=GRACE)
                clean = True
        except Exception:  # noqa: BLE001 - what it raises says no more than what is being raised already
            clean = False
        finally:
            if clean:
                self.connections.give(connection)
            else:
                self.connections.drop(connection)
                self.connections.forget()

    async def lock(self, tx: Transaction, name: str) -> None:
        await tx.rows(LOCK, name=name)

    # ---- others ----

    async def notify(self, channel: str, payload: str = "", *, tx: Transaction | None = None) -> None:
        await (tx or self).rows(NOTIFY, channel=channel, payload=payload)

    async def listen(self, channel: str, heard: Heard) -> None:
        if not self._pooler:  # LISTEN needs a server connection for itself
            self._listener.listen(channel, heard)

    async def run_sync(self, work: Callable[[sa.Connection], None]) -> None:
        async def patient() -> Any:
            return await self._connect(patient=True)

        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=patient, poolclass=NullPool, connect_args=self._adapted()
        )
        try:
            async with engine.connect() as connection:
                await connection.run_sync(work)
        except Exception as error:
            raise self.told(error) from error
        finally:
            await engine.dispose()


class PostgresTransaction(Transaction):
    """A transaction on one pooled connection."""

    def __init__(self, database: PostgresDatabase, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    def insert(self, table: sa.Table) -> postgresql.Insert:
        return postgresql.insert(table)

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        try:
            return await self._database.fetch(self._connection, statement, parameters)
        except Exception as error:
            raise self._database.told(error) from error

    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        try:
            return await self._database.run(self._connection, statement, parameters)
        except Exception as error:
            raise self._database.told(error) from error

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> None:
        if not parameters:
            return
        try:
            await self._database.run_many(self._connection, statement, parameters)
        except Exception as error:
            raise self._database.told(error) from error
