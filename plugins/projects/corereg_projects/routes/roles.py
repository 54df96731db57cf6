"""Roles: Harbor's five, and those that administrators make (beyond Harbor)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corereg import SIGNED_IN, Created, Missing, Route, Session
from corereg_projects.custom import CREATE, DELETE, UPDATE, Roles
from corereg_projects.roles import BUILT_IN, Role

PATH = "/api/v2.0/roles"
TAG = "role"


class RolePermission(msgspec.Struct, frozen=True, order=True):
    """An action on a resource; ``project`` is the project itself."""

    resource: str
    action: str


class RoleReq(msgspec.Struct, frozen=True):
    """A role to make, or what one is from now on."""

    role_name: str
    permissions: list[RolePermission]

    def pairs(self) -> set[tuple[str, str]]:
        """The permissions."""
        return {(each.resource, each.action) for each in self.permissions}


class RoleEntity(msgspec.Struct, frozen=True):
    """A role; `built_in` ones stay as they are."""

    role_id: int
    role_name: str
    built_in: bool
    permissions: list[RolePermission]


class RoleRoutes:
    """The routes of one registry."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    def routes(self) -> Sequence[Route]:
        """The table."""
        one = f"{PATH}/{{role_id}}"
        return [
            Route("GET", PATH, self.list_roles, SIGNED_IN, "All roles", tag=TAG, extension=True),
            Route("POST", PATH, self.create_role, CREATE, "Make a role", tag=TAG, errors=(409,), extension=True),
            Route("GET", one, self.get_role, SIGNED_IN, "One role", tag=TAG, extension=True),
            Route("PUT", one, self.update_role, UPDATE, "Change a role", tag=TAG, errors=(409, 412), extension=True),
            Route("DELETE", one, self.delete_role, DELETE, "Forget a role", tag=TAG, errors=(412,), extension=True),
        ]

    async def list_roles(self, session: Session) -> list[RoleEntity]:
        """Harbor's, the highest first, then the others by name; there are few, so they come on one page."""
        return [_document(each) for each in await self._roles.everyone()]

    async def create_role(self, session: Session, body: RoleReq) -> Created[None]:
        """A role of its own name, made of permissions that projectAdmin has; its number is 100 or more."""
        role = await self._roles.create(session, body.role_name, body.pairs())
        return Created(role.id)

    async def get_role(self, session: Session, role_id: int) -> RoleEntity:
        """One role, by number."""
        role = await self._roles.find(role_id)
        if role is None:
            message = f"there is no role {role_id}"
            raise Missing(message)
        return _document(role)

    async def update_role(self, session: Session, role_id: int, body: RoleReq) -> None:
        """Another name, other permissions: at once, for everybody who has the role."""
        await self._roles.update(session, role_id, body.role_name, body.pairs())

    async def delete_role(self, session: Session, role_id: int) -> None:
        """A role that nobody has is forgotten."""
        await self._roles.delete(session, role_id)


def _document(role: Role) -> RoleEntity:
    permissions = [RolePermission(resource, action) for resource, action in sorted(role.permissions)]
    return RoleEntity(role.id, role.name, role.id in BUILT_IN, permissions)
