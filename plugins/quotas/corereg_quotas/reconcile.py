"""Counters that do not say what the core's tables say: found, and mended.

With this plugin at work there are none. What was pushed, made or deleted while it was switched off is found by a mark:
up to which event of the journal it was there. A start looks only at the namespaces that later events speak of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
import sqlalchemy as sa

from corereg import Event, Namespace, Query, tables
from corereg_quotas import counters as ledger
from corereg_quotas.counters import BY_NAMESPACE, COLUMNS, Counter, counter_of
from corereg_quotas.quotas import COUNTED, Quotas
from corereg_quotas.schema import marks
from corereg_quotas.usage import COMPARED, HOLDS, above, ends

PROJECTS = frozenset({"project.create", "project.delete"})
BATCH = 1000
MARK = Query(sa.select(marks.c.serial))
_serial = tables.journal.c.serial
JOURNAL = Query(sa.select(sa.func.min(_serial), sa.func.coalesce(sa.func.max(_serial), 0)))


class Difference(msgspec.Struct, frozen=True):
    """A counter that says `told` (None: there is none) of a namespace that holds `held` bytes (None: it is gone)."""

    namespace: str
    told: int | None
    held: int | None

    def __str__(self) -> str:
        told = "is not counted" if self.told is None else f"is counted with {self.told} bytes"
        held = "is not there any more" if self.held is None else f"holds {self.held} bytes"
        return f"{self.namespace} {told}, and {held}"


async def reconcile(quotas: Quotas, folders: Collection[str] | None = None, *, check: bool = False) -> list[Difference]:
    """What is wrong with the counters of the namespaces that `folders`, or all repositories, stand in.

    Unless `check`, it is right afterwards.
    """
    database = quotas.registry.database
    if folders is None:
        names = await database.rows(sa.select(tables.repositories.c.name))
        folders = {name.rpartition("/")[0] for (name,) in names}
        kept = [counter_of(row) for row in await database.rows(sa.select(*COLUMNS))]
    else:
        rows = [await database.row(BY_NAMESPACE, namespace=name) for name in _and_above(folders)]
        kept = [counter_of(row) for row in rows if row is not None]
    found = [
        *[each for counter in kept for each in await _gone(quotas, counter, check=check)],
        *[
            each
            for namespace in await _uncounted(quotas, folders, kept)
            for each in await _add(quotas, namespace, check=check)
        ],
    ]
    named = {each.namespace for each in found}
    for counter in kept:
        if counter.namespace not in named:
            found += await _compare(quotas, counter, check=check)
    return found


def _and_above(folders: Iterable[str]) -> list[str]:
    """All names of namespaces that repositories in `folders` may stand in; the outer ones first."""
    return sorted({name for folder in folders for name in (folder, *above(folder)) if name})


async def _gone(quotas: Quotas, counter: Counter, *, check: bool) -> list[Difference]:
    """The counter of a namespace that is not there any more, or is another one by now."""
    namespace = await quotas.registry.plugins.resolve_namespace(counter.namespace)
    if namespace is not None and namespace.id == counter.namespace_id:
        return []
    difference = Difference(counter.namespace, counter.used, None)
    if not check:
        session = quotas.registry.session()
        async with session.change(session.operation("quota.reconcile", details=_details(difference))) as change:
            await ledger.remove(change.tx, counter.namespace)
    return [difference]


async def _uncounted(quotas: Quotas, folders: Iterable[str], kept: Iterable[Counter]) -> list[Namespace]:
    """Namespaces without a counter."""
    known = {counter.namespace_id for counter in kept}
    found = [await quotas.registry.plugins.resolve_namespace(name) for name in _and_above(folders)]
    return [namespace for namespace in found if namespace is not None and namespace.id not in known]


async def _add(quotas: Quotas, namespace: Namespace, *, check: bool) -> list[Difference]:
    row = await quotas.registry.database.row(HOLDS, **ends(namespace.name))
    if not check:
        await quotas.ensure(namespace)
    return [Difference(namespace.name, None, int(row[0]) if row else 0)]


async def _compare(quotas: Quotas, counter: Counter, *, check: bool) -> list[Difference]:
    row = await quotas.registry.database.row(COMPARED, counter=counter.id, **ends(counter.namespace))
    if row is None or row[0] == row[1]:
        return []
    difference = Difference(counter.namespace, int(row[0]), int(row[1]))
    if not check:
        session = quotas.registry.session()
        async with session.change(session.operation("quota.reconcile", details=_details(difference))) as change:
            change.details["held"] = await ledger.settle(change.tx, counter)
    return [difference]


def _details(difference: Difference) -> dict[str, str | int | None]:
    return {"namespace": difference.namespace, "told": difference.told, "held": difference.held}


# ---- what happened while nobody counted ----


async def catch_up(quotas: Quotas) -> list[Difference]:
    """At a start: look at whatever changed after the mark; at everything where there is none."""
    database = quotas.registry.database
    mark = await database.row(MARK)
    oldest, newest = await database.row(JOURNAL) or (None, 0)
    if mark is None or (oldest is not None and oldest > mark[0] + 1):  # events in between have been dropped
        found = await reconcile(quotas)
    elif newest > mark[0]:
        found = await reconcile(quotas, await _folders_since(quotas, mark[0]))
    else:
        return []
    await set_mark(quotas, newest)
    return found


async def _folders_since(quotas: Quotas, serial: int) -> set[str]:
    """Where later events may have changed what a namespace holds."""
    folders: set[str] = set()
    while events := await quotas.registry.journal.events(after=serial, limit=BATCH):
        folders.update(folder for event in events if (folder := _folder(event)) is not None)
        serial = events[-1].serial
    return folders


def _folder(event: Event) -> str | None:
    if event.kind in COUNTED and event.repository is not None:
        return event.repository.rpartition("/")[0]
    return event.details.get("name") if event.kind in PROJECTS else None


async def set_mark(quotas: Quotas, serial: int | None = None) -> None:
    """Everything up to `serial`, or up to now, was counted. No change that anybody sees, so nothing is recorded."""
    database = quotas.registry.database
    if serial is None:
        _, serial = await database.row(JOURNAL) or (None, 0)
    async with database.transaction(durable=False) as tx:
        new = tx.insert(marks).values(id=1, serial=serial)
        later = sa.case((marks.c.serial > new.excluded.serial, marks.c.serial), else_=new.excluded.serial)
        await tx.execute(new.on_conflict_do_update(index_elements=["id"], set_={"serial": later}))
