"""So many pushes a day for each namespace, counted in the push's own transaction: no race gets past the limit.

Start a registry with it:

    COREREG__PLUGINS=storage_fs,accounts,examples/push_budget.py PUSHES_A_DAY=100 corereg serve

A push that is refused, by this plugin or by a later one, is rolled back and costs nothing. The days are those of UTC.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from corereg import Operation, Query, Refusal, Registry, Transaction, hookimpl, now

LIMIT = int(os.environ.get("PUSHES_A_DAY", "100"))
DAY = 24 * 60 * 60 * 1_000_000
"""Microseconds."""

# One row for each namespace, in words that SQLite and PostgreSQL share. A plugin whose tables will change one day gives
# them with `provide_schema`, and migrations beside them.
TABLE = sa.text(
    "CREATE TABLE IF NOT EXISTS push_budget (namespace TEXT PRIMARY KEY, day BIGINT NOT NULL, pushes BIGINT NOT NULL)"
)
COUNT = Query(
    sa.text(
        "INSERT INTO push_budget AS kept (namespace, day, pushes) VALUES (:namespace, :day, 1)"
        " ON CONFLICT (namespace) DO UPDATE SET"
        " pushes = CASE WHEN kept.day = excluded.day THEN kept.pushes + 1 ELSE 1 END, day = excluded.day"
        " RETURNING pushes"
    )
)


@hookimpl
@asynccontextmanager
async def lifespan(registry: Registry) -> AsyncGenerator[None]:
    """Make the table where it is missing; several processes may start at once."""
    async with registry.database.transaction() as tx:
        await registry.database.lock(tx, "push_budget")
        await tx.execute(TABLE)
    yield


@hookimpl
async def commit(operation: Operation, tx: Transaction) -> Refusal | None:
    """Count the push, and take it back when it is one too many."""
    if operation.kind != "manifest.push" or operation.repository is None:
        return None
    namespace = operation.repository.partition("/")[0]
    row = await tx.row(COUNT, namespace=namespace, day=now() // DAY)
    if row is None or row[0] <= LIMIT:
        return None
    return Refusal(f"{namespace} has used up its {LIMIT} pushes of today; push again tomorrow, or ask for more")
