"""What is asked of a database, for tests that a page costs the same whatever is on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from corereg.store.database import Database

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
