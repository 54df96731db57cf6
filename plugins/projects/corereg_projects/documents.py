"""Projects as Harbor's API shows them: what several tables and other plugins know, gathered once for a whole page."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from corereg import Action, Namespace, Registry, Session
from corereg_projects.allowlists import StoredAllowlist, read_allowlists
from corereg_projects.members import Members
from corereg_projects.metadata import ProjectMetadata, shown
from corereg_projects.places import repository_counts
from corereg_projects.projects import StoredProject

log = logging.getLogger(__name__)

Known = Mapping[str, Any]


class CVEAllowlistItem(msgspec.Struct, frozen=True):
    """One vulnerability that is known to be harmless."""

    cve_id: str


class CVEAllowlist(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An allowlist; `expires_at` in seconds since 1970."""

    id: int
    project_id: int
    items: list[CVEAllowlistItem]
    creation_time: str
    update_time: str
    expires_at: int | None = None


class ProjectQuota(msgspec.Struct, frozen=True):
    """What a project may use, and uses, by resource."""

    hard: dict[str, int]
    used: dict[str, int]


class Project(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A project, and who the caller is in it."""

    project_id: int
    owner_id: int
    name: str
    creation_time: str
    update_time: str
    owner_name: str
    togglable: bool
    current_user_role_id: int
    current_user_role_ids: list[int]
    repo_count: int
    metadata: ProjectMetadata
    cve_allowlist: CVEAllowlist | None = None
    registry_id: int | None = None
    quota: ProjectQuota | None = None


class Documents:
    """Makes the documents of one registry's projects."""

    def __init__(self, registry: Registry, members: Members) -> None:
        self._registry = registry
        self._members = members

    async def projects(self, session: Session, found: Sequence[StoredProject], *, detail: bool = True) -> list[Project]:
        """The documents of those projects: a constant handful of statements, however many they are.

        Without `detail` only what the project's own row says.
        """
        ids = [each.id for each in found]
        counts: Mapping[int, int] = {}
        lists: Mapping[int, StoredAllowlist] = {}
        described: Mapping[int, Known] = {}
        held: Mapping[str, Sequence[int]] = {}
        if detail:
            counts = await repository_counts(self._registry.database, ids)
            lists = await read_allowlists(self._registry.database, ids)
            held = await self._members.roles_of(session.identity, [each.name for each in found])
            described = await self.described([each.namespace for each in found])
        return [
            _document(
                session,
                each,
                roles=held.get(each.name, ()),
                repositories=counts.get(each.id, 0),
                allowlist=lists.get(each.id),
                known=described.get(each.id, {}),
            )
            for each in found
        ]

    async def described(self, namespaces: Sequence[Namespace]) -> Mapping[int, Known]:
        """What other plugins know about projects, by number."""
        found: dict[int, dict[str, Any]] = {}
        for name, ask in self._registry.plugins.asked("describe_projects") if namespaces else ():
            try:
                answer: Mapping[int, Known] | None = await ask(namespaces)
            except Exception:
                log.exception("plugin %s failed in describe_projects; the projects are shown without it", name)
                continue
            for number, known in (answer or {}).items():
                mine = found.setdefault(number, {})
                extra = dict(mine.get("metadata", {})) | dict(known.get("metadata", {}))
                mine.update(known, **({"metadata": extra} if extra else {}))
        return found


def may_see_quota(session: Session, project: Namespace) -> bool:
    """Whether the quota is the caller's business."""
    return session.may(Action("quota", "read", project.scope))


def quota_of(known: Known) -> ProjectQuota | None:
    """What quotas tell of a project."""
    quota = known.get("quota")
    return None if quota is None else ProjectQuota(dict(quota["hard"]), dict(quota["used"]))


def _document(
    session: Session,
    project: StoredProject,
    *,
    roles: Sequence[int],
    repositories: int,
    allowlist: StoredAllowlist | None,
    known: Known,
) -> Project:
    return Project(
        project_id=project.id,
        owner_id=project.owner_id,
        name=project.name,
        creation_time=rfc3339(project.created_at),
        update_time=rfc3339(project.updated_at),
        owner_name=project.owner_name,
        togglable=session.may(Action("project", "update", project.namespace.scope)),
        current_user_role_id=roles[0] if roles else 0,
        current_user_role_ids=list(roles),
        repo_count=repositories,
        metadata=metadata_document(project, known),
        cve_allowlist=allowlist_document(allowlist) if allowlist else None,
        registry_id=known.get("registry_id"),
        quota=quota_of(known) if may_see_quota(session, project.namespace) else None,
    )


def metadata_document(project: StoredProject, known: Known) -> ProjectMetadata:
    """All metadata of a project, with what others keep."""
    texts = shown(project.visibility, project.metadata) | dict(known.get("metadata", {}))
    return ProjectMetadata(**{key: text for key, text in texts.items() if key in ProjectMetadata.__struct_fields__})


def allowlist_document(kept: StoredAllowlist) -> CVEAllowlist:
    """An allowlist as it is shown."""
    return CVEAllowlist(
        id=kept.id,
        project_id=kept.project_id,
        items=[CVEAllowlistItem(each) for each in kept.items],
        creation_time=rfc3339(kept.created_at),
        update_time=rfc3339(kept.updated_at),
        expires_at=kept.expires_at,
    )


def rfc3339(microseconds: int) -> str:
    """A time with milliseconds, UTC, as Harbor writes it."""
    moment = datetime.fromtimestamp(microseconds // 1000 / 1000, UTC)
    return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
