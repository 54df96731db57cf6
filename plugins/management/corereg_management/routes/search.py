"""Search, and icons (Harbor's tags ``search`` and ``icon``)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated

import msgspec
import sqlalchemy as sa

from corereg import (
    ANONYMOUS,
    OPEN,
    Action,
    Digest,
    Missing,
    OCIError,
    Registry,
    Route,
    Session,
    allowed,
    covered,
    scopes_of,
    tables,
)
from corereg_management import documents
from corereg_management.content import Content, Unreadable
from corereg_management.icons import DRAWN, LARGEST, Picture, picture_of
from corereg_management.places import Places
from corereg_management.routes.repositories import JOINED, counted
from corereg_management.schema import artifacts, repositories

MOST_FOUND = 1000
"""Repositories that a search finds at most, the first by name; lists have pages."""


class Searched(msgspec.Struct, frozen=True):
    """What is looked for."""

    q: Annotated[str, msgspec.Meta(max_length=1024)]


class SearchRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry, places: Places, content: Content) -> None:
        self._registry = registry
        self._database = registry.database
        self._places = places
        self._content = content

    def routes(self) -> Sequence[Route]:
        """The table."""
        return [
            Route("GET", "/api/v2.0/search", self.search, OPEN, "Search projects and repositories.", tag="search"),
            Route("GET", "/api/v2.0/icons/{digest}", self.get_icon, OPEN, "Get an icon.", tag="icon"),
        ]

    async def search(self, session: Session, query: Searched) -> documents.Search:
        """Projects and repositories whose names hold the text, among those the caller may see."""
        projects: list[object] = []
        for _, ask in self._registry.plugins.asked("search_projects"):
            projects += await ask(session, query.q) or ()
        return documents.Search(projects, await self._repositories(session, query.q))

    async def _repositories(self, session: Session, text: str) -> list[documents.SearchedRepository]:
        scopes = scopes_of(session.grants, "repository", "list")
        if not scopes or "\0" in text:
            return []
        name = tables.repositories.c.name
        rows = await self._database.rows(
            sa.select(tables.repositories.c.id, name, sa.func.coalesce(repositories.c.pull_count, 0))
            .select_from(JOINED)
            # Names have no upper case; and the cheap question stands first, SQLite asks them in this order.
            .where(name.contains(text.lower(), autoescape=True), covered(self._database, name, scopes))
            .order_by(name)
            .limit(MOST_FOUND)
        )
        counts = await counted(self._database, [row[0] for row in rows])
        namespaces = await self._places.of(row[1] for row in rows)
        everybody = await self._registry.plugins.grants(ANONYMOUS)
        return [
            documents.SearchedRepository(
                repository_name=found,
                project_id=namespaces[found].id,
                project_name=namespaces[found].name,
                project_public=allowed(everybody, Action("repository", "list", namespaces[found].scope)),
                pull_count=pulls,
                artifact_count=counts.get(number, 0),
            )
            for number, found, pulls in rows
            if found in namespaces
        ]

    async def get_icon(self, session: Session, digest: str) -> documents.Icon:
        """A picture by its digest: one that is drawn here, or one that an artifact the caller may see brings along."""
        wanted = str(Digest.parse(digest))
        picture = DRAWN.get(wanted) or await self._brought(session, wanted)
        if picture is None:
            message = f"icon {wanted} not found"
            raise Missing(message)
        return documents.Icon(picture.media_type, base64.b64encode(picture.body).decode())

    async def _brought(self, session: Session, digest: str) -> Picture | None:
        scopes = scopes_of(session.grants, "artifact", "read")
        if not scopes:
            return None
        row = await self._database.row(
            sa.select(tables.repositories.c.name)
            .join(artifacts, artifacts.c.repository_id == tables.repositories.c.id)
            .where(artifacts.c.icon == digest, covered(self._database, tables.repositories.c.name, scopes))
            .limit(1)
        )
        if row is None:
            return None
        try:
            return picture_of(await self._content.blob(row[0], digest, LARGEST))
        except (OCIError, Unreadable):
            return None
