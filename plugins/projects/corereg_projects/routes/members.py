"""Members of a project (swagger.yaml, tag ``member``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from corereg import Action, BadRequest, Created, Listed, Missing, Namespace, Principal, Route, Session
from corereg_projects.members import Kind, Member, MemberListing, Members

PATH = "/api/v2.0/projects/{namespace}/members"
TAG = "member"
LDAP = 1
"""The type of groups that have a DN."""


class UserEntity(msgspec.Struct, frozen=True, kw_only=True):
    """A user, by number or by name."""

    user_id: int = 0
    username: str = ""


class UserGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group, by number, by name, or by its name in LDAP."""

    id: int = 0
    group_name: str = ""
    group_type: int = 0
    ldap_group_dn: str = ""


class ProjectMember(msgspec.Struct, frozen=True, kw_only=True):
    """Who becomes a member, in which role; `pattern` (beyond Harbor) limits it to a part of the project."""

    role_id: int = 0
    member_user: UserEntity | None = None
    member_group: UserGroup | None = None
    pattern: str = ""


class RoleRequest(msgspec.Struct, frozen=True):
    """The role to have from now on."""

    role_id: int = 0


class ProjectMemberEntity(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A member; `entity_type` is u for a user and g for a group."""

    id: int
    project_id: int
    entity_name: str
    role_name: str
    role_id: int
    entity_id: int
    entity_type: str
    pattern: str = ""


class Wanted(NamedTuple):
    """Whom a body means; `group_type` is 0 for a group of any type."""

    kind: Kind
    reference: int | str
    group_type: int = 0


class MemberRoutes:
    """The routes of one registry."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def routes(self) -> Sequence[Route]:
        """The table."""
        one = f"{PATH}/{{mid}}"
        return [
            Route("GET", PATH, self.list_project_members, _needs("list"), "A project's members", tag=TAG),
            Route("POST", PATH, self.create_project_member, _needs("create"), "Add a member", tag=TAG, errors=(409,)),
            Route("GET", one, self.get_project_member, _needs("read"), "One member", tag=TAG),
            Route("PUT", one, self.update_project_member, _needs("update"), "Change a member's role", tag=TAG),
            Route("DELETE", one, self.delete_project_member, _needs("delete"), "Remove a member", tag=TAG),
        ]

    async def list_project_members(
        self, session: Session, namespace: Namespace, query: MemberListing
    ) -> Listed[ProjectMemberEntity]:
        """Users and groups, by name; `entityname` is a part of it."""
        found, total = await self._members.page(namespace, query)
        return Listed([_document(each) for each in found], total)

    async def create_project_member(self, session: Session, namespace: Namespace, body: ProjectMember) -> Created[None]:
        """A user or a group; who is a member already is a 409."""
        principal = await self._principal(_wanted(body))
        return Created(await self._members.create(session, namespace, principal, body.role_id, body.pattern))

    async def _principal(self, wanted: Wanted) -> Principal:
        principal = await self._members.find_principal(*wanted)
        if principal is None:
            of_type = f" of the type {wanted.group_type}" if wanted.group_type else ""
            message = f"there is no {wanted.kind} {str(wanted.reference)[:80]!r}{of_type}"
            raise Missing(message)
        return principal

    async def get_project_member(self, session: Session, namespace: Namespace, mid: int) -> ProjectMemberEntity:
        """One member of this project."""
        return _document(await self._members.read(namespace, mid))

    async def update_project_member(self, session: Session, namespace: Namespace, mid: int, body: RoleRequest) -> None:
        """Another role, from now on and everywhere."""
        await self._members.update(session, namespace, mid, body.role_id)

    async def delete_project_member(self, session: Session, namespace: Namespace, mid: int) -> None:
        """No role any more, from now on and everywhere."""
        await self._members.delete(session, namespace, mid)


def _needs(action: str) -> Action:
    return Action("member", action, "{namespace}/*")


def _wanted(body: ProjectMember) -> Wanted:
    """Whom the body means. Raises BadRequest where it means nobody, or two."""
    user, group = body.member_user, body.member_group
    references: list[Wanted] = []
    if user is not None and (user.user_id or user.username):
        references.append(Wanted("user", user.user_id or user.username))
    if group is not None and (group.id or group.group_name or group.ldap_group_dn):
        references.append(_wanted_group(group))
    if len(references) != 1:
        message = (
            "a member is one user (member_user with user_id or username) or one group (member_group with id, "
            "group_name or ldap_group_dn)"
        )
        raise BadRequest(message)
    return references[0]


def _wanted_group(group: UserGroup) -> Wanted:
    """By its number; in LDAP by its DN, which a client may send beside a name; else by the name."""
    if group.id:
        return Wanted("group", group.id)
    if group.ldap_group_dn and group.group_type in {0, LDAP}:
        return Wanted("group", group.ldap_group_dn, LDAP)
    return Wanted("group", group.group_name or group.ldap_group_dn, group.group_type)


def _document(member: Member) -> ProjectMemberEntity:
    return ProjectMemberEntity(
        id=member.id,
        project_id=member.project_id,
        entity_name=member.entity_name,
        role_name=member.role_name,
        role_id=member.role_id,
        entity_id=member.entity_id,
        entity_type=member.kind[0],
        pattern=member.pattern,
    )
