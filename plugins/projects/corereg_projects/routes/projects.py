"""Projects: list, make, read, change, delete (swagger.yaml, tag ``project``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import sqlalchemy as sa

from corereg import (
    OPEN,
    SIGNED_IN,
    Action,
    BadRequest,
    Created,
    Forbidden,
    Listed,
    Listing,
    Missing,
    Namespace,
    Registry,
    Request,
    Route,
    Session,
    page,
)
from corereg_projects.allowlists import Allowlist, checked
from corereg_projects.documents import CVEAllowlistItem, Documents, Project, ProjectQuota
from corereg_projects.grants import CREATE, RESTRICTION
from corereg_projects.members import Members
from corereg_projects.metadata import READ_ONLY, ProjectMetadata, normalised, visibility_of
from corereg_projects.names import check_searched
from corereg_projects.projects import FIELDS, NewProject, ProjectStore, StoredProject, owner_of, project_of
from corereg_projects.roles import HIGHEST_FIRST
from corereg_projects.schema import projects

PATH = "/api/v2.0/projects"
TAG = "project"
SET_QUOTA = Action("quota", "update")
UNLIMITED = -1
LARGEST = 2**63 - 1

SEARCHED: Mapping[str, sa.ColumnElement[object]] = {
    "name": projects.c.name,
    "project_id": projects.c.id,
    "owner_id": projects.c.owner_id,
    "owner_name": projects.c.owner_name,
    "owner": projects.c.owner_name,
    "public": sa.case((projects.c.visibility == "public", 1), else_=0),
    "visibility": projects.c.visibility,
    "creation_time": projects.c.created_at,
    "update_time": projects.c.updated_at,
}


class ProjectListing(Listing, frozen=True, kw_only=True):
    """Which projects to list: `name` is a part of the name, `owner` the whole name of one."""

    name: str = ""
    public: bool | None = None
    owner: str = ""
    with_detail: bool = True


class ProjectName(msgspec.Struct, frozen=True):
    """The name that is asked for."""

    project_name: str


class CVEAllowlistReq(msgspec.Struct, frozen=True):
    """What can be set of an allowlist; clients send the rest along, and it stays as it is."""

    items: list[CVEAllowlistItem] | None = None
    expires_at: int | None = None

    def checked(self) -> Allowlist:
        """Raises BadRequest."""
        return checked([each.cve_id for each in self.items or ()], self.expires_at)


class ProjectReq(msgspec.Struct, frozen=True, kw_only=True):
    """A project to make, or what to change of one. A name is for good."""

    project_name: Annotated[str, msgspec.Meta(max_length=255)] = ""
    public: bool | None = None
    metadata: ProjectMetadata | None = None
    cve_allowlist: CVEAllowlistReq | None = None
    storage_limit: int | None = None
    registry_id: int | None = None

    def wanted(self) -> dict[str, str]:
        """The metadata, normalised; the old field `public` counts where they do not say it. Raises BadRequest."""
        values = self.metadata.values() if self.metadata else {}
        kept = values.pop(READ_ONLY, None)
        if self.public is not None and "public" not in values and "visibility" not in values:
            values["public"] = "true" if self.public else "false"
        return normalised(values) | ({READ_ONLY: kept} if kept is not None else {})


class ProjectDeletable(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a project can be deleted, and why not."""

    deletable: bool
    message: str = ""

    def __post_init__(self) -> None:
        assert self.deletable != bool(self.message)  # noqa: S101 - the two say the same


class ProjectSummary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A project in numbers, as far as they are the caller's business."""

    repo_count: int
    project_admin_count: int | None = None
    maintainer_count: int | None = None
    developer_count: int | None = None
    guest_count: int | None = None
    limited_guest_count: int | None = None
    quota: ProjectQuota | None = None


COUNTED = ("project_admin_count", "maintainer_count", "developer_count", "guest_count", "limited_guest_count")
"""The fields of a summary that count members, in the order of `HIGHEST_FIRST`."""


class ProjectRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry, store: ProjectStore, members: Members, documents: Documents) -> None:
        self._registry = registry
        self._store = store
        self._members = members
        self._documents = documents

    def routes(self) -> Sequence[Route]:
        """The table."""
        one = f"{PATH}/{{namespace}}"
        return [
            Route("GET", PATH, self.list_projects, OPEN, "List projects", tag=TAG),
            Route(
                "HEAD", PATH, self.head_project, SIGNED_IN, "Check if a project's name is taken", tag=TAG, errors=(404,)
            ),
            Route("POST", PATH, self.create_project, SIGNED_IN, "Create a new project.", tag=TAG, errors=(403, 409)),
            Route("GET", one, self.get_project, _needs("read"), "Return a project", tag=TAG),
            Route("PUT", one, self.update_project, _needs("update"), "Update a project's properties", tag=TAG),
            Route("DELETE", one, self.delete_project, _needs("delete"), "Delete a project", tag=TAG, errors=(412,)),
            Route(
                "GET",
                f"{one}/_deletable",
                self.get_project_deletable,
                _needs("delete"),
                "Say whether a project can be deleted",
                tag=TAG,
            ),
            Route("GET", f"{one}/summary", self.get_project_summary, _needs("read"), "A project in numbers", tag=TAG),
        ]

    async def list_projects(self, session: Session, query: ProjectListing) -> Listed[Project]:
        """The projects that the caller may see: public ones, their own, for administrators all."""
        check_searched(query.name, query.owner)
        select = sa.select(*FIELDS).where(await self._store.visible(session))
        if query.name:
            select = select.where(projects.c.name.icontains(query.name, autoescape=True))
        if query.owner:
            select = select.where(projects.c.owner_name == query.owner)
        if query.public is not None:
            public = projects.c.visibility == "public"
            select = select.where(public if query.public else ~public)
        rows, total = await page(self._registry.database, select, query, SEARCHED, projects.c.name)
        found = [project_of(row) for row in rows]
        return Listed(await self._documents.projects(session, found, detail=query.with_detail), total)

    async def head_project(self, session: Session, query: ProjectName) -> None:
        """200 for a name that is taken, 404 for one that is free."""
        if await self._store.resolve(query.project_name) is None:
            message = f"there is no project {query.project_name[:80]!r}"
            raise Missing(message)

    async def create_project(self, session: Session, body: ProjectReq, request: Request) -> Created[None]:
        """Whoever makes a project is its first administrator. `Location` ends with its number, or with its name for
        those who ask by ``X-Resource-Name-In-Location: true``.
        """
        await self._check_may_create(session)
        values = body.wanted()
        if READ_ONLY in values:
            message = f"{READ_ONLY} belongs to the retention policy that a project may get later; leave it out"
            raise BadRequest(message)
        _check_no_proxy(body)
        project = await self._store.create(
            session,
            NewProject(
                name=body.project_name,
                visibility=visibility_of(values),
                metadata=_beyond_visibility(values),
                owner=owner_of(session.identity),
                storage_limit=_limit(session, body),
                allowlist=body.cve_allowlist.checked() if body.cve_allowlist else None,
            ),
        )
        by_name = request.headers.get("x-resource-name-in-location", "").lower() == "true"
        return Created(project.name.replace("/", "%252F") if by_name else project.id)

    async def _check_may_create(self, session: Session) -> None:
        if not session.may(CREATE) and self._registry.settings.get(RESTRICTION) != "everyone":
            message = f"Only system admin can create project: the setting {RESTRICTION} of this registry says so"
            raise Forbidden(message)
        await session.require(CREATE)

    async def get_project(self, session: Session, namespace: Namespace) -> Project:
        """One project, by number or name."""
        project = await self._store.read(namespace)
        return (await self._documents.projects(session, [project]))[0]

    async def update_project(self, session: Session, namespace: Namespace, body: ProjectReq) -> None:
        """Change the metadata that is sent, and the allowlist if it is; the rest stays as it is."""
        values = body.wanted()
        if READ_ONLY in values:
            await self._check_unchanged(namespace, values.pop(READ_ONLY))

        def edit(project: StoredProject) -> StoredProject:
            return msgspec.structs.replace(
                project,
                visibility=visibility_of(values, project.visibility),
                metadata={**project.metadata, **_beyond_visibility(values)},
            )

        allowlist = body.cve_allowlist.checked() if body.cve_allowlist else None
        await self._store.update(
            session, namespace, edit, needs=Action("project", "update", namespace.scope), allowlist=allowlist
        )

    async def _check_unchanged(self, namespace: Namespace, given: str) -> None:
        """`retention_id` may be sent back as it was read."""
        described = await self._documents.described([namespace])
        if described.get(namespace.id, {}).get("metadata", {}).get(READ_ONLY) != given:
            message = f"{READ_ONLY} is set by the retention policy; leave it out, or send the one the project has"
            raise BadRequest(message)

    async def delete_project(self, session: Session, namespace: Namespace) -> None:
        """An empty project is forgotten, with its members."""
        await self._store.delete(session, namespace)

    async def get_project_deletable(self, session: Session, namespace: Namespace) -> ProjectDeletable:
        """Whether it is empty."""
        reason = await self._store.undeletable(namespace)
        return ProjectDeletable(reason is None, reason or "")

    async def get_project_summary(self, session: Session, namespace: Namespace) -> ProjectSummary:
        """Members are counted for those who may list them, the quota is told to those who may read it."""
        (project,) = await self._documents.projects(session, [await self._store.read(namespace)])
        counts: dict[str, int] = {}
        if session.may(Action("member", "list", namespace.scope)):
            found = await self._members.counts(namespace)
            counts = {field: found.get(role.id, 0) for field, role in zip(COUNTED, HIGHEST_FIRST, strict=True)}
        return ProjectSummary(repo_count=project.repo_count, quota=project.quota, **counts)


def _needs(action: str) -> Action:
    return Action("project", action, "{namespace}/*")


def _beyond_visibility(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if key not in {"public", "visibility"}}


def _check_no_proxy(body: ProjectReq) -> None:
    if body.registry_id:
        message = f"there is no registry {body.registry_id} that a project could be a proxy of"
        raise BadRequest(message)


def _limit(session: Session, body: ProjectReq) -> int | None:
    """The bytes a project may hold, if those who may decide say so; else the registry's default counts."""
    if body.storage_limit is None or not session.may(SET_QUOTA):
        return None
    if body.storage_limit != UNLIMITED and not 0 < body.storage_limit <= LARGEST:
        message = f"storage_limit is a number of bytes, or {UNLIMITED} for no limit; this is {body.storage_limit}"
        raise BadRequest(message)
    return body.storage_limit
