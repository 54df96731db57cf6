"""What the caller may do (swagger.yaml, ``GET /users/current/permissions``)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from corereg import SIGNED_IN, Action, Route, Session
from corereg_projects.projects import ProjectStore
from corereg_projects.roles import ALL, SYSTEM

_project = re.compile(r"/project/([0-9]{1,18})/?\Z")
ITSELF = "."
"""What Harbor calls the project itself, seen from the project."""


class PermissionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Where: ``/project/<number>`` or ``/system``. `relative`: resources are named without it."""

    scope: str = ""
    relative: bool = False


class Permission(msgspec.Struct, frozen=True):
    """One thing the caller may do."""

    resource: str
    action: str


class PermissionRoutes:
    """The routes of one registry."""

    def __init__(self, store: ProjectStore) -> None:
        self._store = store

    def routes(self) -> Sequence[Route]:
        """The table."""
        return [
            Route(
                "GET",
                "/api/v2.0/users/current/permissions",
                self.get_current_user_permissions,
                SIGNED_IN,
                "Get current user permissions.",
                tag="user",
            )
        ]

    async def get_current_user_permissions(self, session: Session, query: PermissionQuery) -> list[Permission]:
        """All that the caller may do there; nothing where they may not look."""
        if query.scope.rstrip("/") == "/system":
            found = [each for each in sorted(SYSTEM) if session.may(Action(*each))]
            return [_permission("/system", each, relative=query.relative) for each in found]
        match = _project.match(query.scope)
        namespace = await self._store.resolve(int(match[1])) if match else None
        if namespace is None:
            return []
        prefix = f"/project/{namespace.id}"
        found = [each for each in sorted(ALL) if session.may(Action(*each, namespace.scope))]
        return [
            _permission(prefix, ("" if resource == "project" else resource, action), relative=query.relative)
            for resource, action in found
        ]


def _permission(prefix: str, permission: tuple[str, str], *, relative: bool) -> Permission:
    resource, action = permission
    if relative:
        return Permission(resource or ITSELF, action)
    return Permission(f"{prefix}/{resource}" if resource else prefix, action)
