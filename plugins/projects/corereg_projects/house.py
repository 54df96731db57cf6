"""The parts of the plugin for one registry, put together; and what needs several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import sqlalchemy as sa

from corereg import Event, Registry, Route, Session
from corereg_projects.custom import Roles
from corereg_projects.documents import Documents, Project
from corereg_projects.grants import RESTRICTION, Rights
from corereg_projects.members import Members
from corereg_projects.names import check_searched
from corereg_projects.places import totals
from corereg_projects.projects import FIELDS, NewProject, ProjectStore, projects_of
from corereg_projects.routes import all_routes
from corereg_projects.schema import projects

LIBRARY = "library"
ADMINISTRATOR = "admin"
"""Who gets the first project, where there is somebody of that name."""


class ProjectHouse:
    """What the plugin works with in one registry."""

    def __init__(self, registry: Registry, *, nested: bool) -> None:
        self.registry = registry
        self.rights = Rights(registry)
        self.store = ProjectStore(registry.database, self.rights, nested=nested)
        self.roles = Roles(registry.database)
        self.members = Members(registry, self.roles)
        self.documents = Documents(registry, self.members)

    def routes(self) -> Sequence[Route]:
        """The table of routes."""
        return all_routes(self.registry, self.store, self.members, self.roles, self.documents)

    async def first_start(self) -> None:
        """A registry begins with the public project `library`."""
        owner = await self.members.find_principal("user", ADMINISTRATOR)
        new = NewProject(name=LIBRARY, visibility="public", metadata={}, owner=owner)
        await self.store.first_start(self.registry.session(), new)

    async def heard(self, event: Event) -> None:
        """Whoever was deleted has no role any more; whoever was renamed is found by the new name."""
        noun, _, verb = event.kind.partition(".")
        subject = event.details.get("subject")
        if noun not in {"user", "group"} or not isinstance(subject, str):
            return
        if verb == "delete":
            await self.members.forget(subject)
        elif verb == "update":
            await self.members.rename(cast("Literal['user', 'group']", noun), subject)

    def system(self, session: Session) -> Mapping[str, Any]:
        """What everybody who has signed in may know."""
        return {} if session.identity.anonymous else {RESTRICTION: self.registry.settings.get(RESTRICTION)}

    async def counts(self, session: Session) -> Mapping[str, int]:
        """How many projects and repositories the session's identity may see; of all there are, for administrators."""
        found = await totals(self.registry.database, await self.store.visible(session))
        public = found.get("public", (0, 0))
        closed = [pair for word, pair in found.items() if word != "public"]
        private = (sum(pair[0] for pair in closed), sum(pair[1] for pair in closed))
        everything = session.identity.administrator
        said = {}
        for place, word in enumerate(("project", "repo")):
            said[f"public_{word}_count"] = public[place]
            said[f"private_{word}_count"] = private[place]
            said[f"total_{word}_count"] = public[place] + private[place] if everything else 0
        return said

    async def search(self, session: Session, text: str) -> Sequence[Project]:
        """The projects with `text` in their names that the session's identity may see."""
        check_searched(text)
        select = sa.select(*FIELDS).where(
            await self.store.visible(session), projects.c.name.icontains(text, autoescape=True)
        )
        found = projects_of(await self.registry.database.rows(select.order_by(projects.c.name)))
        return await self.documents.projects(session, found)
