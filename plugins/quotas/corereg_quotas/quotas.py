"""The quotas of one registry: who may push how much, what is told, and limits that administrators set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from corereg import (
    Action,
    Event,
    Missing,
    Namespace,
    OCIError,
    Operation,
    Refusal,
    Registry,
    Session,
    Transaction,
    among,
    now,
)
from corereg_quotas import counters as ledger
from corereg_quotas.counters import BY_ID, BY_NAMESPACE_ID, COLUMNS, HELD, Counter, Exceeded, counter_of
from corereg_quotas.schema import counters
from corereg_quotas.sizes import human

DEFAULT = "storage_per_project"
ENABLED = "quota_per_project_enable"
UPDATE = Action("quota", "update")
COUNTED = frozenset({*HELD, "repository.delete"})
"""Before these a namespace's counter must be there."""
WARNED_AFTER = frozenset({"blob.push", "blob.mount", "manifest.push", "quota.update"})
MOST_FOLDERS = 10_000

NOUNS = {"blob.push": "layer", "blob.mount": "layer", "manifest.push": "manifest"}


class Abandoned(Exception):
    """Rolls back a change that turned out to be none."""


class Quotas:
    """The quotas of one registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._ready: set[str] = set()
        """Folders of repositories whose namespace has a counter, as this process has made sure."""

    @property
    def default(self) -> int:
        """What a namespace may hold when it is made, in bytes."""
        return int(self.registry.settings.get(DEFAULT))

    @property
    def enabled(self) -> bool:
        """Whether limits hold; the counting goes on anyway."""
        return bool(self.registry.settings.get(ENABLED))

    # ---- counting ----

    async def prepare(self, operation: Operation) -> None:
        """Before the transaction: see to it that the repository's namespace has a counter."""
        if operation.kind not in COUNTED or operation.repository is None:
            return
        folder = operation.repository.rpartition("/")[0]
        if folder in self._ready:
            return
        namespace = await self.registry.plugins.namespace_of(operation.repository)
        if namespace is None:
            return
        await self.ensure(namespace)
        if len(self._ready) >= MOST_FOLDERS:
            self._ready.clear()
        self._ready.add(folder)

    async def ensure(self, namespace: Namespace) -> None:
        """Keep a counter for the namespace, made from what it holds, if there is none yet."""
        if await self.registry.database.row(BY_NAMESPACE_ID, namespace_id=namespace.id) is not None:
            return
        session = self.registry.session()
        async with session.change(
            session.operation("quota.reconcile", details={"namespace": namespace.name})
        ) as change:
            change.details["used"] = await ledger.add(change.tx, namespace, self.default)

    async def count(self, operation: Operation, tx: Transaction) -> Refusal | None:
        """Inside the transaction: count what was written, follow the namespaces."""
        if operation.kind in HELD:
            exceeded = await ledger.count(tx, operation, enforce=self.enabled)
            return self._refused(operation, exceeded) if exceeded else None
        details = operation.details
        if operation.kind == "project.create":
            limit = details.get("storage_limit")
            namespace = Namespace(details["id"], details["name"])
            await ledger.add(tx, namespace, self.default if limit is None else int(limit))
        elif operation.kind == "project.delete":
            await ledger.remove(tx, details["name"])
        return None

    def _refused(self, operation: Operation, exceeded: Exceeded) -> Refusal:
        counter, cost = exceeded.counter, exceeded.cost
        session = self.registry.session(operation.identity, address=operation.address)
        told: dict[str, str | int] = {
            "namespace": counter.namespace,
            "used": counter.used,
            "hard": counter.hard,
        }
        session.happened("quota.exceeded", repository=operation.repository, details=told)
        left = human(max(counter.hard - counter.used, 0))
        harbors = (  # the words that clients and people look for come first
            f"adding {human(cost)} of storage resource, which when updated to current usage of {human(counter.used)} "
            f"will exceed the configured upper limit of {human(counter.hard)}."
        )
        own = (
            f"{operation.identity.name} pushes a {NOUNS[operation.kind]} of {cost} bytes to {operation.repository}, "
            f"and {counter.namespace} has {left} left: delete what it no longer needs, or ask an administrator for a "
            f"quota of {counter.used + cost} bytes or more."
        )
        return Refusal(f"{harbors} {own}", detail={**told, "needed": cost})

    # ---- telling ----

    async def warn(self, event: Event) -> None:
        """After a push: tell once that a namespace is nearly full, and again after it has had room."""
        if event.kind not in WARNED_AFTER or not self.enabled:
            return
        name = event.repository or f"{event.details.get('namespace', '')}/"
        counter = await ledger.deepest(self.registry.database, name)
        if counter is None or counter.warned or not counter.nearly_full:
            return
        session = self.registry.session()
        operation = session.operation("quota.warning", repository=event.repository)
        try:
            async with session.change(operation) as change:
                found = await ledger.lock(change.tx, counter.id)
                if found is None or found.warned or not found.nearly_full:
                    raise Abandoned
                await change.tx.execute(sa.update(counters).where(counters.c.id == found.id).values(warned=1))
                change.details |= {"namespace": found.namespace, "used": found.used, "hard": found.hard}
        except (Abandoned, OCIError):  # it has room by now, or a policy wants no warning: nothing to try again
            return

    # ---- limits ----

    async def with_id(self, quota: int) -> Counter:
        """Raises Missing."""
        row = await self.registry.database.row(BY_ID, counter=quota)
        if row is None:
            raise _missing(quota)
        return counter_of(row)

    async def set_hard(self, session: Session, quota: int, hard: int) -> None:
        """Set what a namespace may hold, in bytes; -1 for anything. Raises Missing."""
        counter = await self.with_id(quota)
        details = {"namespace": counter.namespace, "hard": hard}
        async with session.change(session.operation("quota.update", details=details), needs=UPDATE) as change:
            if await ledger.lock(change.tx, quota) is None:
                raise _missing(quota)
            # Whoever is near the new limit is told of that one.
            values = {"hard": hard, "warned": 0, "updated_at": now()}
            await change.tx.execute(sa.update(counters).where(counters.c.id == quota).values(**values))

    async def describe(self, namespaces: Sequence[Namespace]) -> Mapping[int, Mapping[str, Any]]:
        """What projects show of a page of namespaces: one statement for all of them."""
        found = await self._of(namespaces)
        missing = [namespace for namespace in namespaces if namespace.id not in found]
        for namespace in missing:  # made while this plugin was switched off, and never pushed to since
            await self.ensure(namespace)
        if missing:
            found |= await self._of(missing)
        return {
            number: {"quota": {"hard": {"storage": counter.hard}, "used": {"storage": counter.used}}}
            for number, counter in found.items()
        }

    async def _of(self, namespaces: Sequence[Namespace]) -> dict[int, Counter]:
        database = self.registry.database
        wanted = among(database, counters.c.namespace_id, [namespace.id for namespace in namespaces])
        rows = await database.rows(sa.select(*COLUMNS).where(wanted))
        return {counter.namespace_id: counter for counter in map(counter_of, rows)}


def _missing(quota: int) -> Missing:
    return Missing(f"there is no quota with the id {quota}")
