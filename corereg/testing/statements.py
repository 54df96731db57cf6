"""What is asked of a database, for tests that a page costs the same whatever is on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from corereg.store.database import Database, in_transaction
from corereg.store.postgres import PostgresDatabase
from corereg.store.sqlite import SQLiteDatabase

_seen: ContextVar[list[Any] | None] = ContextVar("corereg_statements", default=None)


@contextmanager
def statements_of(database: Database) -> Iterator[list[Any]]:
    """The statements that are read outside transactions by this task, and by those that it starts, in their order.

    What the registry's own tasks read meanwhile (jobs, schedules, the journal) is not among them.
    """
    rows = database.rows

    async def noted(statement: Any, /, **parameters: Any) -> Any:
        if (seen := _seen.get()) is not None:
            seen.append(statement)
        return await rows(statement, **parameters)

    found: list[Any] = []
    token = _seen.set(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "rows", noted)
        try:
            yield found
        finally:
            _seen.reset(token)


_meant: ContextVar[bool] = ContextVar("corereg_reads_beside", default=False)


@contextmanager
def reads_beside() -> Iterator[None]:
    """A test that looks at what others see of an open transaction says so: `no_reads_beside` lets it."""
    token = _meant.set(True)
    try:
        yield
    finally:
        _meant.reset(token)


@contextmanager
def no_reads_beside() -> Iterator[None]:
    """From here on it is an error to read outside the transaction that the same task has open.

    On PostgreSQL such a read takes a second connection: as many tasks as there are connections hold one each and wait
    for another one, and everybody else waits behind them. SQLite has enough of them, so there nobody would notice.
    """

    def inside_only(read: Any) -> Any:
        async def checked(database: Database, statement: Any, /, **parameters: Any) -> Any:
            if in_transaction(database) and not _meant.get():
                asked = getattr(statement, "statement", statement)
                message = f"a read beside the open transaction, which waits for a second connection: {asked}"
                raise AssertionError(message)
            return await read(database, statement, **parameters)

        return checked

    with pytest.MonkeyPatch.context() as patch:
        for kind, name in ((SQLiteDatabase, "rows"), (SQLiteDatabase, "row"), (PostgresDatabase, "rows")):
            patch.setattr(kind, name, inside_only(getattr(kind, name)))
        yield
