"""How many bytes a namespace may hold, counted in the push's own transaction: the plugin `quotas`.

`corereg --help` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from corereg import hookimpl

if TYPE_CHECKING:
    from corereg import Event, Job, Namespace, Operation, Refusal, Registry, Route, Schema, Setting, Transaction
    from corereg_quotas.quotas import Quotas as Ledger

__all__ = ["Quotas"]

MARK_EVERY = 1000
"""Events of the journal after which the mark moves; so many are looked at again after a crash."""


class Quotas:
    """Counts what namespaces hold, and refuses pushes that they have no room for."""

    _ledger: Ledger
    _marked = 0

    # ---- boot ----

    @hookimpl
    def provide_schema(self) -> Schema:
        from corereg_quotas.schema import SCHEMA

        return SCHEMA

    @hookimpl
    def provide_settings(self) -> Sequence[Setting[Any]]:
        from corereg import Setting
        from corereg_quotas.quotas import DEFAULT, ENABLED
        from corereg_quotas.routes import checked_limit

        return [
            Setting(
                name=DEFAULT,
                type=int,
                default=-1,
                description="Bytes that a new project may hold; -1 for no limit.",
                check=checked_limit,
            ),
            Setting(
                name=ENABLED,
                type=bool,
                default=True,
                description="Whether pushes beyond a project's quota are refused.",
            ),
        ]

    @hookimpl
    def provide_routes(self, registry: Registry) -> Sequence[Route]:
        from corereg_quotas.quotas import Quotas as Ledger
        from corereg_quotas.routes import QuotaRoutes

        self._ledger = Ledger(registry)
        return QuotaRoutes(registry, self._ledger).routes()

    @hookimpl
    def provide_jobs(self, registry: Registry) -> Sequence[Job]:
        from corereg import Job
        from corereg_quotas.recount import KIND, RecountOptions, recount

        return [
            Job(
                kind=KIND,
                title="Count anew what namespaces hold",
                handler=lambda task: recount(self._ledger, task),
                single=True,
                parameters=RecountOptions,
            )
        ]

    @hookimpl
    def provide_commands(self) -> Sequence[click.Command]:
        from corereg_quotas.commands import quota_group

        return [quota_group]

    @hookimpl(trylast=True)  # whoever knows the namespaces is open then
    @asynccontextmanager
    async def lifespan(self, registry: Registry) -> AsyncGenerator[None]:
        from corereg import DatabaseError
        from corereg_quotas.reconcile import catch_up, set_mark

        await catch_up(self._ledger)
        yield
        with suppress(DatabaseError):  # what happened since the last mark is looked at again at the next start
            await set_mark(self._ledger)

    # ---- for each change ----

    @hookimpl
    async def admit(self, operation: Operation) -> None:
        await self._ledger.prepare(operation)

    @hookimpl(trylast=True)  # a counter is locked to the end of the transaction: as late as can be
    async def commit(self, operation: Operation, tx: Transaction) -> Refusal | None:
        return await self._ledger.count(operation, tx)

    @hookimpl
    async def observe(self, event: Event) -> None:
        from corereg_quotas.reconcile import set_mark

        await self._ledger.warn(event)
        if event.serial >= self._marked + MARK_EVERY:
            self._marked = event.serial
            await set_mark(self._ledger, event.serial)

    # ---- for others ----

    @hookimpl(optionalhook=True)
    async def describe_projects(self, namespaces: Sequence[Namespace]) -> Mapping[int, Mapping[str, Any]]:
        return await self._ledger.describe(namespaces)
