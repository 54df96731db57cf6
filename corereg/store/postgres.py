"""PostgreSQL: the database of many nodes, through asyncpg (extra ``postgres``)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

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
from corereg.store.notices import Heard, Listener

NOTIFY = Query(
    sa.select(sa.func.pg_notify(sa.bindparam("channel", type_=sa.Text), sa.bindparam("payload", type_=sa.Text)))
)
NO_VALUE = {"22000", "22003", "22021", "22P05"}
"""SQLSTATEs of what a parameter cannot hold: too large a number (before it is sent, or there), no such character."""


class PostgresDatabase(Database):
    """Many nodes; through asyncpg (extra ``postgres``)."""

    dialect = "postgresql"

    def __init__(self, url: URL) -> None:
        self.url = url.set(drivername="postgresql+asyncpg")

    async def open(self) -> None:
        try:
            self._engine: AsyncEngine = create_async_engine(
                self.url,
                pool_size=10,
                max_overflow=10,
                pool_pre_ping=True,
                # A tenth of a second of compiling helps no statement that is done in milliseconds.
                connect_args={"server_settings": {"jit": "off"}},
            )
        except ModuleNotFoundError as error:
            message = "PostgreSQL needs asyncpg: pip install 'corereg[postgres]'"
            raise DatabaseUnavailable(message) from error
        self._listener = Listener(self._listening)
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        await self.rows(sa.text("SELECT 1"))

    @property
    def _name(self) -> str:
        return self.describe()

    async def _listening(self) -> Any:
        """A connection of asyncpg's own, for whoever listens."""
        import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra

        return await asyncpg.connect(self.url.set(drivername="postgresql").render_as_string(hide_password=False))

    def describe(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    async def close(self) -> None:
        await self._listener.close()
        await self._engine.dispose()

    def insert(self, table: sa.Table) -> postgresql.Insert:
        return postgresql.insert(table)

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        with told(self._name):
            async with self._reader.connect() as connection:
                result = await connection.execute(_plain(statement), parameters)
                return result.all() if result.returns_rows else []

    async def lock(self, tx: Transaction, name: str) -> None:
        await tx.rows(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), name=name)

    async def notify(self, channel: str, payload: str = "", *, tx: Transaction | None = None) -> None:
        await (tx or self).rows(NOTIFY, channel=channel, payload=payload)

    async def listen(self, channel: str, heard: Heard) -> None:
        self._listener.listen(channel, heard)

    async def run_sync(self, work: Callable[[sa.Connection], None]) -> None:
        with told(self._name):
            async with self._engine.connect() as connection:
                await connection.run_sync(work)

    @asynccontextmanager
    async def transaction(self, *, durable: bool = True) -> AsyncGenerator[Transaction]:
        with only_transaction(self), told(self._name):
            async with self._engine.begin() as connection:
                if not durable:
                    await connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                yield PostgresTransaction(connection, self._name)


class PostgresTransaction(Transaction):
    """A transaction on one pooled connection."""

    def __init__(self, connection: AsyncConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    def insert(self, table: sa.Table) -> postgresql.Insert:
        return postgresql.insert(table)

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        with told(self._name):
            result = await self._connection.execute(_plain(statement), parameters)
            return result.all() if result.returns_rows else []

    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        with told(self._name):
            return int((await self._connection.execute(_plain(statement), parameters)).rowcount)

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]]) -> None:
        if parameters:
            with told(self._name):
                await self._connection.execute(_plain(statement), list(parameters))


def _plain(statement: Statement) -> sa.Executable:
    return statement.statement if isinstance(statement, Query) else statement


@contextmanager
def told(name: str) -> Generator[None]:
    """What PostgreSQL refuses, as a DatabaseError with a sentence."""
    try:
        yield
    except DBAPIError as error:
        raise translated(error, name) from error
    except (ConnectionError, TimeoutError, OSError) as error:
        message = f"the database {name} does not answer: {error}"
        raise DatabaseUnavailable(message) from error


def translated(error: DBAPIError, name: str) -> DatabaseError:
    """The same error in our words, by its SQLSTATE."""
    state = str(getattr(error.orig, "sqlstate", "") or "")
    if state.startswith("23"):
        return Conflict(str(error.orig))
    if state in NO_VALUE:
        return ValueRefused("a number is too large, or a text holds a NUL or what is no character")
    if state == "53100":
        return DatabaseFull(f"no room is left for the database {name}; free some space")
    return DatabaseUnavailable(f"the database {name} failed: {error.orig}")
