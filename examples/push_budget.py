"""So many pushes a day for each namespace, counted in the push's own transaction: no race gets past the limit.

Start a registry with it:

    COREREG__PLUGINS=storage_fs,accounts,examples/push_budget.py COREREG__PUSH_BUDGET__PUSHES_A_DAY=100 corereg serve

In ``corereg.toml`` the number is ``pushes_a_day`` in the table ``[push_budget]``. A push that is refused, by this
plugin or by a later one, is rolled back and costs nothing. The days are those of UTC.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import sqlalchemy as sa

from corereg import Operation, Refusal, Schema, Transaction, hookimpl, now

DAY = 24 * 60 * 60 * 1_000_000
"""Microseconds."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be pushed."""

    pushes_a_day: Annotated[int, msgspec.Meta(ge=0, description="Pushes a day for each namespace.")] = 100


settings = Settings()  # what the configuration says takes its place

metadata = sa.MetaData()
counts = sa.Table(
    "push_budget_counts",
    metadata,
    sa.Column("namespace", sa.Text, primary_key=True),
    sa.Column("day", sa.BigInteger, nullable=False),
    sa.Column("pushes", sa.BigInteger, nullable=False),
)


@hookimpl
def provide_schema() -> Schema:
    """The table is made where it is missing. One that will change some day wants migrations: the third argument."""
    return Schema("push_budget", metadata)


@hookimpl
async def commit(operation: Operation, tx: Transaction) -> Refusal | None:
    """Count the push, and take it back when it is one too many."""
    if operation.kind != "manifest.push" or operation.repository is None:
        return None
    namespace = operation.repository.partition("/")[0]
    new = tx.insert(counts).values(namespace=namespace, day=now() // DAY, pushes=1)
    pushes = sa.case((counts.c.day == new.excluded.day, counts.c.pushes + 1), else_=1)
    row = await tx.row(
        new.on_conflict_do_update(
            index_elements=["namespace"], set_={"day": new.excluded.day, "pushes": pushes}
        ).returning(counts.c.pushes)
    )
    limit = settings.pushes_a_day
    if row is None or row[0] <= limit:
        return None
    return Refusal(f"{namespace} has used up its {limit} pushes of today; push again tomorrow, or ask for more")
