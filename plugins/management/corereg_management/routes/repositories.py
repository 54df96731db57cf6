"""Repositories (Harbor's tag ``repository``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from corereg import (
    OPEN,
    Action,
    BadRequest,
    Database,
    Fields,
    Listed,
    Listing,
    Missing,
    Namespace,
    Registry,
    Route,
    Session,
    among,
    covered,
    now,
    page,
    scopes_of,
    tables,
    within,
)
from corereg_management import documents
from corereg_management.documents import rfc3339
from corereg_management.places import Places
from corereg_management.routes.artifacts import REPOSITORIES, REPOSITORY, SCOPE
from corereg_management.schema import artifacts, repositories

_updated = sa.func.coalesce(repositories.c.updated_at, tables.repositories.c.created_at)
_pulls = sa.func.coalesce(repositories.c.pull_count, 0)
_description = sa.func.coalesce(repositories.c.description, "", type_=sa.Text)
COLUMNS = (
    tables.repositories.c.id,
    tables.repositories.c.name,
    tables.repositories.c.created_at,
    _description,
    _pulls,
    _updated,
)
FIELDS: Fields = {
    "id": tables.repositories.c.id,
    "repository_id": tables.repositories.c.id,
    "name": tables.repositories.c.name,
    "description": _description,
    "pull_count": _pulls,
    "creation_time": tables.repositories.c.created_at,
    "update_time": _updated,
}
JOINED = tables.repositories.join(repositories, repositories.c.repository_id == tables.repositories.c.id, isouter=True)


class RepositoryRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry, places: Places) -> None:
        self._database = registry.database
        self._places = places

    def routes(self) -> Sequence[Route]:
        """The table."""
        tag = "repository"
        return [
            Route("GET", "/api/v2.0/repositories", self.list_all_repositories, OPEN, "List repositories.", tag=tag),
            Route(
                "GET", REPOSITORIES, self.list_repositories, Action("repository", "list", "{namespace}/*"),
                "List the repositories of a project.", tag=tag,
            ),
            Route(
                "GET", REPOSITORY, self.get_repository, Action("repository", "read", SCOPE), "Get a repository.",
                tag=tag,
            ),
            Route(
                "PUT", REPOSITORY, self.update_repository, Action("repository", "update", SCOPE),
                "Change a repository's description.", tag=tag,
            ),
            Route(
                "DELETE", REPOSITORY, self.delete_repository, Action("repository", "delete", SCOPE),
                "Delete a repository with everything in it.", tag=tag, errors=(412,),
            ),
        ]  # fmt: skip

    async def list_all_repositories(self, session: Session, query: Listing) -> Listed[documents.Repository]:
        """Those of all projects whose repositories the caller may list, by name."""
        scopes = scopes_of(session.grants, "repository", "list")
        if not scopes:
            return Listed([], 0)
        rows, total = await self._page(query, covered(self._database, tables.repositories.c.name, scopes))
        namespaces = await self._places.of(row[1] for row in rows)
        return Listed(await self._told(rows, {name: each.id for name, each in namespaces.items()}), total)

    async def list_repositories(
        self, session: Session, namespace: Namespace, query: Listing
    ) -> Listed[documents.Repository]:
        """Of one project, by name."""
        rows, total = await self._page(query, within(tables.repositories.c.name, namespace.name))
        return Listed(await self._told(rows, {row[1]: namespace.id for row in rows}), total)

    async def get_repository(
        self, session: Session, namespace: Namespace, repository_name: str
    ) -> documents.Repository:
        """One repository."""
        row = await self._row(f"{namespace.name}/{repository_name}")
        return (await self._told([row], {row[1]: namespace.id}))[0]

    async def update_repository(
        self, session: Session, namespace: Namespace, repository_name: str, body: documents.RepositoryUpdate
    ) -> None:
        """Change its description."""
        name = f"{namespace.name}/{repository_name}"
        if "\0" in body.description:
            message = "the description holds a NUL character; leave it out"
            raise BadRequest(message)
        operation = session.operation("repository.update", repository=name, details={"description": body.description})
        row, at = await self._row(name), now()
        insert = self._database.insert(repositories).values(
            repository_id=row[0], description=body.description, pull_count=0, updated_at=at, counted=0
        )
        async with session.change(operation, needs=Action("repository", "update", name)) as change:
            here = await change.tx.row(
                sa.select(tables.repositories.c.id)
                .where(tables.repositories.c.id == row[0])
                .with_for_update(read=True, key_share=True)
            )
            if here is None:
                raise _missing(name)
            await change.tx.execute(
                insert.on_conflict_do_update(
                    index_elements=["repository_id"],
                    set_={"description": insert.excluded.description, "updated_at": insert.excluded.updated_at},
                )
            )

    async def delete_repository(self, session: Session, namespace: Namespace, repository_name: str) -> None:
        """With all its artifacts."""
        name = f"{namespace.name}/{repository_name}"
        await self._row(name)
        await session.delete_repository(name)

    # ---- rows ----

    async def _page(self, query: Listing, where: sa.ColumnElement[bool]) -> tuple[Sequence[Any], int]:
        select = sa.select(*COLUMNS).select_from(JOINED).where(where)
        return await page(self._database, select, query, FIELDS, tables.repositories.c.name)

    async def _row(self, name: str) -> Any:
        row = None
        if name.isprintable():
            row = await self._database.row(
                sa.select(*COLUMNS).select_from(JOINED).where(tables.repositories.c.name == name)
            )
        if row is None:
            raise _missing(name)
        return row

    async def _told(self, rows: Sequence[Any], projects: Mapping[str, int]) -> list[documents.Repository]:
        counts = await counted(self._database, [row[0] for row in rows])
        return [
            documents.Repository(
                id=number,
                project_id=projects.get(name, 0),
                name=name,
                description=description,
                artifact_count=counts.get(number, 0),
                pull_count=pulls,
                creation_time=rfc3339(created),
                update_time=rfc3339(updated),
            )
            for number, name, created, description, pulls, updated in rows
        ]


async def counted(database: Database, ids: Sequence[int]) -> dict[int, int]:
    """How many artifacts the usual list of each repository has."""
    if not ids:
        return {}
    rows = await database.rows(
        sa.select(artifacts.c.repository_id, sa.func.count())
        .where(among(database, artifacts.c.repository_id, ids), artifacts.c.listed == 1)
        .group_by(artifacts.c.repository_id)
    )
    return {row[0]: row[1] for row in rows}


def _missing(name: str) -> Missing:
    return Missing(f"repository {name[:255]} not found")
