"""Harbor's management API: the plugin `management`.

`corereg --help` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from corereg import Refusal, hookimpl

if TYPE_CHECKING:
    from corereg import Event, Operation, Registry, Route, Schema, Setting, Transaction
    from corereg_management.house import House

__all__ = ["Management"]


class Management:
    """Repositories, artifacts and tags, search, statistics, settings and health over HTTP."""

    _house: House

    # ---- boot ----

    @hookimpl
    def provide_hooks(self) -> Any:
        from corereg_management import hooks

        return hooks

    @hookimpl
    def provide_commands(self) -> Sequence[click.Command]:
        from corereg_management import commands, declarative, job_commands, trash_commands

        nouns = (commands.repo_group, commands.tag_group, commands.artifact_group, commands.settings_group)
        work = (job_commands.job_group, job_commands.gc_group, job_commands.node_group, trash_commands.trash_group)
        return [*nouns, *work, commands.search, declarative.apply, declarative.export_config]

    @hookimpl
    def provide_schema(self) -> Schema:
        from corereg_management.schema import SCHEMA

        return SCHEMA

    @hookimpl
    def provide_settings(self) -> Sequence[Setting[Any]]:
        from corereg_management.switches import declared

        return declared()

    @hookimpl
    def provide_routes(self, registry: Registry) -> Sequence[Route]:
        from corereg_management.house import House

        self._house = House(registry)
        return self._house.routes()

    @hookimpl
    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        async with self._house.at_work():
            yield

    # ---- for each operation ----

    @hookimpl(tryfirst=True)
    async def admit(self, operation: Operation) -> Refusal | None:
        return self._house.refusal_of(operation)

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> None:
        await self._house.commit(operation, tx)

    @hookimpl
    async def observe(self, event: Event) -> None:
        await self._house.observe(event)
