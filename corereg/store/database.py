"""What a database promises: reads, and transactions that happen whole or not at all.

SQLite on a laptop (`corereg.store.sqlite`), PostgreSQL under many nodes (`corereg.store.postgres`), one interface.

Columns hold primitive types only (integers, text, bytes; times are microseconds since 1970, UTC), so a row means the
same on both engines and needs no conversion on the way out.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from corereg.metrics import Metrics
from corereg.tracing import OFF, Tracer

if TYPE_CHECKING:  # for the types alone: what may go wrong is known without the library that does the work
    import asyncio

    import sqlalchemy as sa

Row = Sequence[Any]


def now() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class DatabaseError(Exception):
    """The database could not do what it was asked; `str()` is a sentence for the operator.

    `outside` is what clients hear: it names no place, and nothing that is kept.
    """

    outside = "its database does not answer, or cannot be written; try again later"


class DatabaseFull(DatabaseError):
    """No room is left for the database's files."""


class DatabaseUnavailable(DatabaseError):
    """The database does not answer, is locked for too long, or cannot be written."""


class DatabaseBusy(DatabaseUnavailable):
    """Another transaction was in the way; this one was rolled back, and can be tried again."""

    outside = "another change was made at the same moment; do it again"


class DatabaseLost(DatabaseUnavailable):
    """The connection broke while a change was being committed."""

    outside = "whether the change was made is not known; look before you do it again"


class Conflict(DatabaseError):
    """A unique or foreign key forbids the change."""


class ValueRefused(DatabaseError):
    """No row can hold the value: a number of more than 64 bits, on PostgreSQL a text with a NUL."""


def plain(text: str) -> str:
    """The text as every database can keep it: without NULs, a question mark for half a character (a lone surrogate).

    For what is told of something that went wrong, and has to be written down whatever it holds.
    """
    if text.isascii() and "\0" not in text:  # nearly always, and on every change
        return text
    return text.replace("\0", "").encode(errors="replace").decode()


Compiled = TypeVar("Compiled")


class Query:
    """A statement written once, at module level, with bind parameters.

    It is compiled once in a process, and then runs as bare SQL. Use it on the walks of a pull and a push; anything else
    may pass plain SQLAlchemy Core statements.

    `often`: the same row is asked for again and again, as by everybody who pulls one image. Where a database can tell
    that nothing was committed since, `Database.row` gives what it read before.
    """

    __slots__ = ("_compiled", "often", "statement")

    def __init__(
        self,
        statement: sa.Select[Any] | sa.TextClause | sa.CompoundSelect[Any] | sa.UpdateBase,
        *,
        often: bool = False,
    ) -> None:
        self.statement = statement
        self.often = often
        self._compiled: dict[Callable[[Query], Any], Any] = {}

    def compiled(self, make: Callable[[Query], Compiled]) -> Compiled:
        """What `make` has made of it: a dialect's own class, and the same for every database that speaks it."""
        found: Compiled | None = self._compiled.get(make)
        if found is None:
            found = self._compiled[make] = make(self)
        return found


Statement: TypeAlias = "Query | sa.Executable"


class Transaction(ABC):
    """One write transaction. Nothing of it is seen by others, or survives an exception, before it ends."""

    @abstractmethod
    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        """All rows of a SELECT or of a RETURNING."""

    @abstractmethod
    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        """Run a statement; how many rows it touched."""

    @abstractmethod
    def insert(self, table: sa.Table) -> Any:
        """The dialect's INSERT, which knows ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""

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
    metrics: Metrics | None = None
    tracer: Tracer = OFF

    def measure(self, metrics: Metrics, tracer: Tracer) -> None:
        """From here on tell of every write transaction: how long it took, the wait for its turn included."""
        self.metrics = metrics
        self.tracer = tracer

    def pool(self) -> Mapping[str, int]:
        """Connections by what they do (``idle``, ``used``, ``waiting``: callers without one); empty without a pool."""
        return {}

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

    @property
    def reader(self) -> Database | Transaction:
        """Where a hook reads that is given no transaction, and may be asked inside a change: with the one that its task
        has open. The read would else wait for a second connection while the first is held.
        """
        tx = _inside.get()
        return tx if tx is not None and in_transaction(self) else self

    @abstractmethod
    def transaction(self, *, durable: bool = True) -> AbstractAsyncContextManager[Transaction]:
        """A write transaction; committed at the end, rolled back by an exception.

        `durable=False` is for bookkeeping whose last moments may be lost when the machine loses power or PostgreSQL
        crashes (never when this process dies): the progress of uploads. It is atomic all the same.
        """

    async def execute(self, statement: Query, /, **parameters: Any) -> int:
        """Run a statement as a transaction of its own that is not durable; how many rows it touched."""
        async with self.transaction(durable=False) as tx:
            return await tx.execute(statement, **parameters)

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

    @abstractmethod
    async def notify(self, channel: str, payload: str = "", *, tx: Transaction | None = None) -> None:
        """Call out to other nodes that something is new: now, or once `tx` is committed.

        At most once; where a database has no such call (SQLite) nobody hears. `payload` has less than 8000 bytes.
        """

    @abstractmethod
    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Until `close`, call `heard` with the payload of each notice, and with "" when some may have been missed.

        This process hears its own notices, too. Nobody may rely on a notice: look from time to time all the same.
        """


_open: ContextVar[tuple[Database, asyncio.Task[Any] | None] | None] = ContextVar(
    "corereg_open_transaction", default=None
)
"""The database, and the task whose transaction it is: a task that is begun inside one inherits this, and not that."""


_inside: ContextVar[Transaction | None] = ContextVar("corereg_inside_transaction", default=None)


def in_transaction(database: Database) -> bool:
    """Whether this task has a transaction of the database open."""
    return _open.get() == _mine(database)


def _mine(database: Database) -> tuple[Database, asyncio.Task[Any] | None]:
    from asyncio import current_task  # noqa: PLC0415 - as for sqlalchemy above

    return database, current_task()


@contextmanager
def inside(tx: Transaction) -> Generator[None]:
    """Around what is done with a transaction: `Database.reader` is that one."""
    token = _inside.set(tx)
    try:
        yield
    finally:
        _inside.reset(token)


@contextmanager
def only_transaction(database: Database) -> Generator[None]:
    """Around a transaction: another one of the same database inside it would wait for itself for ever."""
    mine = _mine(database)
    if _open.get() == mine:
        message = "a transaction is open in this task already; use it instead of opening another"
        raise RuntimeError(message)
    token = _open.set(mine)
    begun = time.perf_counter()
    try:
        if database.tracer.on:
            with database.tracer.span("database.transaction"):
                yield
        else:
            yield
    finally:
        _open.reset(token)
        if database.metrics is not None:
            database.metrics.transactions.observe(time.perf_counter() - begun)
