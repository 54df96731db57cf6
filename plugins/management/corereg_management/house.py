"""The parts of the plugin for one registry, built once and put together."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from corereg import Event, Operation, Refusal, Registry, Route, Transaction
from corereg_management.additions import Additions
from corereg_management.artifacts import Artifacts
from corereg_management.attributes import Attributes
from corereg_management.bookkeeping import Bookkeeping
from corereg_management.content import Content
from corereg_management.places import Places
from corereg_management.readmodel import ReadModel
from corereg_management.routes.artifacts import ArtifactRoutes
from corereg_management.routes.collection import CollectionRoutes
from corereg_management.routes.explorer import ExplorerRoutes
from corereg_management.routes.jobs import JobRoutes
from corereg_management.routes.jobservice import JobServiceRoutes
from corereg_management.routes.repositories import RepositoryRoutes
from corereg_management.routes.search import SearchRoutes
from corereg_management.routes.system import SystemRoutes
from corereg_management.routes.trash import TrashRoutes
from corereg_management.switches import READ_ONLY, TokenLifetime, refusal_of

log = logging.getLogger(__name__)


class House:
    """What answers for one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._content = Content(registry)
        self._places = Places(registry)
        self._attributes = Attributes(registry, self._content)
        self._books = Bookkeeping(registry, ReadModel(registry.database), self._attributes)

    def routes(self) -> Sequence[Route]:
        """The table."""
        registry, content = self._registry, self._content
        return [
            *RepositoryRoutes(registry, self._places).routes(),
            *ArtifactRoutes(Artifacts(registry, self._attributes), Additions(registry, content)).routes(),
            *SearchRoutes(registry, self._places, content).routes(),
            *SystemRoutes(registry).routes(),
            *JobServiceRoutes(registry).routes(),
            *CollectionRoutes(registry).routes(),
            *JobRoutes(registry).routes(),
            *TrashRoutes(registry).routes(),
            *ExplorerRoutes(registry).routes(),
        ]

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """From the registry's opening to its closing: what came without the plugin is caught up with first."""
        lifetime = TokenLifetime(self._registry)
        await lifetime.apply()
        self._registry.settings.on_change.append(lifetime.apply)
        try:
            caught_up = await self._books.catch_up()
            if caught_up:
                log.info("%d manifests from before are in the lists now", caught_up)
            with self._content:
                yield
        finally:
            self._registry.settings.on_change.remove(lifetime.apply)

    def refusal_of(self, operation: Operation) -> Refusal | None:
        """Why nothing may be changed now, if so."""
        return refusal_of(operation) if self._registry.settings.get(READ_ONLY) else None

    async def commit(self, operation: Operation, tx: Transaction) -> None:
        """Keep the lists, in the change's own transaction."""
        await self._books.commit(operation, tx)

    async def observe(self, event: Event) -> None:
        """Count pulls, and read what a push brought."""
        await self._books.observe(event)
