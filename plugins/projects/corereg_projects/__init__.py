"""Projects, members and roles: the plugin `projects`.

`corereg --help` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click
import msgspec

from corereg import Grant, Identity, Namespace, Refusal, hookimpl

if TYPE_CHECKING:
    from corereg import Event, Operation, Registry, Route, Schema, Session, Setting, Transaction
    from corereg_projects.documents import Project
    from corereg_projects.house import ProjectHouse

__all__ = ["Projects"]

PUSHES = frozenset({"manifest.push", "blob.push", "blob.mount"})
"""What brings something into a project."""


class Projects:
    """Namespaces with members: who may do what, in Harbor's roles and words."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        """How projects are named."""

        nested: Annotated[bool, msgspec.Meta(description="Projects may stand in projects: `team/sub` in `team`.")] = (
            False
        )

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()
        self._made: ProjectHouse | None = None

    # ---- boot ----

    @hookimpl
    def provide_hooks(self) -> Any:
        from corereg_projects import hooks

        return hooks

    @hookimpl
    def provide_commands(self) -> Sequence[click.Command]:
        from corereg_projects.commands import project_group

        return [project_group]

    @hookimpl
    def provide_schema(self) -> Schema:
        from corereg_projects.schema import SCHEMA

        return SCHEMA

    @hookimpl
    def provide_settings(self) -> Sequence[Setting[Any]]:
        from corereg import Setting
        from corereg_projects.grants import RESTRICTION

        return [
            Setting(
                name=RESTRICTION,
                type=Literal["everyone", "adminonly"],
                default="everyone",
                description="Who may create projects: every user, or administrators alone.",
            )
        ]

    @hookimpl
    def provide_routes(self, registry: Registry) -> Sequence[Route]:
        from corereg_projects.house import ProjectHouse

        self._made = ProjectHouse(registry, nested=self.settings.nested)
        return self._made.routes()

    @hookimpl(trylast=True)  # whoever knows the administrator opens first
    @asynccontextmanager
    async def lifespan(self, registry: Registry) -> AsyncGenerator[None]:
        await self._house.first_start()
        yield

    # ---- for each request ----

    @hookimpl
    async def resolve_namespace(self, reference: int | str) -> Namespace | None:
        return await self._house.store.resolve(reference)

    @hookimpl
    async def grants(self, identity: Identity) -> Sequence[Grant]:
        return await self._house.rights.of(identity)

    @hookimpl(tryfirst=True)
    async def admit(self, operation: Operation) -> Refusal | None:
        return await self._house.store.check_there(operation) if operation.kind in PUSHES else None

    @hookimpl(tryfirst=True)  # the project's row is held before anybody's counters: pushes and deletes in one order
    async def commit(self, operation: Operation, tx: Transaction) -> Refusal | None:
        return await self._house.store.check_there(operation, tx) if operation.kind in PUSHES else None

    @hookimpl
    async def observe(self, event: Event) -> None:
        await self._house.heard(event)

    # ---- for other plugins ----

    @hookimpl(optionalhook=True)
    async def describe_system(self, session: Session) -> Mapping[str, Any]:
        return self._house.system(session)

    @hookimpl(optionalhook=True)
    async def count_projects(self, session: Session) -> Mapping[str, int]:
        return await self._house.counts(session)

    @hookimpl(optionalhook=True)
    async def search_projects(self, session: Session, text: str) -> Sequence[Project]:
        return await self._house.search(session, text)

    @property
    def _house(self) -> ProjectHouse:
        if self._made is None:
            message = "the registry is not made yet"
            raise RuntimeError(message)
        return self._made
