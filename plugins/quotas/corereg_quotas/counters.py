"""The counters: found, locked, counted, settled, each inside the transaction of the change it belongs to.

On PostgreSQL a counter's row is locked before anything is looked up for it. Whoever gets the lock next sees what the
one before has written, so of two pushes of one blob exactly one pays for it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import Database, Namespace, Operation, Query, Transaction, now
from corereg_quotas.schema import counters
from corereg_quotas.usage import BLOB_HELD, MANIFEST_HELD, SETTLE, above, ends

UNLIMITED = -1
WARN_AT = 85
"""Percent of the limit at which people are warned, as Harbor does."""

HELD = {
    "blob.push": (1, BLOB_HELD),
    "blob.mount": (1, BLOB_HELD),
    "manifest.push": (1, MANIFEST_HELD),
    "blob.delete": (-1, BLOB_HELD),
    "manifest.delete": (-1, MANIFEST_HELD),
}
"""Kinds of operations that cost or free their size, unless the namespace holds the same elsewhere."""


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """What a namespace may hold (`hard`) and holds (`used`), in bytes. Times are microseconds since 1970, UTC."""

    id: int
    namespace_id: int
    namespace: str
    hard: int
    used: int
    warned: bool
    created_at: int
    updated_at: int

    @property
    def nearly_full(self) -> bool:
        """Whether people should know."""
        return self.hard != UNLIMITED and self.used * 100 >= self.hard * WARN_AT


class Exceeded(msgspec.Struct, frozen=True):
    """An operation of `cost` bytes that the namespace of `counter` has no room for."""

    counter: Counter
    cost: int


COLUMNS = tuple(counters.c[name] for name in Counter.__struct_fields__)
BY_ID = Query(sa.select(*COLUMNS).where(counters.c.id == bindparam("counter")))
BY_NAMESPACE_ID = Query(sa.select(*COLUMNS).where(counters.c.namespace_id == bindparam("namespace_id")))
BY_NAMESPACE = Query(sa.select(*COLUMNS).where(counters.c.namespace == bindparam("namespace")))
LOCK = Query(sa.select(*COLUMNS).where(counters.c.id == bindparam("counter")).with_for_update())  # SQLite: alone anyway
WRITE = Query(
    sa.update(counters)
    .where(counters.c.id == bindparam("counter"))
    .values(used=bindparam("bytes"), warned=bindparam("told"), updated_at=bindparam("at"))
)


def counter_of(row: Any) -> Counter:
    """A row of `COLUMNS`."""
    fields = dict(zip(Counter.__struct_fields__, row, strict=True))
    return Counter(**{**fields, "warned": bool(fields["warned"])})


async def deepest(source: Database | Transaction, name: str) -> Counter | None:
    """The counter of the deepest namespace that `name`, a repository's or a namespace's, stands below."""
    for namespace in above(name):
        row = await source.row(BY_NAMESPACE, namespace=namespace)
        if row is not None:
            return counter_of(row)
    return None


async def lock(tx: Transaction, counter: int) -> Counter | None:
    """The counter as it stands, and until `tx` ends nobody else changes it; None when it is gone."""
    row = await tx.row(LOCK, counter=counter)
    return counter_of(row) if row else None


async def lock_above(tx: Transaction, name: str) -> Counter | None:
    """The deepest counter above `name`, locked."""
    found = await deepest(tx, name)
    while found is not None:
        await lock(tx, found.id)
        again = await deepest(tx, name)  # a namespace may have been made or deleted while the lock was waited for
        if again is not None and again.id == found.id:
            return again
        found = again
    return None


async def count(tx: Transaction, operation: Operation, *, enforce: bool) -> Exceeded | None:
    """Count an operation of one of the kinds of `HELD`, which `tx` has written; or say that there is no room for it."""
    sign, held = HELD[operation.kind]
    if not operation.size or not operation.repository or (sign > 0 and not operation.new):
        return None
    counter = await lock_above(tx, operation.repository)
    if counter is None:
        return None
    places = {"digest": operation.digest, "repository": operation.repository, **ends(counter.namespace)}
    if await tx.row(held, **places) is not None:
        return None
    used = counter.used + sign * operation.size
    if enforce and sign > 0 and counter.hard != UNLIMITED and used > counter.hard:
        return Exceeded(counter, operation.size)
    told = counter.warned and msgspec.structs.replace(counter, used=used).nearly_full
    await tx.execute(WRITE, counter=counter.id, bytes=used, told=int(told), at=now())
    return None


async def add(tx: Transaction, namespace: Namespace, hard: int) -> int:
    """Keep a counter for the namespace, if there is none yet; what the namespace holds already."""
    parent = await lock_above(tx, namespace.name)
    # What has the name and another number was left behind while this plugin was switched off.
    await tx.execute(
        sa.delete(counters).where(counters.c.namespace == namespace.name, counters.c.namespace_id != namespace.id)
    )
    at = now()
    new = tx.insert(counters).values(
        namespace_id=namespace.id,
        namespace=namespace.name,
        hard=hard,
        used=0,
        warned=0,
        created_at=at,
        updated_at=at,
    )
    await tx.execute(new.on_conflict_do_nothing())  # of number or name: who comes second has waited
    row = await tx.row(BY_NAMESPACE, namespace=namespace.name)
    used = await settle(tx, counter_of(row)) if row else 0
    if parent is not None:  # what stands below the new namespace counts there now
        await settle(tx, parent)
    return used


async def remove(tx: Transaction, namespace: str) -> None:
    """Forget the namespace's counter; what still stands below its name counts in the namespace above it."""
    parent = await lock_above(tx, namespace)
    await tx.execute(sa.delete(counters).where(counters.c.namespace == namespace))
    if parent is not None:
        await settle(tx, parent)


async def settle(tx: Transaction, counter: Counter) -> int:
    """Make the counter say what the namespace holds; how much that is."""
    locked = await lock(tx, counter.id)
    if locked is None:
        return 0
    row = await tx.row(SETTLE, counter=counter.id, at=now(), **ends(counter.namespace))
    used = int(row[0]) if row else 0
    if locked.warned and not msgspec.structs.replace(locked, used=used).nearly_full:
        await tx.execute(sa.update(counters).where(counters.c.id == counter.id).values(warned=0))
    return used
