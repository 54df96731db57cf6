"""Harbor's management API: the plugin `management`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from corereg import Event, Operation, Refusal, Registry, Route, Schema, Setting, Transaction, hookimpl
from corereg_management import hooks
from corereg_management.additions import Additions
from corereg_management.artifacts import Artifacts
from corereg_management.attributes import Attributes
from corereg_management.bookkeeping import Bookkeeping
from corereg_management.content import Content
from corereg_management.places import Places
from corereg_management.readmodel import ReadModel
from corereg_management.routes.artifacts import ArtifactRoutes
from corereg_management.routes.explorer import ExplorerRoutes
from corereg_management.routes.repositories import RepositoryRoutes
from corereg_management.routes.search import SearchRoutes
from corereg_management.routes.system import SystemRoutes
from corereg_management.schema import SCHEMA
from corereg_management.switches import READ_ONLY, TokenLifetime, declared, refusal_of

__all__ = ["Management"]

log = logging.getLogger(__name__)


class Management:
    """Repositories, artifacts and tags, search, statistics, settings and health over HTTP."""

    _registry: Registry
    _content: Content
    _books: Bookkeeping

    # ---- boot ----

    @hookimpl
    def provide_hooks(self) -> Any:
        return hooks

    @hookimpl
    def provide_schema(self) -> Schema:
        return SCHEMA

    @hookimpl
    def provide_settings(self) -> Sequence[Setting[Any]]:
        return declared()

    @hookimpl
    def provide_routes(self, registry: Registry) -> Sequence[Route]:
        self._registry = registry
        self._content = Content(registry)
        attributes, places = Attributes(registry, self._content), Places(registry)
        self._books = Bookkeeping(registry, ReadModel(registry.database), attributes)
        return [
            *RepositoryRoutes(registry, places).routes(),
            *ArtifactRoutes(Artifacts(registry, attributes), Additions(registry, self._content)).routes(),
            *SearchRoutes(registry, places, self._content).routes(),
            *SystemRoutes(registry).routes(),
            *ExplorerRoutes(registry).routes(),
        ]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, registry: Registry) -> AsyncGenerator[None]:
        lifetime = TokenLifetime(registry)
        await lifetime.apply()
        registry.settings.on_change.append(lifetime.apply)
        try:
            caught_up = await self._books.catch_up()
            if caught_up:
                log.info("%d manifests from before are in the lists now", caught_up)
            with self._content:
                yield
        finally:
            registry.settings.on_change.remove(lifetime.apply)

    # ---- for each operation ----

    @hookimpl(tryfirst=True)
    async def admit(self, operation: Operation) -> Refusal | None:
        return refusal_of(operation) if self._registry.settings.get(READ_ONLY) else None

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> None:
        await self._books.commit(operation, tx)

    @hookimpl
    async def observe(self, event: Event) -> None:
        await self._books.observe(event)
