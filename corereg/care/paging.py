"""All rows of a table, however many, in order of their keys and a page at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import sqlalchemy as sa

from corereg.store.database import Database, Row


async def pages(
    database: Database, select: sa.Select[Any], keys: Sequence[sa.ColumnElement[Any]], size: int
) -> AsyncGenerator[Sequence[Row]]:
    """Pages of at most `size` rows. The select's first columns are `keys`, which together are unique."""
    last: tuple[Any, ...] | None = None
    ordered = select.order_by(*keys).limit(size)
    while True:
        later = ordered
        if last is not None:
            after = [sa.literal(value, key.type) for key, value in zip(keys, last, strict=True)]
            later = ordered.where(sa.tuple_(*keys) > sa.tuple_(*after))
        rows = await database.rows(later)
        if rows:
            yield rows
        if len(rows) < size:
            return
        last = tuple(rows[-1][: len(keys)])
