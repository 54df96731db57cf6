"""Roles beyond Harbor's five, made of the same permissions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from corereg import Action, BadRequest, Database, Exists, Missing, Precondition, Session, now
from corereg_projects.roles import ALL, BUILT_IN, FIRST_CUSTOM, HIGHEST_FIRST, Permission, Permissions, Role
from corereg_projects.schema import members, roles

OFFSET = FIRST_CUSTOM - 1
"""What is added to a row's number: the first one is `FIRST_CUSTOM`."""
role_number = roles.c.id + OFFSET
CREATE, UPDATE, DELETE = (Action("role", word) for word in ("create", "update", "delete"))
LARGEST = 2**62

_name = re.compile(r"[A-Za-z0-9]+(?:[._ -][A-Za-z0-9]+)*\Z")
LONGEST_NAME = 64


def permissions_of(text: str) -> Permissions:
    """What a row's permissions say; those that no longer exist are left aside."""
    return frozenset((resource, action) for resource, action in msgspec.json.decode(text)) & ALL


def _kept(permissions: Permissions) -> str:
    return msgspec.json.encode(sorted(permissions)).decode()


def _role(row: Any) -> Role:
    return Role(int(row[0]), row[1], permissions_of(row[2]))


FIELDS = (role_number, roles.c.name, roles.c.permissions)


class Roles:
    """The roles of one registry."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def everyone(self) -> list[Role]:
        """All roles: Harbor's, the highest first, then the others by name."""
        rows = await self.database.rows(sa.select(*FIELDS).order_by(roles.c.name))
        return [*HIGHEST_FIRST, *map(_role, rows)]

    async def find(self, role_id: int) -> Role | None:
        """The role of that number."""
        if role_id in BUILT_IN:
            return BUILT_IN[role_id]
        if not FIRST_CUSTOM <= role_id < LARGEST:
            return None
        row = await self.database.row(sa.select(*FIELDS).where(roles.c.id == role_id - OFFSET))
        return _role(row) if row else None

    async def _custom(self, role_id: int) -> Role:
        role = await self.find(role_id)
        if role is None:
            message = f"there is no role {role_id}"
            raise Missing(message)
        if role.id in BUILT_IN:
            message = f"{role.name} is a role of every registry and stays as it is; make another one"
            raise Precondition(message)
        return role

    async def create(self, session: Session, name: str, permissions: Collection[Permission]) -> Role:
        """Make a role. Raises BadRequest and Exists."""
        _check_name(name)
        kept = _kept(_checked(permissions))
        at = now()
        insert = self.database.insert(roles).values(name=name, permissions=kept, created_at=at, updated_at=at)
        async with session.change(session.operation("role.create", details={"name": name}), needs=CREATE) as change:
            row = await change.tx.row(insert.on_conflict_do_nothing(index_elements=["name"]).returning(*FIELDS))
            if row is None:
                raise _taken(name)
            change.details["id"] = int(row[0])
        return _role(row)

    async def update(self, session: Session, role_id: int, name: str, permissions: Collection[Permission]) -> None:
        """Give a role another name and other permissions: at once, for everybody who has it."""
        await session.require(UPDATE)
        role = await self._custom(role_id)
        _check_name(name)
        kept = _kept(_checked(permissions))
        details = {"id": role.id, "name": name}
        async with session.change(session.operation("role.update", details=details), needs=UPDATE) as change:
            other = sa.select(roles.c.id).where(roles.c.name == name, role_number != role.id)
            if await change.tx.row(other) is not None:
                raise _taken(name)
            values = {"name": name, "permissions": kept, "updated_at": now()}
            if not await change.tx.execute(sa.update(roles).where(role_number == role.id).values(**values)):
                raise _gone(role)
            change.rights_changed("*")

    async def delete(self, session: Session, role_id: int) -> None:
        """Forget a role that nobody has. Raises Precondition while somebody does."""
        await session.require(DELETE)
        role = await self._custom(role_id)
        details = {"id": role.id, "name": role.name}
        async with session.change(session.operation("role.delete", details=details), needs=DELETE) as change:
            if not await change.tx.execute(sa.delete(roles).where(role_number == role.id)):
                raise _gone(role)
            counted = sa.select(sa.func.count()).select_from(members).where(members.c.role_id == role.id)
            row = await change.tx.row(counted)
            if row and row[0]:
                message = f"{row[0]} members have the role {role.name}; give them another one first"
                raise Precondition(message)


def _check_name(name: str) -> None:
    if not _name.match(name) or len(name) > LONGEST_NAME:
        message = f"a role's name is 1 to {LONGEST_NAME} letters and digits, with single . _ - or spaces between them"
        raise BadRequest(message)
    if name.casefold() in {role.name.casefold() for role in HIGHEST_FIRST}:
        raise _taken(name)


def _checked(permissions: Iterable[Permission]) -> Permissions:
    found = frozenset(permissions)
    strange = sorted(found - ALL)
    if strange or not found:
        given = (
            f"{strange[0][0][:40]}:{strange[0][1][:40]} is no permission of a project" if strange else "none is given"
        )
        message = f"a role is made of the permissions that GET /api/v2.0/roles shows of projectAdmin; {given}"
        raise BadRequest(message)
    return found


def _taken(name: str) -> Exists:
    return Exists(f"the role {name} is there already; choose another name")


def _gone(role: Role) -> Missing:
    return Missing(f"the role {role.name} was deleted a moment ago")
